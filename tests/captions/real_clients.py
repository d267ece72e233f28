"""Participants of captioned calls: one real speech-to-text stream of Visio's agent for each, in this one process.

It obeys lines on its standard input: `join N` begins N streams, `leave N` ends the N oldest in the midst of speech, and
`end` lets all others finish. Then it prints `{number: [frames said, [[word, start], ...]]}` for those as JSON.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import time
from collections.abc import Iterator

import aiohttp
import numpy as np
from lasuite.plugins import kyutai
from livekit import rtc
from livekit.agents import stt

from visio_lab.standins.tone import RATE, encode_words

FRAME = 1920
FRAME_S = FRAME / RATE
WORD_FRAMES = 6
TAIL_FRAMES = 20
SETTLED_S = 3.0
AGENTS_KEY = "any-key-but-the-servers"


def speech(number: int) -> Iterator[bytes]:
    """What a participant says, in frames of 16-bit samples: words that nobody else says, with a pause now and then."""
    for index in itertools.count():
        pause = index % 16 >= 14
        pcm = encode_words([f"w{number * 256 + index % 256}"], every=WORD_FRAMES * FRAME_S)
        samples = np.zeros_like(pcm, np.int16) if pause else (pcm * 32767).astype(np.int16)
        yield from (part.tobytes() for part in samples.reshape(-1, FRAME))


def silence() -> Iterator[bytes]:
    """The end, which lets the last words out."""
    return itertools.repeat(bytes(2 * FRAME), TAIL_FRAMES)


class Participant:
    """One captioned participant."""

    def __init__(self, plugin: kyutai.STT, number: int) -> None:
        self.frames = 0
        self.given: list[tuple[str, float]] = []
        self._given_at = 0.0
        self._number = number
        self._ending = False
        self._stream = plugin.stream()
        self._talking = asyncio.create_task(self._talk())
        self._listening = asyncio.create_task(self._listen())

    async def leave(self) -> None:
        """Hang up."""
        for task in (self._talking, self._listening):
            task.cancel()
        await self._stream.aclose()

    async def end(self) -> None:
        """Say no more, wait for the last words, and hang up."""
        self._ending = True
        await self._talking
        self._given_at = max(self._given_at, time.monotonic())
        while time.monotonic() < self._given_at + SETTLED_S:
            await asyncio.sleep(0.1)
        await self.leave()

    async def _talk(self) -> None:
        began = time.monotonic() + self._number % 16 * 0.005

        async def say(frame: bytes) -> None:
            await asyncio.sleep(max(0.0, began + self.frames * FRAME_S - time.monotonic()))
            self._stream.push_frame(rtc.AudioFrame(frame, RATE, 1, FRAME))
            self.frames += 1

        for frame in speech(self._number):
            if self._ending:
                break
            await say(frame)
        for frame in silence():
            await say(frame)
        self.frames -= TAIL_FRAMES

    async def _listen(self) -> None:
        async for event in self._stream:
            if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT:
                word = event.alternatives[0]
                self.given.append((word.text, round(word.start_time, 3)))
                self._given_at = time.monotonic()


async def main(url: str) -> None:
    """Obey until `end`."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    present: dict[int, Participant] = {}
    numbers = itertools.count()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        plugin = kyutai.STT(base_url=url, api_key=AGENTS_KEY, http_session=session)
        while order := (await lines.readline()).decode().split():
            match order:
                case ["join", count]:
                    for _ in range(int(count)):
                        number = next(numbers)
                        present[number] = Participant(plugin, number)
                case ["leave", count]:
                    leaving = [present.pop(number) for number in sorted(present)[: int(count)]]
                    await asyncio.gather(*(each.leave() for each in leaving))
                case ["end"]:
                    await asyncio.gather(*(each.end() for each in present.values()))
                    print(json.dumps({number: [each.frames, each.given] for number, each in present.items()}))
                    return


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1]))
