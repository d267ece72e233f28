"""A morning of captioned meetings, short enough to be played: for the laboratory and for `simulate` alike."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from visio_operator.plan.foresight import Foresight
from visio_operator.plan.planners import Planners
from visio_operator.plan.servers import Limits
from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.trace import STEP, Streams
from visio_operator.simulation.world import Figures, World

MONDAY = 1_767_571_200
"""2026-01-05, 00:00 UTC, on the planners' clock."""
DAY = 86_400
OPENS = 7 * 3600
"""Seconds of the day from which on meetings begin."""
WEEKS = 4


@dataclass(frozen=True)
class Morning:
    """What a day looks like. Times are seconds of the planners' clock."""

    hours: float
    """For which meetings begin: more and more until the middle, then fewer."""
    peak: float = 60.0
    """Streams at the height of it."""
    people: int = 4
    """Captioned participants of a meeting, who come and go together."""
    length: float = 1500.0
    """Of a meeting on average."""

    @property
    def closes(self) -> float:
        """Seconds of the day after which no meeting begins."""
        return OPENS + 3600 * self.hours


def streams(morning: Morning, seed: int, tail: float = 0.0) -> list[tuple[float, float]]:
    """When each stream of one day joins and for how long it stays; `tail` seconds are added to each stay."""
    chance = random.Random(seed)
    found: list[tuple[float, float]] = []
    at = float(OPENS)
    while at < morning.closes:
        height = math.sin(math.pi * (at - OPENS) / (morning.closes - OPENS)) ** 2
        if chance.random() < height * morning.peak / morning.people / morning.length * STEP:
            stay = chance.uniform(0.5, 1.5) * morning.length
            found += [(at + chance.uniform(0, STEP), stay + tail) for _ in range(morning.people)]
        at += STEP
    return sorted(found)


def trace(days: dict[int, list[tuple[float, float]]], start: int, end: float) -> Streams:
    """Days, by their number from MONDAY on, as a trace from unix time `start` to `end`."""
    joins: list[list[int]] = [[] for _ in range(int((end - start) // STEP))]
    for day, found in days.items():
        for at, stay in found:
            step = int((MONDAY + day * DAY + at - start) // STEP)
            if 0 <= step < len(joins):
                joins[step].append(max(1, round(stay / STEP)))
    return Streams(float(start), joins)


def learned(morning: Morning, limits: Limits, cloud: Cloud) -> dict[str, object]:
    """What a planner knows after WEEKS weeks of such mornings on working days."""
    days = {day: streams(morning, 100 + day) for day in range(7 * WEEKS) if day % 7 < 5}
    planner = Foresight(limits)
    World(trace(days, MONDAY, MONDAY + 7 * WEEKS * DAY), limits.slots, cloud, 1, rehome=True).run(planner.step)
    return planner.state()


def kept(state: dict[str, object]) -> dict[str, object]:
    """The same as the operator keeps it in the cluster."""
    return {**Planners().state(), "captions": state}


def simulated(
    found: list[tuple[float, float]], start: int, end: float, limits: Limits, cloud: Cloud, state: dict[str, object]
) -> Figures:
    """What `simulate` makes of the day, by a planner that knows what the operator knows."""
    planner = Foresight(limits)
    planner.restore(state)
    day = trace({7 * WEEKS: found}, start, end)
    return World(day, limits.slots, cloud, 1, rehome=True).run(planner.step)
