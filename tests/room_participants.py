"""Participants of LiveKit rooms: a program for a pod of the lab, and the log that tests read from it.

Each participant joins, sends a tone and listens to all others. What happens to it goes to stdout as one line of JSON:
`{"t": unix seconds, "room": ..., "who": ..., "event": joined | reconnecting | reconnected | disconnected | rejoined |
failed | gone | silence | heard | message | present}`. `gone` is said of another one who left the room; `silence` and
`heard` frame a gap of SILENCE_S or more in what it hears of another one; `message` is one that somebody sent to the
room; `present` comes every second and says how many others it hears. A participant whose connection is given up joins
anew, as a browser page does.

The work list is the file named by PARTICIPANTS, read again whenever it changes: `{"url": ..., "rooms": {room:
{"people": number, "node": id of the server that is to have the room, or absent}}}`. Participants of a room that is no
longer in it leave. LIVEKIT_API_KEY and LIVEKIT_API_SECRET are LiveKit's.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import time
from pathlib import Path
from typing import Any

from livekit import api, rtc

RATE, FRAME, HEARD_MS = 48_000, 4_800, 100
"""A tenth of a second at a time: forty people in one program would take a core with smaller pieces."""
SILENCE_S = 1.0
REJOIN_S = 0.5
READ_EVERY_S = 0.2
LOUD = 500
TONE = b"".join(value.to_bytes(2, "little", signed=True) for value in [6000] * 54 + [-6000] * 54) * 5


class Participant:
    """One person in one room."""

    def __init__(self, url: str, room: str, who: str) -> None:
        self.url, self.room, self.who = url, room, who
        self.heard: dict[str, float] = {}
        self.silent: dict[str, float] = {}
        self.given_up = asyncio.Event()
        self.listening: set[asyncio.Task[None]] = set()

    def say(self, event: str, **more: Any) -> None:
        line = {"t": round(time.time(), 3), "room": self.room, "who": self.who, "event": event, **more}
        print(json.dumps(line), flush=True)

    async def stay(self) -> None:
        """Be in the room until cancelled."""
        event = "joined"
        watching = asyncio.create_task(self._watch())
        try:
            while True:
                self.given_up.clear()
                try:
                    await self._session(event)
                except (rtc.ConnectError, rtc.participant.PublishTrackError) as error:
                    self.say("failed", why=str(error)[:200])
                event = "rejoined"
                await asyncio.sleep(REJOIN_S)
        finally:
            watching.cancel()

    async def _session(self, event: str) -> None:
        room = rtc.Room()
        room.on("reconnecting", lambda: self.say("reconnecting"))
        room.on("reconnected", lambda: self.say("reconnected"))
        room.on("disconnected", self._disconnected)
        room.on("data_received", self._told)
        room.on("track_subscribed", self._subscribed)
        room.on("participant_disconnected", lambda other: self.say("gone", other=other.identity))
        grants = api.VideoGrants(room_join=True, room=self.room)
        token = api.AccessToken().with_identity(self.who)
        await room.connect(self.url, token.with_grants(grants).to_jwt())
        source = rtc.AudioSource(RATE, 1)
        speaking = asyncio.create_task(_speak(source))
        try:
            await room.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("microphone", source))
            self.say(event)
            await self.given_up.wait()
        finally:
            speaking.cancel()
            with contextlib.suppress(Exception):
                await room.disconnect()
            await source.aclose()

    def _disconnected(self, reason: object) -> None:
        self.say("disconnected", why=str(reason))
        self.given_up.set()

    def _told(self, packet: rtc.DataPacket) -> None:
        sender = packet.participant.identity if packet.participant else None
        self.say("message", topic=packet.topic, sender=sender, text=packet.data.decode())

    def _subscribed(self, track: rtc.Track, _: object, other: rtc.RemoteParticipant) -> None:
        if track.kind == rtc.TrackKind.KIND_AUDIO:
            task = asyncio.create_task(self._listen(track, other.identity))
            self.listening.add(task)
            task.add_done_callback(self.listening.discard)

    async def _listen(self, track: rtc.Track, other: str) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=HEARD_MS)
        try:
            async for event in stream:
                # After a gap the decoder invents quiet frames: only the tone counts.
                if max(event.frame.data, default=0) > LOUD:
                    self._hear(other)
        finally:
            await stream.aclose()

    def _hear(self, other: str) -> None:
        now = time.time()
        if (since := self.silent.pop(other, None)) is not None:
            self.say("heard", other=other, gap=round(now - since, 3))
        self.heard[other] = now

    async def _watch(self) -> None:
        ticks = 0
        while True:
            await asyncio.sleep(0.1)
            now, ticks = time.time(), ticks + 1
            for other, last in self.heard.items():
                if now - last > SILENCE_S and other not in self.silent:
                    self.silent[other] = last
                    self.say("silence", other=other)
            if ticks % 10 == 0:
                self.say("present", hears=len(self.heard) - len(self.silent))


async def _speak(source: rtc.AudioSource) -> None:
    wave = (TONE * 9)[: 2 * FRAME]
    while True:
        await source.capture_frame(rtc.AudioFrame(wave, RATE, 1, FRAME))


async def make_room(url: str, name: str, node: str) -> None:
    """Open a room on the server with this node id."""
    async with api.LiveKitAPI(url.replace("ws", "http", 1)) as client:
        await client.room.create_room(api.CreateRoomRequest(name=name, node_id=node))


async def main() -> None:
    """Keep as many participants in each room as the work list says."""
    file = Path(os.environ["PARTICIPANTS"])
    people: dict[tuple[str, str], asyncio.Task[None]] = {}
    read = ""
    while True:
        text = file.read_text() if file.exists() else ""
        if text and text != read:
            read, work = text, json.loads(text)
            wanted = {
                (room, f"{room}-{number}") for room, each in work["rooms"].items() for number in range(each["people"])
            }
            for who in [each for each in people if each not in wanted]:
                leaving = people.pop(who)
                leaving.cancel()
                await asyncio.wait([leaving])
            for room in {room for room, _ in wanted} - {room for room, _ in people}:
                if node := work["rooms"][room].get("node"):
                    await make_room(work["url"], room, node)
            for room, name in sorted(wanted - people.keys()):
                people[room, name] = asyncio.create_task(Participant(work["url"], room, name).stay())
        await asyncio.sleep(READ_EVERY_S)


if __name__ == "__main__":
    asyncio.run(main())
