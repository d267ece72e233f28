"""One call that lasts as long as an upgrade: a program for a pod of the lab, with the variables of the smoke test.

Somebody says numbered words all the time. An agent writes them down, a recorder records them, and long transcriptions
follow one another through the queue, so that each of these is under way whenever its server is replaced. A line of
JSON says that all have begun: `{"t": unix seconds, "event": "begun"}`. SIGTERM ends them; the last line says what
became of them: `{"t", "event": "ended", "said": last number, "written": {"first", "missing", "twice"}, "recorded":
{"seconds", "first", "last", "missing", "gap"}, "jobs": [{"began", "ended", "error"}], "at": {number: unix seconds at
which a missing word had been said}}`, with numbers of words and seconds. `failed` in place of `begun` or `ended` says
why not.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import re
import signal
import time
from collections import Counter
from typing import Any

import aiohttp
import numpy as np
from livekit import api, rtc

from visio_checks import captions, recording, transcription
from visio_checks.bucket import Bucket
from visio_checks.call import Call
from visio_checks.fault import Fault
from visio_checks.participants import TRANSCRIPTION_TOPIC
from visio_checks.settings import Service, Storage, read_settings
from visio_lab.standins.tone import encode_words
from visio_lab.standins.whisperx import hear, silence

RATE, FRAME = 16_000, 1_600
SENTENCE, PAUSE_S = 8, 1.5
"""Words without a pause, and the pause: captions servers write a sentence down at its end."""
WRITTEN_S = 8.0
"""From the last word to its caption, at most."""
AUDIO_S = 14 * 40
"""Of a recording that keeps WhisperX busy for forty seconds."""
SPEAKER = "speaker"


def say(event: str, **more: Any) -> None:
    print(json.dumps({"t": round(time.time(), 3), "event": event, **more}), flush=True)


class LongCall:
    """One room with its speaker and its listener, and what is heard of it."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.said = 0
        self.said_at: dict[int, float] = {}
        self.segments: dict[str, str] = {}
        self.jobs: list[dict[str, Any]] = []
        self.over = asyncio.Event()
        self._reading: set[asyncio.Task[None]] = set()
        self._rooms: list[rtc.Room] = []

    async def join(self) -> asyncio.Task[None]:
        """Bring both in; the task speaks until the call is over."""
        listener, speaker = await self._connect("listener"), await self._connect(SPEAKER)
        listener.register_text_stream_handler(TRANSCRIPTION_TOPIC, self._on_text)
        source = rtc.AudioSource(RATE, 1)
        microphone = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        track = rtc.LocalAudioTrack.create_audio_track("speech", source)
        await speaker.local_participant.publish_track(track, microphone)
        return asyncio.create_task(self._speak(source))

    async def leave(self) -> None:
        for room in self._rooms:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(room.disconnect(), 3)

    async def _connect(self, who: str) -> rtc.Room:
        room, keys = rtc.Room(), self.call.settings.livekit
        grants = api.VideoGrants(room_join=True, room=self.call.room)
        token = api.AccessToken(keys.key, keys.secret).with_identity(who).with_grants(grants).to_jwt()
        await room.connect(os.environ["SIGNALLING"], token)
        self._rooms.append(room)
        return room

    async def _speak(self, source: rtc.AudioSource) -> None:
        for number in itertools.count(1):
            if self.over.is_set():
                return
            pcm = encode_words([f"w{number}"], RATE)
            if number % SENTENCE == 0:
                pcm = np.concatenate([pcm, np.zeros(round(PAUSE_S * RATE), np.float32)])
            sound = (pcm * 32_767).astype("<i2").tobytes()
            for start in range(0, len(sound), 2 * FRAME):
                piece = sound[start : start + 2 * FRAME].ljust(2 * FRAME, b"\0")
                await source.capture_frame(rtc.AudioFrame(piece, RATE, 1, FRAME))
            self.said, self.said_at[number] = number, time.time()

    def _on_text(self, reader: rtc.TextStreamReader, who: str) -> None:
        if who == SPEAKER:
            task = asyncio.create_task(self._read(reader))
            self._reading.add(task)
            task.add_done_callback(self._reading.discard)

    async def _read(self, reader: rtc.TextStreamReader) -> None:
        segment = (reader.info.attributes or {}).get("lk.segment_id") or reader.info.stream_id
        written = ""
        async for text in reader:
            written += text
            self.segments[segment] = written

    def written(self) -> dict[str, Any]:
        """What the captions lack of all that was said since they began."""
        found = Counter(int(word) for text in self.segments.values() for word in re.findall(r"w(\d+)", text))
        first = min(found, default=0)
        missing = [number for number in range(first, self.said + 1) if not found[number]]
        return {"first": first, "missing": missing, "twice": [number for number, times in found.items() if times > 1]}

    async def transcribe(self, bucket: Bucket, storage: Storage, summary: Service) -> None:
        """One job after the other until the call is over; the last one is waited for."""
        key = f"{storage.folder}/{self.call.room}.wav"
        await bucket.put(key, silence(AUDIO_S))
        while not self.over.is_set():
            job: dict[str, Any] = {"began": time.time(), "error": ""}
            try:
                queued = await transcription._post(self.call, summary, bucket.link(key))
                await transcription._done(self.call, summary, queued)
            except Fault as fault:
                job["error"] = str(fault)
            self.jobs.append(job | {"ended": time.time()})


async def recorded(call: Call, link: str) -> dict[str, Any]:
    """What the file holds."""
    async with call.http.get(link) as answer:
        answer.raise_for_status()
        seconds, words = hear(await answer.read())
    numbers = [number for number, _ in words]
    first, last = min(numbers, default=0), max(numbers, default=0)
    gaps = [after - before for (_, before), (_, after) in itertools.pairwise(words)]
    missing = sorted(set(range(first, last + 1)) - set(numbers))
    return {"seconds": seconds, "first": first, "last": last, "missing": missing, "gap": max(gaps, default=seconds)}


async def stay(call: Call) -> dict[str, Any]:
    """The whole call, until somebody ends it."""
    storage, summary = call.settings.storage, call.settings.summary
    assert storage is not None
    assert summary is not None
    here, bucket, key = LongCall(call), Bucket(storage), f"{storage.folder}/{call.room}.ogg"
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, here.over.set)
    speaking = await here.join()
    await captions._call_agent(call)
    info = await recording._start(call, storage, key)
    info = await recording._until(call, info, api.EgressStatus.EGRESS_ACTIVE, 60)
    transcribing = asyncio.create_task(here.transcribe(bucket, storage, summary))
    say("begun")
    await speaking
    await asyncio.sleep(WRITTEN_S)
    await call.livekit.egress.stop_egress(api.StopEgressRequest(egress_id=info.egress_id))
    await recording._until(call, info, api.EgressStatus.EGRESS_COMPLETE, 60)
    await transcribing
    await here.leave()
    found = await recorded(call, bucket.link(key))
    written = here.written()
    at = {number: here.said_at[number] for number in sorted({*written["missing"], *found["missing"]})}
    return {"said": here.said, "written": written, "recorded": found, "jobs": here.jobs, "at": at}


async def main() -> None:
    async with aiohttp.ClientSession() as http:
        call = Call(read_settings(os.environ), http, patience=3_600)
        try:
            say("ended", **await stay(call))
        except (Fault, api.TwirpError, rtc.ConnectError, aiohttp.ClientError) as error:
            say("failed", why=f"{type(error).__name__}: {error}"[:500])


if __name__ == "__main__":
    asyncio.run(main())
