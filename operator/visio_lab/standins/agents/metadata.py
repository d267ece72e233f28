"""The metadata collector: notes who speaks when during a recording, and saves it only when its job ends."""

import asyncio
import datetime as dt
import io
import json
import logging
import os
from collections.abc import Coroutine, Mapping
from typing import Any

import numpy as np
from livekit import rtc
from livekit.agents import AutoSubscribe, JobContext, JobProcess, JobRequest, utils
from minio import Minio
from minio.error import S3Error
from urllib3.exceptions import HTTPError

from visio_lab.standins.agents.worker import accept_once, check_livekit, run_worker
from visio_lab.standins.environment import Environment

NAME_VARIABLE, DEFAULT_NAME = "METADATA_COLLECTOR_AGENT_NAME", "metadata-collector"
SAMPLE_RATE = 16_000
LOUD = 300.0
"""Root mean square of 16-bit samples above which somebody speaks; the real agent asks a model of speech."""
SILENCE_S = 0.5
"""How long somebody may pause and still be speaking."""
CHAT = "lk.chat"
logger = logging.getLogger("metadata-collector")


def agent_name() -> str:
    """The name by which the API dispatches this agent."""
    return os.environ.get(NAME_VARIABLE) or DEFAULT_NAME


class Collector:
    """The events of one room, for the recording whose id is the job's metadata."""

    def __init__(self, context: JobContext) -> None:
        self.context = context
        self.key = f"{os.environ.get('AWS_S3_OUTPUT_FOLDER') or 'metadata'}/{context.job.metadata}-metadata.json"
        self.events: list[dict[str, Any]] = []
        self.names: dict[str, str] = {}
        self.tasks: set[asyncio.Task[None]] = set()

    def listen(self) -> None:
        """Follow the room's events."""
        room = self.context.room
        room.on("participant_connected", self.connected)
        room.on("participant_disconnected", lambda who: self.note(who.identity, "participant_disconnected"))
        room.on("participant_name_changed", self.named)
        room.on("track_subscribed", self.subscribed)
        room.register_text_stream_handler(CHAT, self.chatted)

    def note(self, who: str, what: str, data: str | None = None) -> None:
        """Write an event down."""
        moment = dt.datetime.now(dt.UTC).isoformat()
        self.events.append({"participant_id": who, "type": what, "timestamp": moment, "data": data})

    def connected(self, participant: rtc.RemoteParticipant) -> None:
        """Somebody came in, or was there."""
        if participant.identity not in self.names and participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_STANDARD:
            self.note(participant.identity, "participant_connected")
            self.names[participant.identity] = participant.name

    def named(self, participant: rtc.RemoteParticipant, *_: object) -> None:
        """Somebody changed their name."""
        self.names[participant.identity] = participant.name

    def subscribed(self, track: rtc.Track, _: object, participant: rtc.RemoteParticipant) -> None:
        """Somebody's microphone."""
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self.connected(participant)
            self._start(self._hear(track, participant.identity))

    def chatted(self, reader: rtc.TextStreamReader, who: str) -> None:
        """Somebody wrote."""

        async def read() -> None:
            self.note(who, "chat_received", await reader.read_all())

        self._start(read())

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _hear(self, track: rtc.Track, who: str) -> None:
        """Note beginnings and ends of loud stretches until the track ends."""
        stream = rtc.AudioStream(track, sample_rate=SAMPLE_RATE, num_channels=1)
        speaking, quiet = False, 0.0
        try:
            async for event in stream:
                samples = np.frombuffer(event.frame.data, dtype=np.int16).astype(np.float64)
                loud = bool(samples.size) and float(np.sqrt(np.mean(samples**2))) > LOUD
                quiet = 0.0 if loud else quiet + samples.size / SAMPLE_RATE
                if loud and not speaking:
                    speaking = True
                    self.note(who, "speech_start")
                elif speaking and quiet > SILENCE_S:
                    speaking = False
                    self.note(who, "speech_end")
        finally:
            if speaking:
                self.note(who, "speech_end")
            await stream.aclose()

    async def save(self) -> None:
        """Write everything to the store, at the job's end; what is killed before is lost."""
        await utils.aio.cancel_and_wait(*self.tasks)
        people = [{"participantId": identity, "name": name} for identity, name in self.names.items()]
        events = sorted(self.events, key=lambda event: str(event["timestamp"]))
        data = json.dumps({"events": events, "participants": people}).encode()
        try:
            await asyncio.to_thread(
                store(os.environ).put_object,
                bucket_name=os.environ["AWS_STORAGE_BUCKET_NAME"],
                object_name=self.key,
                data=io.BytesIO(data),
                length=len(data),
                content_type="application/json",
            )
            logger.info("Uploaded speaker meeting metadata")
        except (S3Error, HTTPError, OSError) as error:
            logger.error("Failed to upload meeting metadata: %s", type(error).__name__)


def store(values: Mapping[str, str]) -> Minio:
    """The store as the real agent makes it: host and port, and a switch for TLS that is off by default."""
    return Minio(
        endpoint=values["AWS_S3_ENDPOINT_URL"],
        access_key=values["AWS_S3_ACCESS_KEY_ID"],
        secret_key=values["AWS_S3_SECRET_ACCESS_KEY"],
        secure=values.get("AWS_S3_SECURE_ACCESS", "False").lower() == "true",
    )


async def entrypoint(context: JobContext) -> None:
    """One recording, in a process of its own."""
    collector = Collector(context)
    collector.listen()
    await context.connect(auto_subscribe=AutoSubscribe.AUDIO_ONLY)
    for participant in context.room.remote_participants.values():
        collector.connected(participant)
    context.add_shutdown_callback(collector.save)


async def accept(request: JobRequest) -> None:
    """Take a room without this agent."""
    await accept_once(request, agent_name())


def prewarm(_: JobProcess) -> None:
    """Nothing to load."""


def check(values: Mapping[str, str]) -> None:
    """Raise SystemExit (exit code 1) with a variable's name unless all is there."""
    environment = Environment(values)
    check_livekit(environment)
    for name in ("AWS_S3_ENDPOINT_URL", "AWS_S3_ACCESS_KEY_ID", "AWS_S3_SECRET_ACCESS_KEY", "AWS_STORAGE_BUCKET_NAME"):
        environment.text(name)
    environment.flag("AWS_S3_SECURE_ACCESS")
    try:
        store(values)
    except ValueError:
        # Up to 1.32 the real agent fails here too, but only inside its first job.
        environment.refuse("AWS_S3_ENDPOINT_URL", "must be host:port, without a scheme or a path")


def run() -> None:
    """Check the environment and run."""
    check(os.environ)
    run_worker(agent_name(), entrypoint, accept, prewarm, publishes=False)
