"""A surge that no week foretold: what panic saves, and that its price is over within the hour."""

from __future__ import annotations

import random

import pytest

from live import limit
from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Limits, Orders, Reading
from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.synthetic import MONDAY
from visio_operator.simulation.trace import STEP, Streams
from visio_operator.simulation.world import World

DAY = 86_400 // STEP
AT = DAY + 2 * DAY // 24
"""Two o'clock in the second night."""
HOUR = DAY // 24


def a_night(streams: int, seed: int) -> Streams:
    """Single joiners for 40 minutes each, as many at all times, and four times as many within two minutes at `AT`."""
    chance = random.Random(seed)
    mean = 40 * 60 / STEP

    def stay() -> int:
        return max(1, round(chance.expovariate(1 / mean)))

    joins: list[list[int]] = [[] for _ in range(AT + 4 * HOUR)]
    for step in range(len(joins)):
        joins[step] = [stay() for _ in range(sum(chance.random() < streams / mean / 8 for _ in range(8)))]
    for number in range(3 * streams):
        joins[AT + number % (120 // STEP)].append(stay())
    return Streams(float(MONDAY), joins)


class Course:
    """What a planner does in such a night: who waits and how many servers are paid, in each step."""

    def __init__(self, trace: Streams, seed: int) -> None:
        self.waiting: list[int] = []
        self.servers: list[int] = []
        self.panics = 0
        self.planner = Foresight(Limits())
        self.figures = World(trace, 64, Cloud(), seed, rehome=True).run(self.step, AT)

    def step(self, seen: Reading) -> Orders:
        self.waiting.append(seen.queued)
        self.servers.append(len(seen.servers))
        orders = self.planner.step(seen)
        self.panics += "panic begins" in orders.why
        return orders


def test_a_surge_that_no_week_foretold_makes_people_wait_less_with_panic(monkeypatch: pytest.MonkeyPatch) -> None:
    nights = [(a_night(streams, seed), seed) for streams in (40, 100, 200) for seed in range(8)]
    panicking = [Course(*night) for night in nights]
    monkeypatch.setattr(Foresight, "_with_panic", lambda self, asked, seen: asked)
    calm = [Course(*night) for night in nights]
    waited, before = (sum(sum(each.waiting[AT:]) for each in courses) * STEP for courses in (panicking, calm))
    lost, lost_before = (sum(each.figures.lost for each in courses) for courses in (panicking, calm))
    first, first_before = (sum(sum(each.servers[AT : AT + HOUR]) for each in courses) for courses in (panicking, calm))
    then, then_before = (sum(sum(each.servers[AT + HOUR :]) for each in courses) for courses in (panicking, calm))
    print(f"waited {waited:.0f} s with panic, {before:.0f} s without, {waited / before:.3f}")
    print(f"lost {lost} with panic, {lost_before} without")
    print(f"servers of the first hour {first / first_before:.3f}, of the next three {then / then_before:.3f}")
    print(f"nights with a panic {sum(each.panics > 0 for each in panicking)} of {len(nights)}")
    assert all(each.figures.ended == 0 for each in (*panicking, *calm))
    assert sum(each.panics for each in calm) == 0
    assert waited / before <= limit("captionsPanicWaiting")
    assert lost / lost_before <= limit("captionsPanicLost")
    assert then / then_before <= limit("captionsPanicAfterwards")
    assert all(each.planner.panic.since is None for each in panicking)
