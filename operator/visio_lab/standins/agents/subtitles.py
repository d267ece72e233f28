"""The subtitles agent: one speech-to-text stream for each participant, its words as transcription text in the room."""

import asyncio
import logging
import os
from collections.abc import Coroutine, Mapping
from typing import Any

from lasuite.plugins import kyutai
from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    AutoSubscribe,
    JobContext,
    JobProcess,
    JobRequest,
    RoomIO,
    inference,
    room_io,
    utils,
)

from visio_lab.standins.agents.worker import accept_once, check_livekit, run_worker
from visio_lab.standins.environment import Environment

NAME_VARIABLE, DEFAULT_NAME = "TRANSCRIBER_AGENT_NAME", "multi-user-transcriber"
logger = logging.getLogger("transcriber")


def agent_name() -> str:
    """The name by which the API dispatches this agent."""
    return os.environ.get(NAME_VARIABLE) or DEFAULT_NAME


class Captioned:
    """The participants of one room and the session of each."""

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.sessions: dict[str, AgentSession[None]] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def connected(self, participant: rtc.RemoteParticipant) -> None:
        """Begin to listen to somebody; other agents are no people."""
        if participant.identity not in self.sessions:
            self._start(self._listen(participant))

    def disconnected(self, participant: rtc.RemoteParticipant) -> None:
        """Stop listening to somebody."""
        session = self.sessions.pop(participant.identity, None)
        if session is not None:
            self._start(_close(session))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self.tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("session failed: %r", task.exception())

    async def _listen(self, participant: rtc.RemoteParticipant) -> None:
        session: AgentSession[None] = AgentSession(vad=self.context.proc.userdata.get("vad"))
        io = RoomIO(
            agent_session=session,
            room=self.context.room,
            participant=participant,
            options=room_io.RoomOptions(text_input=False, audio_output=False, text_output=True),
        )
        await io.start()
        stt = kyutai.STT(base_url=os.environ["KYUTAI_STT_BASE_URL"])
        await session.start(agent=Agent(instructions="not-needed", stt=stt))
        self.sessions[participant.identity] = session

    async def close(self) -> None:
        """Close every session; their last words are still said."""
        await utils.aio.cancel_and_wait(*self.tasks)
        await asyncio.gather(*(_close(session) for session in self.sessions.values()), return_exceptions=True)


async def _close(session: AgentSession[None]) -> None:
    await session.drain()
    await session.aclose()


async def entrypoint(context: JobContext) -> None:
    """One room, in a process of its own."""
    captioned = Captioned(context)
    context.room.on("participant_connected", captioned.connected)
    context.room.on("participant_disconnected", captioned.disconnected)
    await context.connect(auto_subscribe=AutoSubscribe.AUDIO_ONLY)
    for participant in context.room.remote_participants.values():
        captioned.connected(participant)
    context.add_shutdown_callback(captioned.close)


async def accept(request: JobRequest) -> None:
    """Take a room without this agent."""
    await accept_once(request, agent_name())


def prewarm(process: JobProcess) -> None:
    """Load the detection of speech, unless it is switched off."""
    if os.environ.get("ENABLE_SILERO_VAD", "true").lower() == "true":
        process.userdata["vad"] = inference.VAD()


def check(values: Mapping[str, str]) -> None:
    """Raise SystemExit (exit code 1) with a variable's name unless all is there."""
    environment = Environment(values)
    check_livekit(environment)
    if environment.optional("STT_PROVIDER", "deepgram") != "kyutai":
        environment.refuse("STT_PROVIDER", "must be kyutai: the stand-in plays no other")
    environment.url("KYUTAI_STT_BASE_URL", ("ws", "wss"))
    environment.text("KYUTAI_API_KEY")


def run() -> None:
    """Check the environment and run."""
    check(os.environ)
    run_worker(agent_name(), entrypoint, accept, prewarm, publishes=True)
