"""Sound, picture and data from one participant to the other."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from .call import Call
from .fault import Fault
from .participants import OPEN_FIREWALL

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
    return f"sound and pictures after {time.monotonic() - begun:.1f} s, {await call.meeting.way()}"


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
