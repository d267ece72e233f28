"""Writes that were refused are not sent again in every pass: each waits longer, until what is sent changes."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from .kube import KubeError

FIRST, LONGEST = 1.0, 60.0

Key = tuple[str, str]


@dataclass(frozen=True)
class _Refused:
    mark: str
    message: str
    count: int
    until: float


@dataclass
class Attempts:
    """What was refused lately, by kind and name."""

    refused: dict[Key, _Refused] = field(default_factory=dict)
    clock: Callable[[], float] = time.monotonic

    async def run(self, key: Key, mark: str, work: Callable[[], Awaitable[None]]) -> str:
        """Do the work, unless the same was refused a moment ago. Returns why it is not done; empty when it is.

        `mark` stands for what is sent: a different one is tried at once.
        """
        before = self.refused.get(key)
        if before is not None and before.mark == mark and self.clock() < before.until:
            return before.message
        try:
            await work()
        except KubeError as error:
            count = before.count + 1 if before is not None and before.mark == mark else 1
            message = f"{key[0]} {key[1]}: {error.message}"
            pause = min(LONGEST, FIRST * 2.0 ** min(count - 1, 10))
            self.refused[key] = _Refused(mark, message, count, self.clock() + pause)
            return message
        self.refused.pop(key, None)
        return ""

    def next_in(self) -> float:
        """Seconds until the next refused write may be tried; the longest pause when there is none."""
        if not self.refused:
            return LONGEST
        return max(0.1, min(entry.until for entry in self.refused.values()) - self.clock())

    def keep(self, keys: set[Key]) -> None:
        """Forget all others: what is no longer wanted cannot be refused."""
        for key in self.refused.keys() - keys:
            del self.refused[key]
