"""Policies over one trace, side by side: what they come to, and what they did over time."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from visio_operator.plan.servers import Limits, Orders, Reading

from .cloud import Cloud
from .oracle import oracle_seconds
from .study import Line, Span, Track, euros
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
    moves: bool = False
    spread: bool = True


class Recorder:
    """A policy that notes what it saw at each step."""

    def __init__(self, name: str, policy: Policy, slots: int, steps: int, tell: Tell) -> None:
        self.name = name
        self._policy, self._slots, self._steps, self._tell = policy, slots, steps, tell
        self.slots, self.servers, self.waiting, self.used = array("q"), array("q"), array("q"), array("q")
        self.returned: list[float] = []
        """When it gave back a server, once for each; unix seconds."""

    def __call__(self, seen: Reading) -> Orders:
        """Decide as the policy does."""
        able = used = 0
        for server in seen.servers:
            used += server.used
            if server.ready and not server.cordoned:
                able += self._slots
        self.slots.append(able)
        self.servers.append(len(seen.servers))
        self.waiting.append(seen.queued + len(seen.jobs))
        self.used.append(used)
        if len(self.slots) % DAY_STEPS == 0:
            self._tell(self.name, len(self.slots), self._steps)
        orders = self._policy(seen)
        if orders.release:
            self.returned += [seen.now] * len(orders.release)
        return orders


class Compared(NamedTuple):
    """What a run of all policies came to, after the history."""

    lines: tuple[Line, ...]
    """Their figures, the oracle's last."""
    week: Span
    """The busiest one."""
    whole: Span
    returned: Sequence[float]
    """When the first of the policies gave back a server, the history included; unix seconds."""


def compare(
    entrants: Sequence[Entrant], trace: Streams, limits: Limits, cloud: Cloud, seed: int, history: int, tell: Tell
) -> Compared:
    """Run all policies; the first `history` steps only teach."""
    offered = trace.offered()
    ideal = oracle_seconds(offered, limits.slots, cloud.median, history)
    lines, recorders = [], []
    for entrant in entrants:
        recorder = Recorder(entrant.name, entrant.policy, limits.slots, trace.steps, tell)
        world = World(trace, limits.slots, cloud, seed, entrant.moves, entrant.spread)
        figures = world.run(recorder, history)
        recorders.append(recorder)
        lines.append(
            Line(
                entrant.name,
                round(figures.server_seconds / 3600, 1),
                round(figures.server_seconds / ideal, 3) if ideal else None,
                round(100 * figures.waited_share, 4),
                sum(each > 0 for each in recorder.waiting[history:]) * STEP / 60,
                figures.lost,
                figures.ended,
                figures.orders,
                _used(recorder, limits, history),
                euros(figures.server_seconds, limits),
            )
        )
    of_itself = 1.0 if ideal else None
    perfect = Line(ORACLE, round(ideal / 3600, 1), of_itself, 0.0, 0.0, 0, 0, 0, None, euros(ideal, limits))
    week, whole = courses(trace.start, offered, recorders, history)
    return Compared((*lines, perfect), week, whole, recorders[0].returned)


def _used(seen: Recorder, limits: Limits, history: int) -> float | None:
    paid = limits.slots * sum(seen.servers[history:])
    return round(100 * sum(seen.used[history:]) / paid, 2) if paid else None


def courses(start: float, offered: Sequence[int], recorders: Sequence[Recorder], history: int = 0) -> tuple[Span, Span]:
    """The calendar week with the highest demand by half hours, cut at the ends of the time, and all days.

    The week goes from Monday to Sunday UTC; `start` is a midnight, and so is the end of the history.
    """
    peak = max(range(history, len(offered)), key=offered.__getitem__)
    day = peak // DAY_STEPS
    monday = (day - (datetime.fromtimestamp(start, UTC).weekday() + day) % 7) * DAY_STEPS
    week = range(max(history, monday), min(len(offered), monday + 7 * DAY_STEPS))
    return (
        _span(start, offered, week, _HALF_HOUR, recorders),
        _span(start, offered, range(history, len(offered)), DAY_STEPS, recorders),
    )


def _span(start: float, offered: Sequence[int], steps: range, length: int, recorders: Sequence[Recorder]) -> Span:
    stretches = [range(first, min(first + length, steps.stop)) for first in range(steps.start, steps.stop, length)]
    highest = [max(each, key=offered.__getitem__) for each in stretches]
    tracks = tuple(
        Track(
            seen.name,
            tuple(seen.slots[step] for step in highest),
            tuple(round(sum(seen.servers[each.start : each.stop]) / len(each), 2) for each in stretches),
            tuple(max(seen.waiting[each.start : each.stop]) for each in stretches),
        )
        for seen in recorders
    )
    return Span(start + steps.start * STEP, length * STEP, tuple(offered[step] for step in highest), tracks)
