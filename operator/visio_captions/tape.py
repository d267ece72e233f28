"""The last seconds of a client's audio, so that another server can hear them again."""

from __future__ import annotations

import asyncio
from collections import deque

from visio_captions.messages import FRAME_SAMPLES, Sound

_MAX_ENTRIES = 2000


class Tape:
    """What a client sent, in order; positions are samples since the stream began.

    `limit` bounds what is kept: when it is reached, `room` makes the reader wait, and with it the client, by TCP.
    """

    def __init__(self, limit: int) -> None:
        self.end = 0
        """Samples that the client has sent so far."""
        self.quiet = 0
        """Samples at the end without speech."""
        self.grown = asyncio.Event()
        """Set when something was appended; whoever reads the tape clears it."""
        self._limit = limit
        self._entries: deque[tuple[int, Sound | bytes]] = deque()
        self._first = 0
        self._newest = b""
        self._freed = asyncio.Event()

    @property
    def next(self) -> int:
        """The number that the next entry will have; entries are numbered from 0."""
        return self._first + len(self._entries)

    @property
    def start(self) -> int:
        """Position of the oldest sample that is kept."""
        return self._entries[0][0] if self._entries else self.end

    async def room(self) -> None:
        """Wait until more may be appended."""
        while len(self._entries) > 1 and (self.end - self.start >= self._limit or len(self._entries) >= _MAX_ENTRIES):
            self._freed.clear()
            await self._freed.wait()

    def append(self, message: bytes, sound: Sound | None) -> None:
        """Add a client's message; one without sound is kept as it is."""
        self._entries.append((self.end, message if sound is None else sound))
        # As it came it can be sent on without building it again; only the newest is likely to be needed so.
        self._newest = message
        if sound is not None:
            self.end += sound.samples
            self.quiet = 0 if sound.loud else self.quiet + sound.samples
        self.grown.set()

    def forget(self, before: int) -> None:
        """Drop entries that end at or before this position."""
        while len(self._entries) > 1 and self._entries[1][0] <= before:
            self._entries.popleft()
            self._first += 1
            self._freed.set()

    def seek(self, position: int) -> tuple[int, int]:
        """Where to read audio from about this position on: number of the entry, position of the first sample to use.

        The position is a multiple of a step, so that another server's steps, and with them its word times, fall on the
        same places of the client's time line.
        """
        wanted = max(position, self.start) // FRAME_SAMPLES * FRAME_SAMPLES
        if wanted < self.start:
            wanted += FRAME_SAMPLES
        number = self._first
        for start, entry in self._entries:
            if isinstance(entry, Sound) and start + entry.samples > wanted:
                return number, max(wanted, start)
            number += 1
        return number, self.end

    def message(self, number: int, position: int) -> tuple[bytes, int]:
        """An entry as a message, without what lies before the position; and the position of its end."""
        start, entry = self._entries[number - self._first]
        if isinstance(entry, bytes):
            return entry, start
        skip = max(0, position - start)
        if skip == 0 and number == self.next - 1:
            return self._newest, start + entry.samples
        return entry.message(skip), start + entry.samples
