"""One speech-to-text server as the proxy sees it: its slots, and the placements its last answer may not count."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field

STREAM_PATH = "/api/asr-streaming"
"""Path of the websocket, on the proxy and on the servers."""
KEY_HEADER = "kyutai-api-key"
FAILURE_PAUSE_S = 5.0
"""Seconds without placements on a server that failed a stream: long enough not to hammer it, short enough to return
soon after a restart. Doubled while it fails again and again, as a hung GPU does behind a live socket."""
LONGEST_PAUSE_S = 60.0


@dataclass
class Server:
    """A server's slots. Times are seconds of a monotonic clock."""

    address: str
    total: int = 0
    used: int = 0
    asked_at: float = -math.inf
    """When the answer that `total` and `used` come from was asked for; minus infinity when there is none."""
    opening: int = 0
    """Streams of ours that are being opened."""
    opened_at: list[float] = field(default_factory=list)
    """When streams of ours were accepted that the last answer may not count yet."""
    full_at: float = -math.inf
    """When the server last said that no channel is free."""
    paused_until: float = -math.inf
    failures: int = 0
    """Pauses in a row, without a stream accepted in between."""
    serving: bool = True
    """Whether it is among the servers to use; when it no longer is, its streams are moved away."""
    streams: int = 0
    """Streams of ours that it has."""
    stepping: bool = False
    """Whether it was seen to tell its steps; a model without extra heads does not."""

    def free(self, now: float) -> int:
        """Slots that surely are free for a further stream; 0 when the server is unknown, full or paused.

        A stream that is being opened may already be in `used`: it then counts twice until the next answer, which only
        delays a placement and never overfills a server.
        """
        if self.asked_at == -math.inf or self.full_at >= self.asked_at or now < self.paused_until:
            return 0
        return max(0, self.total - self.used - self.opening - len(self.opened_at))

    def answered(self, asked_at: float, used: int, total: int) -> None:
        """Take the slots of an answer that was asked for at `asked_at`."""
        self.asked_at, self.used, self.total = asked_at, used, total
        self.opened_at = [at for at in self.opened_at if at >= asked_at]

    def silent(self) -> None:
        """The server did not answer: nothing is placed on it until it does."""
        self.asked_at = -math.inf

    def reserve(self) -> None:
        """Count a stream that will be opened; `accepted`, `refused`, `not_opened` or `abandoned` must follow."""
        self.opening += 1

    def accepted(self, now: float) -> None:
        """The server has taken the reserved stream."""
        self.opening -= 1
        self.opened_at.append(now)
        self.streams += 1
        self.failures = 0

    def refused(self, now: float) -> None:
        """The server had no free channel after all, for instance since another proxy was faster."""
        self.opening -= 1
        self.full_at = now

    def not_opened(self, now: float) -> None:
        """The server could not open the reserved stream for another reason than its slots."""
        self.opening -= 1
        self.pause(now)

    def pause(self, now: float) -> None:
        """Something failed here: no placements for a while. What else fails meanwhile is the same failure."""
        if now >= self.paused_until:
            self.paused_until = now + min(LONGEST_PAUSE_S, FAILURE_PAUSE_S * 2**self.failures)
            self.failures = min(self.failures + 1, 10)

    def abandoned(self) -> None:
        """The client went away before the stream was open."""
        self.opening -= 1


def parse_slots(text: str) -> tuple[int, int]:
    """Used and total slots of the streaming module in an answer of `/api/modules_info`.

    The real server answers a list of modules whose values are all strings (kyutai-labs/moshi,
    moshi-server/src/main.rs); numbers are taken too. Raises ValueError when the module or its slots are missing.
    """
    try:
        modules = json.loads(text)
    except RecursionError:
        raise ValueError("the answer is nested too deeply") from None
    if not isinstance(modules, list):
        raise ValueError("the answer is not a list of modules")
    for module in modules:
        if isinstance(module, dict) and module.get("path") == STREAM_PATH:
            try:
                used, total = int(module["used_slots"]), int(module["total_slots"])
            except (KeyError, TypeError, ValueError, OverflowError):
                raise ValueError(f"the module {STREAM_PATH} has no used_slots and total_slots") from None
            return max(0, used), max(0, total)
    raise ValueError(f"no module serves {STREAM_PATH}")
