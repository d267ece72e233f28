"""What media servers count about their joins, their connections and their packets, and sums of it.

The counters are LiveKit's own. Only those are used that 1.11.0 and 1.13.5 count in the same place, since an upgrade
compares two versions: the outcomes `rtc_active` and `rtc_failure` of 1.13, for one, do not exist in 1.11.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Counts:
    """Counted over some time; all are numbers of events but where a unit is said."""

    seconds: float = 0.0
    """Seconds that were counted over."""
    joins: float = 0.0
    """Participants whom a room of this server let in, or tried to."""
    unanswered: float = 0.0
    """Of the joins, those to whom the answer could not be sent."""
    starts: float = 0.0
    """Participants whose media connection came about."""
    start_seconds: float = 0.0
    """Seconds from each join to its start, together."""
    reconnects: float = 0.0
    """Sessions of its rooms that were taken up again, or broke off before they were a join."""
    signals: float = 0.0
    """Signalling connections that this server took, for rooms of any server."""
    failed_signals: float = 0.0
    """Those that it could bring to no room."""
    refused_signals: float = 0.0
    """Those whose token it refused; LiveKit 1.11.0 does not count them."""
    person_seconds: float = 0.0
    """Participants times seconds."""
    packets: float = 0.0
    lost: float = 0.0
    """Packets that did not arrive, either way."""
    restarts: float = 0.0
    """How often its process was started again."""

    def failed_joins(self, *, fresh: bool = False) -> float:
        """Joins without a media connection.

        Of a `fresh` server, which was counted from its first join on, those are taken off that are about to have one:
        as many as join in the time that it takes (Little, A proof for the queuing formula L = lambda W, Operations
        Research 9, 1961). Of others as many were about to when the counting began.
        """
        starting = self.joins / self.seconds * self.start_seconds / self.starts if self.seconds and self.starts else 0.0
        missing = self.joins - self.unanswered - self.starts - (starting if fresh else 0.0)
        return min(self.joins, self.unanswered + max(0.0, missing))


@dataclass(frozen=True)
class Stretch:
    """What one server counted between two readings."""

    end: float
    """When the second reading was taken, in unix seconds; the same for all servers that were read in one look."""
    counts: Counts


NAMES = tuple(field.name for field in fields(Counts))


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of them."""
    every = [[getattr(part, name) for name in NAMES] for part in parts]
    return Counts(*(sum(column) for column in zip(*every, strict=True))) if every else Counts()


def written(counts: Counts, prefix: str) -> dict[str, float]:
    """The counts as numbers with names, as they are kept between two decisions; zeros are left out."""
    return {f"{prefix}{name}": value for name in NAMES if (value := getattr(counts, name))}


def read(memory: Mapping[str, float], prefix: str) -> Counts:
    """The counts that were written with this prefix."""
    return Counts(**{name: memory.get(f"{prefix}{name}", 0.0) for name in NAMES})
