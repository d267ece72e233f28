"""What the planner of one kind of GPU server sees and says: the lines of `replay`, and what `simulate` drives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(slots=True)
class Server:
    """One server from its order on. Times are unix seconds."""

    id: str
    ordered: float
    ready: bool = False
    cordoned: bool = False
    used: int = 0
    """Streams on it; for a transcription worker 1 while it works."""
    known: bool = True
    """Whether `used` and `busy_for` could be read; what is unknown is never taken for empty."""
    busy_for: float | None = None
    """Seconds that a transcription worker has been at its job; None while it is idle."""


@dataclass(frozen=True, slots=True)
class Meeting:
    """Announced meetings of the calendar, with the captioned participants that are expected."""

    start: float
    end: float
    streams: int


@dataclass(frozen=True, slots=True)
class Job:
    """A recording that waits for its transcription."""

    id: str
    since: float
    audio: float
    """Seconds of audio."""


@dataclass(frozen=True)
class Limits:
    """What the planner may never exceed, and what servers cost."""

    slots: int = 64
    minimum: int = 0
    maximum: int | None = None
    price_per_hour: float | None = None
    """Euros for one server and hour; None where it is not known."""
    budget_per_day: float | None = None
    start_within: float = 600.0
    """Seconds within which transcriptions start."""
    blocked_target: float = 0.0005
    """Share of streams that may find no slot at once."""


class Reading(NamedTuple):
    """One look at all servers of a kind."""

    now: float
    servers: Sequence[Server]
    queued: int = 0
    rejected: int = 0
    rehome: bool = True
    calendar: Sequence[Meeting] = ()
    jobs: Sequence[Job] = ()
    known: bool = True
    """Whether what waits could be read."""
    longest_wait: float | None = None
    """Seconds that the one who waits longest has waited; None where nobody tells."""
    starting: int = 0
    """Servers that start without having been ordered, on what was there; not among `servers`."""


class Orders(NamedTuple):
    """One decision: how many servers to buy, and which ones to close, to open again and to return."""

    order: int = 0
    cordon: tuple[str, ...] = ()
    uncordon: tuple[str, ...] = ()
    release: tuple[str, ...] = ()
    why: str = ""


class ByState(NamedTuple):
    """The servers of one reading by what they are good for."""

    open: list[Server]
    """They serve and take new work."""
    closed: list[Server]
    """They are cordoned."""
    coming: list[Server]
    """Ordered and not ready yet."""


def by_state(servers: Sequence[Server]) -> ByState:
    """Sort servers by what they are good for."""
    serving: list[Server] = []
    closed: list[Server] = []
    coming: list[Server] = []
    for server in servers:
        (closed if server.cordoned else serving if server.ready else coming).append(server)
    return ByState(serving, closed, coming)
