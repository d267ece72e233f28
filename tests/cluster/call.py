"""Two people in a room, run inside the lab: real WebRTC clients that join, speak, hear each other and stay a while.

Arguments: the server's URL, the room, seconds to stay after both have heard. The keys come from the environment. Each
line of the output is one step in JSON.
"""

import asyncio
import json
import math
import os
import struct
import sys
import time

from livekit import api, rtc

RATE, FRAME = 48_000, 480
WITHIN_S = 30.0


def say(step: str, **details: object) -> None:
    print(json.dumps({"step": step, "t": round(time.time(), 3), **details}), flush=True)


def token(room: str, identity: str) -> str:
    grants = api.VideoGrants(room_join=True, room=room)
    key, secret = os.environ["LIVEKIT_API_KEY"], os.environ["LIVEKIT_API_SECRET"]
    return api.AccessToken(key, secret).with_identity(identity).with_grants(grants).to_jwt()


async def speak(source: rtc.AudioSource) -> None:
    """A tone of 440 Hz, for ever."""
    place = 0
    while True:
        wave = [int(8000 * math.sin(2 * math.pi * 440 * (place + index) / RATE)) for index in range(FRAME)]
        place += FRAME
        await source.capture_frame(rtc.AudioFrame(struct.pack(f"<{FRAME}h", *wave), RATE, 1, FRAME))


async def hear(stream: rtc.AudioStream, heard: asyncio.Event) -> None:
    """Until a frame that is not silence has come."""
    async for event in stream:
        if max(abs(each) for each in event.frame.data) > 1000:
            heard.set()
            return


class Person:
    def __init__(self, name: str) -> None:
        self.name = name
        self.room = rtc.Room()
        self.heard = asyncio.Event()
        self.tasks: list[asyncio.Task[None]] = []
        self.room.on("track_subscribed", self._subscribed)

    def _subscribed(self, track: rtc.Track, _publication: object, _participant: object) -> None:
        if isinstance(track, rtc.RemoteAudioTrack):
            self.tasks.append(asyncio.ensure_future(hear(rtc.AudioStream(track), self.heard)))

    async def join(self, url: str, room: str) -> None:
        await self.room.connect(url, token(room, self.name))
        say("joined", who=self.name)
        source = rtc.AudioSource(RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("microphone", source)
        await self.room.local_participant.publish_track(track)
        self.tasks.append(asyncio.ensure_future(speak(source)))

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.room.disconnect()


async def main(url: str, room: str, stay_s: float) -> None:
    people = [Person("alice"), Person("bob")]
    async with asyncio.timeout(WITHIN_S):
        await asyncio.gather(*(each.join(url, room) for each in people))
        await asyncio.gather(*(each.heard.wait() for each in people))
    say("heard", both=True)
    await asyncio.sleep(stay_s)
    for each in people:
        await each.leave()
    say("left")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
