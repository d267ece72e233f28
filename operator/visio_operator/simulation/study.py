"""What `simulate` finds out: the figures of each policy and their course, as the page and the JSON hold them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from visio_operator.plan.servers import Limits

LOWEST = 20
"""Target of an autoscaler in percent below which nobody would tune it: five servers where one is enough."""


@dataclass(frozen=True)
class Line:
    """The figures of one policy."""

    policy: str
    server_hours: float
    of_oracle: float | None
    waited_percent: float
    """Streams that found no slot in the 30 s in which they joined."""
    waiting_minutes: float
    """In which at least one stream waited."""
    lost: int
    sessions_ended: int
    orders: int
    used_percent: float | None
    """Of the slots that were paid for, those with a stream; None for the oracle, which is given by its cost alone."""
    euros: float | None
    """None where no price is known."""


@dataclass(frozen=True)
class Track:
    """The course of one policy, one figure for each stretch of a span."""

    policy: str
    slots: tuple[int, ...]
    """Slots of the servers that took new streams, at the moment of the highest demand of the stretch."""
    servers: tuple[float, ...]
    """Mean number of servers that cost."""
    waiting: tuple[int, ...]
    """Most streams that waited at once."""


@dataclass(frozen=True)
class Span:
    """A time cut into stretches."""

    start: float
    """Unix time."""
    stretch_seconds: int
    demand: tuple[int, ...]
    """Most streams that would have been there at once if none had ever waited."""
    tracks: tuple[Track, ...]


@dataclass(frozen=True)
class Point:
    """A policy with one setting at one lead time: what it costs, and how many streams waited."""

    lead_seconds: float
    policy: str
    setting: str
    server_hours: float
    of_oracle: float | None
    waited_percent: float
    lost: int
    sessions_ended: int
    euros: float | None


@dataclass(frozen=True)
class Tuned:
    """The planner beside an autoscaler with the highest target at which no more than so many streams wait."""

    lead_seconds: float
    may_wait_percent: float
    """What `capacity.blockedTarget` allows, or what the planner came to."""
    target_percent: int | None
    """Found by trying, with the trace known beforehand; None where even LOWEST is not low enough."""
    of_autoscaler: float | None
    """Server hours of the planner, of those of that autoscaler."""


@dataclass(frozen=True)
class RecordingsLine:
    """The figures of one policy over recordings."""

    policy: str
    late: int
    """Recordings whose transcription started after the limit, or never."""
    late_percent: float
    busy_percent: float
    """Of the time that was paid for, that in which a server worked."""
    server_hours: float
    jobs_ended: int
    """Transcriptions that ended because a server was taken away."""
    orders: int
    handed_over: int
    """Servers that were taken over from captions and not bought."""
    euros: float | None


@dataclass(frozen=True)
class Recordings:
    """What was found out about recordings."""

    jobs: int
    audio_hours: float
    work_hours: float
    """Server hours of the transcriptions alone, below which nobody comes."""
    start_within_seconds: float
    speed: float
    """Seconds of audio that a server does in a second."""
    handover_seconds: float
    """Until a server that captions gave back works on recordings; assumed."""
    policies: tuple[RecordingsLine, ...]
    week: Span
    """As of streams; demand are the transcriptions that would run at once if none waited, a slot is a server."""
    whole: Span


@dataclass(frozen=True)
class Announced:
    """An entry of the calendar; times are unix seconds."""

    name: str
    start: float
    end: float
    streams: int


@dataclass(frozen=True)
class Setting:
    """What was simulated."""

    recordings_from: str | None
    """Where the recordings come from; None without any."""
    synthetic: tuple[str, ...]
    """What is made up, in sentences."""
    slots: int
    """Of a captions server."""
    captions_price: float | None
    """Euros for a captions server and hour; None where it is not known."""
    transcription_price: float | None
    lead_seconds: float
    """Median, of a log-normal time."""
    lead_p95_seconds: float
    failing_percent: float
    moving: bool
    seed: int
    calendar: tuple[Announced, ...] = ()
    streams_from: str | None = None
    """Where the streams come from; None without any."""
    start: float | None = None
    """Unix time from which the streams count."""
    days: float = 0.0
    """That count."""
    history_days: int = 0


@dataclass(frozen=True)
class Study:
    """Everything that was found out."""

    lead_seconds: float
    setting: Setting
    policies: tuple[Line, ...] = ()
    week: Span | None = None
    """The calendar week with the highest demand, by half hours."""
    whole: Span | None = None
    """The whole time that counts, by days."""
    frontier: tuple[Point, ...] = ()
    tuned: tuple[Tuned, ...] = ()
    """For each lead time of the frontier."""
    recordings: Recordings | None = None


def euros(seconds: float, limits: Limits) -> float | None:
    """What server seconds cost; None without a price, since nothing is free."""
    return None if limits.price_per_hour is None else round(seconds / 3600 * limits.price_per_hour, 2)


def in_words(found: Tuned) -> str:
    """The comparison as a sentence."""
    lead = f"Median lead {found.lead_seconds / 60:g} min"
    may = f"lets at most {found.may_wait_percent:g} % of the streams wait"
    if found.target_percent is None or found.of_autoscaler is None:
        return f"{lead}: no target of an autoscaler down to {LOWEST} % {may}."
    return f"{lead}: {found.of_autoscaler:.3f} of an autoscaler that {may} (target {found.target_percent} %)."


def as_figures(study: Study) -> dict[str, Any]:
    """The study as plain values for JSON."""
    return asdict(study)
