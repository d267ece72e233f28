"""Live captions: an agent is called into the room as the API does, and writes what the speaker says."""

from __future__ import annotations

import asyncio
import socket
import time

from livekit import api
from livekit.protocol.agent import JobStatus

from .call import Call
from .fault import Fault

_AGENT_S = 25.0
"""An agent that is connected takes a room at once; its process may have to start."""
_WORDS_S = 40.0
"""The sentence is repeated every few seconds, and a server writes some seconds late."""
_SHOWN = 60


async def check_captions(call: Call) -> str:
    """Words come back for the speaker."""
    settings, begun = call.settings, time.monotonic()
    dispatch = await call.livekit.agent_dispatch.create_dispatch(
        api.CreateAgentDispatchRequest(agent_name=settings.captions_agent, room=call.room)
    )
    await _agent_is_there(call, dispatch.id)
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
    return f"agent after {came:.1f} s, words after {time.monotonic() - begun - waited:.1f} s: {shown}"


async def _agent_is_there(call: Call, dispatch: str) -> None:
    try:
        async with asyncio.timeout(_AGENT_S):
            while True:
                for found in await call.livekit.agent_dispatch.list_dispatch(call.room):
                    jobs = found.state.jobs if found.id == dispatch else ()
                    if any(job.state.status == JobStatus.JS_RUNNING for job in jobs):
                        return
                await asyncio.sleep(0.3)
    except TimeoutError:
        problem = f"no agent {call.settings.captions_agent} has come into the room within {_AGENT_S:.0f} s"
        next_step = "look at the logs of subtitles: its agents have to reach LiveKit, with LiveKit's keys"
        raise Fault("spec.captions", problem, next_step) from None


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
