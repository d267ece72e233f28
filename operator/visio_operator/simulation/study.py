"""What `simulate` finds out: the figures of each policy and their course, as the page and the JSON hold them."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from visio_operator.plan.servers import Limits, Orders, Reading

from .cloud import Cloud
from .oracle import oracle_seconds
from .trace import STEP, Streams
from .world import Policy, World

DAY_STEPS = 86_400 // STEP
_HALF_HOUR = 1800 // STEP
ORACLE = "knows the future"
Tell = Callable[[str, int, int], None]
"""Hears of the progress: what runs, how many steps are done, and how many there are."""


@dataclass(frozen=True)
class Entrant:
    """A policy with its name and its rules: whether streams move, and whether new ones go to the emptiest server."""

    name: str
    policy: Policy
    moves: bool
    spread: bool


@dataclass(frozen=True)
class Line:
    """The figures of one policy."""

    policy: str
    server_hours: float
    of_oracle: float | None
    waited_percent: float
    """Streams that found no slot in the 30 s in which they joined."""
    lost: int
    sessions_ended: int
    orders: int
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
class Announced:
    """An entry of the calendar; times are unix seconds."""

    name: str
    start: float
    end: float
    streams: int


@dataclass(frozen=True)
class Setting:
    """What was simulated."""

    streams_from: str | None
    """Where the streams come from; None without streams."""
    synthetic: tuple[str, ...]
    """What is made up, in sentences."""
    start: float
    days: float
    """That count, after the history."""
    history_days: int
    slots: int
    price_per_hour: float | None
    lead_seconds: float
    lead_p95_seconds: float
    failing_percent: float
    moving: bool
    seed: int
    calendar: tuple[Announced, ...] = ()


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


class Recorder:
    """A policy that notes what it saw."""

    def __init__(self, entrant: Entrant, slots: int, steps: int, tell: Tell) -> None:
        self._entrant, self._slots, self._steps, self._tell = entrant, slots, steps, tell
        self.slots, self.servers, self.waiting = array("q"), array("q"), array("q")

    def __call__(self, seen: Reading) -> Orders:
        """Decide as the policy does."""
        self.slots.append(self._slots * sum(server.ready and not server.cordoned for server in seen.servers))
        self.servers.append(len(seen.servers))
        self.waiting.append(seen.queued)
        if len(self.slots) % DAY_STEPS == 0:
            self._tell(self._entrant.name, len(self.slots), self._steps)
        return self._entrant.policy(seen)


def compare(
    entrants: Sequence[Entrant], trace: Streams, limits: Limits, cloud: Cloud, seed: int, history: int, tell: Tell
) -> tuple[tuple[Line, ...], Span, Span]:
    """Run all policies over a trace: their figures after `history` steps with the oracle last, the week and all days.

    `week` is the calendar week, Monday to Sunday UTC, with the highest demand; at either end it may be cut.
    """
    offered = trace.offered()
    ideal = oracle_seconds(offered, limits.slots, cloud.median, history)
    week = _busiest_week(trace, offered, history)
    lines, in_week, in_whole = [], [], []
    for entrant in entrants:
        recorder = Recorder(entrant, limits.slots, trace.steps, tell)
        world = World(trace, limits.slots, cloud, seed, entrant.moves, entrant.spread)
        figures = world.run(recorder, history)
        seconds = figures.server_seconds
        lines.append(
            Line(
                entrant.name,
                round(seconds / 3600, 1),
                round(seconds / ideal, 3) if ideal else None,
                round(100 * figures.waited_share, 4),
                figures.lost,
                figures.ended,
                figures.orders,
                euros(seconds, limits),
            )
        )
        in_week.append(_track(entrant.name, recorder, offered, week, _HALF_HOUR))
        in_whole.append(_track(entrant.name, recorder, offered, range(history, trace.steps), DAY_STEPS))
    perfect = Line(ORACLE, round(ideal / 3600, 1), 1.0 if ideal else None, 0.0, 0, 0, 0, euros(ideal, limits))
    return (
        (*lines, perfect),
        _span(trace, offered, week, _HALF_HOUR, in_week),
        _span(trace, offered, range(history, trace.steps), DAY_STEPS, in_whole),
    )


def euros(seconds: float, limits: Limits) -> float | None:
    """What server seconds cost; None without a price, since nothing is free."""
    return None if limits.price_per_hour is None else round(seconds / 3600 * limits.price_per_hour, 2)


def _busiest_week(trace: Streams, offered: Sequence[int], history: int) -> range:
    peak = max(range(history, trace.steps), key=offered.__getitem__)
    day = datetime.fromtimestamp(trace.start, UTC).weekday() + peak // DAY_STEPS
    monday = (peak // DAY_STEPS - day % 7) * DAY_STEPS
    return range(max(history, monday), min(trace.steps, monday + 7 * DAY_STEPS))


def _stretches(steps: range, length: int) -> list[range]:
    return [range(first, min(first + length, steps.stop)) for first in range(steps.start, steps.stop, length)]


def _track(name: str, seen: Recorder, offered: Sequence[int], steps: range, length: int) -> Track:
    stretches = _stretches(steps, length)
    return Track(
        name,
        tuple(seen.slots[max(each, key=offered.__getitem__)] for each in stretches),
        tuple(round(sum(seen.servers[each.start : each.stop]) / len(each), 2) for each in stretches),
        tuple(max(seen.waiting[each.start : each.stop]) for each in stretches),
    )


def _span(trace: Streams, offered: Sequence[int], steps: range, length: int, tracks: Sequence[Track]) -> Span:
    demand = tuple(max(offered[each.start : each.stop]) for each in _stretches(steps, length))
    return Span(trace.start + steps.start * STEP, length * STEP, demand, tuple(tracks))


def as_figures(study: Study) -> dict[str, Any]:
    """The study as plain values for JSON."""
    return asdict(study)
