"""What less waiting costs: the planner and an autoscaler with several settings at several lead times."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Limits

from .baselines import utilization
from .cloud import Cloud
from .compare import DAY_STEPS, Entrant, Tell
from .oracle import oracle_seconds
from .study import LOWEST, Point, Tuned, euros
from .trace import Streams
from .world import World

LEADS = (120.0, 300.0, 900.0)
"""Seconds (facts/scaling.md C2: three lead times, and not one point)."""
TARGETS = (0.05, 0.01, 0.002, 0.0005, 0.00005)
"""Of the planner: share of the streams that may find no slot at once."""
UTILIZATIONS = (80, 70, 60, 50, 40)
"""Of the autoscaler, in percent, as an HPA has it."""
PLANNER, AUTOSCALER = "visio-operator", "HPA"


@dataclass
class _Runs:
    """One lead time: runs of the same trace in the same cloud, none of them twice."""

    trace: Streams
    limits: Limits
    seed: int
    history: int
    moving: bool
    tell: Tell
    lead: float
    ideal: float
    _points: dict[tuple[str, float], Point] = field(default_factory=dict)

    def compared(self) -> tuple[list[Point], tuple[Tuned, Tuned]]:
        """All points of this lead time; and the planner beside the autoscaler that lets no more wait than may, and
        beside the one that lets no more wait than the planner did.
        """
        ours = self.planner(self.limits.blocked_target)
        tuned = self._tuned(ours, round(100 * self.limits.blocked_target, 4)), self._tuned(ours, ours.waited_percent)
        targets = {*UTILIZATIONS, *(each.target_percent for each in tuned if each.target_percent)}
        blocked = {*TARGETS, self.limits.blocked_target}
        points = [self.planner(target) for target in sorted(blocked, reverse=True)]
        return points + [self.autoscaler(each) for each in sorted(targets, reverse=True)], tuned

    def _tuned(self, ours: Point, may: float) -> Tuned:
        percent = tuned_target(lambda each: self.autoscaler(each).waited_percent <= may)
        theirs = self.autoscaler(percent).server_hours if percent else 0.0
        share = round(ours.server_hours / theirs, 3) if theirs else None
        return Tuned(self.lead, may, percent, share)

    def planner(self, target: float) -> Point:
        """The planner with a blocked target."""
        policy = Foresight(replace(self.limits, blocked_target=target)).step
        entrant = Entrant(PLANNER, policy, self.moving, spread=False)
        return self._point(target, f"blockedTarget {100 * target:g} %", entrant)

    def autoscaler(self, percent: int) -> Point:
        """The autoscaler with a target utilization."""
        return self._point(percent, f"target {percent} %", Entrant(AUTOSCALER, utilization(self.limits, percent / 100)))

    def _point(self, value: float, setting: str, entrant: Entrant) -> Point:
        if (entrant.name, value) not in self._points:
            world = World(self.trace, self.limits.slots, cloud_of(self.lead), self.seed, entrant.moves, entrant.spread)
            name = f"lead {self.lead / 60:g} min, {entrant.name}, {setting}"
            figures = world.run(entrant.policy, self.history, _told(self.tell, name, self.trace.steps))
            self._points[entrant.name, value] = Point(
                self.lead,
                entrant.name,
                setting,
                round(figures.server_seconds / 3600, 1),
                round(figures.server_seconds / self.ideal, 3) if self.ideal else None,
                round(100 * figures.waited_share, 4),
                figures.lost,
                figures.ended,
                euros(figures.server_seconds, self.limits),
            )
        return self._points[entrant.name, value]


def frontier(
    trace: Streams, limits: Limits, seed: int, history: int, moving: bool, tell: Tell, leads: tuple[float, ...] = LEADS
) -> tuple[tuple[Point, ...], tuple[Tuned, ...]]:
    """A point for each lead time, policy and setting, from cheap to careful; and for each lead time two comparisons
    with an autoscaler that is tuned to a share of waiting streams, which is among the points.
    """
    offered = trace.offered()
    points: list[Point] = []
    tuned: list[Tuned] = []
    for lead in leads:
        ideal = oracle_seconds(offered, limits.slots, lead, history)
        here, found = _Runs(trace, limits, seed, history, moving, tell, lead, ideal).compared()
        points += here
        tuned += found
    return tuple(points), tuple(tuned)


def tuned_target(enough: Callable[[int], bool]) -> int | None:
    """The highest utilization in whole percent at which few enough wait, as who tries one after another finds it: where
    it stops being enough between two that are apart. None when even the lowest is too much.
    """
    best = next((percent for percent in (*UTILIZATIONS, 30, LOWEST) if enough(percent)), None)
    if best is None:
        return None
    above = min((percent for percent in (*UTILIZATIONS, 30, 100) if percent > best), default=100)
    while above - best > 1:
        middle = (best + above) // 2
        if enough(middle):
            best = middle
        else:
            above = middle
    return best


def cloud_of(lead: float) -> Cloud:
    """The provider with a median lead time in seconds; the 95th percentile follows it as 8 minutes follow 5."""
    return Cloud(lead, lead * 1.6)


def _told(tell: Tell, name: str, steps: int) -> Callable[[int, int, int], None]:
    def every(step: int, _streams: int, _servers: int) -> None:
        if (step + 1) % DAY_STEPS == 0:
            tell(name, step + 1, steps)

    return every
