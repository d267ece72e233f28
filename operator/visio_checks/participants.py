"""Two real LiveKit participants: one speaks and shows a picture, the other one listens and watches."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from typing import Any

from livekit import rtc
from livekit.rtc.participant import PublishTrackError

from . import speech
from .fault import Fault
from .settings import Livekit
from .tokens import token, websocket_url
from .tone import tone_samples

SPEAKER, LISTENER = "smoke-speaker", "smoke-listener"
TRANSCRIPTION_TOPIC = "lk.transcription"
"""Topic of livekit-agents' text streams; their sender is whoever spoke."""
_SEGMENT = "lk.segment_id"
_DATA_TOPIC = "visio-operator.smoke"
_WIDTH, _HEIGHT, _PICTURES_PER_SECOND = 320, 180, 10
_FRAME = speech.RATE // 50
"""Samples in 20 ms."""
_AUDIBLE = 300
"""Of 32767: below it a frame counts as silence, which a client also hears when nothing arrives."""
_PAUSE = 1.5
"""Seconds of silence after the sentence, by which captions servers see its end."""

OPEN_FIREWALL = "open the media ports that `visio-operator render --flows` lists, between browsers and the nodes"


@dataclass
class Heard:
    """What the listener received so far."""

    sound: int = 0
    """Frames with sound."""
    pictures: int = 0
    data: list[bytes] = field(default_factory=list)
    captions: dict[str, str] = field(default_factory=dict)
    """What was written for the speaker, by segment of speech; the text of a segment grows."""


@dataclass(frozen=True)
class Ways:
    """Where a client finds the media server, such as `UDP 192.0.2.10:7882`."""

    announced: tuple[str, ...] = ()
    """What the server says of itself."""
    working: tuple[str, ...] = ()
    """Those of them that have answered."""


