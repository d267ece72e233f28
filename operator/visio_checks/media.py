"""Sound, picture and data from one participant to the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .call import Call
from .fault import Fault
from .participants import OPEN_FIREWALL

_LOOKS = 10
_ENOUGH_SOUND, _ENOUGH_PICTURES = 25, 3


async def check_media(call: Call) -> str:
    """The listener gets sound and pictures of the speaker."""
    await call.meeting.open()
    heard, begun = call.meeting.heard, time.monotonic()
    try:
        await until(lambda: heard.sound >= _ENOUGH_SOUND and heard.pictures >= _ENOUGH_PICTURES, 15)
    except TimeoutError:
        problem = f"after 15 s, {heard.sound} frames of sound and {heard.pictures} pictures have arrived"
        raise Fault("spec.sfu.network", problem, OPEN_FIREWALL) from None
    took = time.monotonic() - begun
    return f"sound and pictures after {took:.1f} s; {', '.join(await _reachable(call))} answers"


async def _reachable(call: Call) -> tuple[str, ...]:
    """The announced addresses that answer.

    A server finds clients of its own network by itself, so media that arrive here say nothing of those outside.
    """
    for _ in range(_LOOKS):
        ways = await call.meeting.ways()
        if ways.working:
            return ways.working
        await asyncio.sleep(0.5)
    told = ", ".join(ways.announced) or "none"
    problem = f"media arrive, yet by none of the addresses that the server announces ({told})"
    raise Fault("spec.sfu.network", problem, OPEN_FIREWALL)


async def check_data(call: Call) -> str:
    """A message of the speaker reaches the listener."""
    sent = f"smoke in {call.room}".encode()
    await call.meeting.say(sent)
    try:
        await until(lambda: sent in call.meeting.heard.data, 10)
    except TimeoutError:
        raise Fault("spec.sfu", "no data message has arrived within 10 s", "look at the logs of sfu") from None
    return f"{len(sent)} bytes received"


async def until(holds: Callable[[], bool], limit: float) -> None:
    """Wait until something holds; raises TimeoutError after `limit` seconds."""
    async with asyncio.timeout(limit):
        while not holds():
            await asyncio.sleep(0.05)
