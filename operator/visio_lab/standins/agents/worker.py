"""What both agents share: their variables, how they take a room, and how they are run."""

import os
from collections.abc import Awaitable, Callable
from typing import Any

from livekit import api, rtc
from livekit.agents import JobContext, JobProcess, JobRequest, WorkerOptions, WorkerPermissions, cli

from visio_lab.standins.environment import Environment

HEALTH_PORT = 8081
DRAIN_S = 3600
PROCESS_START_S = 60
ROOMS_OF_A_WORKER = 25
"""What LiveKit's documentation gives one agent of four cores."""


def check_livekit(environment: Environment) -> None:
    """Raise SystemExit (exit code 1) unless LiveKit's URL and key pair are there."""
    environment.url("LIVEKIT_URL", ("ws", "wss", "http", "https"))
    environment.text("LIVEKIT_API_KEY")
    environment.text("LIVEKIT_API_SECRET")


def load_of(server: Any) -> float:
    """How busy this worker is, from 0 to 1, by its rooms.

    The real one takes the processor's load; in the lab all nodes share one machine, so that its load says nothing
    about this pod.
    """
    return min(len(server.active_jobs) / ROOMS_OF_A_WORKER, 1.0)


async def accept_once(request: JobRequest, agent: str) -> None:
    """Take the room unless an agent of this name is in it already; a second dispatch is refused, not an error."""
    identity = f"{agent}-{request.room.name}"
    try:
        async with api.LiveKitAPI() as livekit:
            present = await livekit.room.list_participants(api.ListParticipantsRequest(room=request.room.name))
        taken = any(each.identity == identity and _is_agent(each.kind) for each in present.participants)
    except (api.TwirpError, OSError, TimeoutError) as error:
        print(f"room {request.room.name} refused: {type(error).__name__}", flush=True)
        taken = True
    if taken:
        await request.reject()
    else:
        await request.accept(identity=identity, metadata=request.job.metadata)


def _is_agent(kind: int) -> bool:
    return kind == int(rtc.ParticipantKind.PARTICIPANT_KIND_AGENT)


def run_worker(
    agent: str,
    entrypoint: Callable[[JobContext], Awaitable[None]],
    request: Callable[[JobRequest], Awaitable[None]],
    prewarm: Callable[[JobProcess], None],
    *,
    publishes: bool,
) -> None:
    """Run the library's worker until SIGTERM; then it stays with its rooms for up to an hour."""
    permissions = WorkerPermissions(can_publish=publishes, can_publish_data=publishes, can_subscribe=True, hidden=True)
    cli.run_app(
        WorkerOptions(
            entrypoint_fnc=entrypoint,
            request_fnc=request,
            prewarm_fnc=prewarm,
            load_fnc=load_of,
            agent_name=agent,
            permissions=permissions,
            port=int(os.environ.get("LAB_HTTP_PORT") or HEALTH_PORT),
            drain_timeout=DRAIN_S,
            num_idle_processes=1,
            initialize_process_timeout=PROCESS_START_S,
        )
    )