class Meeting:
    """A room in which the speaker speaks until the meeting is closed."""

    def __init__(self, livekit: Livekit, room: str) -> None:
        self.livekit = livekit
        self.name = room
        self.heard = Heard()
        self._rooms: list[rtc.Room] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Bring both in and publish sound and picture; raises Fault when media do not get through."""
        listener, speaker = rtc.Room(), rtc.Room()
        listener.on("track_subscribed", self._on_track)
        listener.on("data_received", self._on_data)
        listener.register_text_stream_handler(TRANSCRIPTION_TOPIC, self._on_text)
        for room, identity in ((listener, LISTENER), (speaker, SPEAKER)):
            await self._connect(room, identity)
        sound = rtc.AudioSource(speech.RATE, 1)
        picture = rtc.VideoSource(_WIDTH, _HEIGHT)
        publish = speaker.local_participant.publish_track
        try:
            await publish(
                rtc.LocalAudioTrack.create_audio_track("speech", sound),
                rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE),
            )
            await publish(
                rtc.LocalVideoTrack.create_video_track("picture", picture),
                rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_CAMERA),
            )
        except PublishTrackError as error:
            raise Fault("spec.sfu", f"the server takes no tracks: {error}", "look at the logs of sfu") from None
        self._start(self._speak(sound))
        self._start(self._show(picture))

    async def close(self) -> None:
        """Leave the room."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for room in self._rooms:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(room.disconnect(), 3)
        self._rooms.clear()

    async def say(self, message: bytes) -> None:
        """Send a data message of the speaker to everybody."""
        await self._rooms[-1].local_participant.publish_data(message, reliable=True, topic=_DATA_TOPIC)

    async def _connect(self, room: rtc.Room, identity: str) -> None:
        transport = rtc.IceTransportType.TRANSPORT_RELAY if self.livekit.relay_only else None
        options = rtc.RoomOptions(
            rtc_config=rtc.RtcConfiguration(ice_transport_type=transport) if transport is not None else None
        )
        try:
            await room.connect(websocket_url(self.livekit), token(self.livekit, self.name, identity), options)
        except rtc.ConnectError as error:
            problem = f"no media connection to the server ({str(error)[:160]})"
            raise Fault("spec.sfu.network", problem, OPEN_FIREWALL) from None
        self._rooms.append(room)

    async def ways(self) -> Ways:
        """How media can travel, as the speaker's client says; nothing when it does not say in time."""
        try:
            stats = (await asyncio.wait_for(self._rooms[-1].get_rtc_stats(), 3)).publisher_stats
        except (TimeoutError, RuntimeError):
            return Ways()
        candidates = {
            entry.remote_candidate.rtc.id: entry.remote_candidate.candidate
            for entry in stats
            if entry.WhichOneof("stats") == "remote_candidate"
        }
        pairs = [
            entry.candidate_pair.candidate_pair for entry in stats if entry.WhichOneof("stats") == "candidate_pair"
        ]
        working = {
            pair.remote_candidate_id for pair in pairs if _word(pair, "state") == "PAIR_SUCCEEDED"
        } & candidates.keys()
        # The client learns of these by the server's own packets; nobody announces them.
        told = {name: one for name, one in candidates.items() if _word(one, "candidate_type") != "PRFLX"}
        return Ways(
            announced=tuple(sorted(_place(one) for one in told.values())),
            working=tuple(sorted(_place(told[name]) for name in working & told.keys())),
        )

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    def _on_track(self, track: rtc.Track, *_: object) -> None:
        self._start(self._hear(track) if track.kind == rtc.TrackKind.KIND_AUDIO else self._watch(track))

    def _on_data(self, packet: rtc.DataPacket) -> None:
        if packet.topic == _DATA_TOPIC:
            self.heard.data.append(packet.data)

    def _on_text(self, reader: rtc.TextStreamReader, identity: str) -> None:
        if identity == SPEAKER:
            self._start(self._read(reader))

    async def _read(self, reader: rtc.TextStreamReader) -> None:
        attributes = reader.info.attributes or {}
        segment = attributes.get(_SEGMENT) or reader.info.stream_id
        written = ""
        async for text in reader:
            written += text
            self.heard.captions[segment] = written

    async def _hear(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track)
        try:
            async for event in stream:
                if max(event.frame.data, default=0) > _AUDIBLE:
                    self.heard.sound += 1
        finally:
            await stream.aclose()

    async def _watch(self, track: rtc.Track) -> None:
        stream = rtc.VideoStream(track)
        try:
            async for _ in stream:
                self.heard.pictures += 1
        finally:
            await stream.aclose()

    async def _speak(self, source: rtc.AudioSource) -> None:
        silence = bytes(int(_PAUSE * speech.RATE) * 2)
        said = speech.samples() + silence + tone_samples(speech.RATE) + silence
        while True:
            for start in range(0, len(said) - 2 * _FRAME, 2 * _FRAME):
                await source.capture_frame(rtc.AudioFrame(said[start : start + 2 * _FRAME], speech.RATE, 1, _FRAME))

    async def _show(self, source: rtc.VideoSource) -> None:
        async for number in _ticks(1 / _PICTURES_PER_SECOND):
            shade = bytes([number * 8 % 256])
            plane = shade * (_WIDTH * _HEIGHT) + b"\x80" * (_WIDTH * _HEIGHT // 2)
            source.capture_frame(rtc.VideoFrame(_WIDTH, _HEIGHT, rtc.VideoBufferType.I420, plane))


def _word(message: Any, name: str) -> str:
    """The name of an enumeration's value."""
    return str(message.DESCRIPTOR.fields_by_name[name].enum_type.values_by_number[getattr(message, name)].name)


def _place(candidate: Any) -> str:
    return f"{candidate.protocol.upper()} {candidate.address}:{candidate.port}"


async def _ticks(every: float) -> AsyncIterator[int]:
    number = 0
    while True:
        yield number
        number += 1
        await asyncio.sleep(every)
