"""Live captions: an agent is called into the room as the API does, and writes what the speaker says."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time

from livekit import api
from livekit.protocol.agent import JobStatus

from .call import Call
from .fault import Fault

_CALLS, _AGENT_S = 3, 12.0
"""An agent that is connected takes a room at once; its process may have to start. One whose load is above 0.7 refuses,
and LiveKit asks no second time, so that people press the button again (facts/visio.md 4)."""
_WORDS_S = 40.0
"""The sentence is repeated every few seconds, and a server writes some seconds late."""
_SHOWN = 60


async def check_captions(call: Call) -> str:
    """Words come back for the speaker."""
    begun = time.monotonic()
    calls = await _call_agent(call)
    came = time.monotonic() - begun
    waited = await _wait_for_servers(call)
    try:
        async with asyncio.timeout(_WORDS_S):
            while not any(text.strip() for text in call.meeting.heard.captions.values()):
                await asyncio.sleep(0.1)
    except TimeoutError:
        problem = f"an agent is in the room, and has written nothing for {_WORDS_S:.0f} s"
        next_step = "look at the logs of subtitles, of its captions-proxy and of captions"
        raise Fault("spec.captions", problem, next_step) from None
    words = " ".join(" ".join(call.meeting.heard.captions.values()).split())
    shown = words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"
    agent = f"agent after {came:.1f} s" + (f" and {calls} calls" if calls > 1 else "")
    return f"{agent}, words after {time.monotonic() - begun - waited:.1f} s: {shown}"


async def _call_agent(call: Call) -> int:
    """Call until an agent is in the room; how often that was."""
    service, name = call.livekit.agent_dispatch, call.settings.captions_agent
    for calls in range(1, _CALLS + 1):
        dispatch = await service.create_dispatch(api.CreateAgentDispatchRequest(agent_name=name, room=call.room))
        if await _agent_is_there(call, dispatch.id):
            return calls
        # Otherwise two could come.
        await service.delete_dispatch(dispatch.id, call.room)
    problem = f"no agent {name} has come into the room within {_CALLS * _AGENT_S:.0f} s, called {_CALLS} times"
    next_step = "look at the logs of subtitles: its agents have to reach LiveKit, with LiveKit's keys, and not be busy"
    raise Fault("spec.captions", problem, next_step)


async def _agent_is_there(call: Call, dispatch: str) -> bool:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_AGENT_S):
            while True:
                for found in await call.livekit.agent_dispatch.list_dispatch(call.room):
                    jobs = found.state.jobs if found.id == dispatch else ()
                    if any(job.state.status == JobStatus.JS_RUNNING for job in jobs):
                        return True
                await asyncio.sleep(0.3)
    return False


async def _wait_for_servers(call: Call) -> float:
    """Wait until a captions server takes streams, and give the seconds that it took."""
    begun, patience = time.monotonic(), call.patience
    while not await _resolves(call.settings.captions_servers):
        waited = time.monotonic() - begun
        if waited > patience:
            problem = f"no captions server takes streams; none has come within {patience:.0f} s"
            raise Fault("spec.captions.pool", problem, "look at the pool's nodes in `visio-operator status`")
        if waited > 3:
            call.say("waits for a captions server on a GPU node")
        await asyncio.sleep(1)
    return time.monotonic() - begun


async def _resolves(name: str) -> bool:
    try:
        return bool(await asyncio.get_running_loop().getaddrinfo(name, None, type=socket.SOCK_STREAM))
    except OSError:
        return False
