"""What less waiting costs: the planner and an autoscaler with several settings at several lead times."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Limits

from .baselines import utilization
from .cloud import Cloud
from .compare import DAY_STEPS, Entrant, Tell
from .oracle import oracle_seconds
from .study import Point, euros
from .trace import Streams
from .world import World

LEADS = (120.0, 300.0, 900.0)
"""Seconds (facts/scaling.md C2: three lead times, and not one point)."""
TARGETS = (0.05, 0.01, 0.002, 0.0005, 0.00005)
"""Of the planner: share of the streams that may find no slot at once."""
UTILIZATIONS = (0.8, 0.7, 0.6, 0.5, 0.4)
"""Of the autoscaler."""
PLANNER, AUTOSCALER = "visio-operator", "HPA"


def frontier(
    trace: Streams, limits: Limits, seed: int, history: int, moving: bool, tell: Tell, leads: tuple[float, ...] = LEADS
) -> tuple[Point, ...]:
    """A point for each lead time, policy and setting, from cheap to careful."""
    offered = trace.offered()
    points = []
    for lead in leads:
        ideal = oracle_seconds(offered, limits.slots, lead, history)
        for setting, entrant in _settings(limits, moving):
            name = f"lead {lead / 60:g} min, {entrant.name}, {setting}"
            world = World(trace, limits.slots, cloud_of(lead), seed, entrant.moves, entrant.spread)
            figures = world.run(entrant.policy, history, _told(tell, name, trace.steps))
            points.append(
                Point(
                    lead,
                    entrant.name,
                    setting,
                    round(figures.server_seconds / 3600, 1),
                    round(figures.server_seconds / ideal, 3) if ideal else None,
                    round(100 * figures.waited_share, 4),
                    figures.lost,
                    figures.ended,
                    euros(figures.server_seconds, limits),
                )
            )
    return tuple(points)


def cloud_of(lead: float) -> Cloud:
    """The provider with a median lead time in seconds; the 95th percentile follows it as 8 minutes follow 5."""
    return Cloud(lead, lead * 1.6)


def _settings(limits: Limits, moving: bool) -> Iterator[tuple[str, Entrant]]:
    for target in TARGETS:
        planner = Foresight(replace(limits, blocked_target=target))
        yield f"blockedTarget {100 * target:g} %", Entrant(PLANNER, planner.step, moving, spread=False)
    for used in UTILIZATIONS:
        yield f"target {100 * used:g} %", Entrant(AUTOSCALER, utilization(limits, used))


def _told(tell: Tell, name: str, steps: int) -> Callable[[int, int, int], None]:
    def every(step: int, _streams: int, _servers: int) -> None:
        if (step + 1) % DAY_STEPS == 0:
            tell(name, step + 1, steps)

    return every
