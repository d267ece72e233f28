"""Days that no week foretold: little is lost, nobody is cut, and a day later the price is the usual one."""

from __future__ import annotations

from dataclasses import replace

import pytest

from live import limit
from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Limits, Meeting, Orders, Reading, Server
from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.synthetic import MONDAY, Shape, generate
from visio_operator.simulation.trace import STEP, Streams
from visio_operator.simulation.world import Figures, World

DAY = 86_400 // STEP
BAD = 28
"""The day, a Monday after four weeks of history."""
NOON = BAD * DAY + 12 * 3600 // STEP
HOUR = 3600 // STEP
SHAPE = Shape(weeks=5, peak=400)


def played(trace: Streams, blind: range = range(0)) -> tuple[Figures, float]:
    """The figures from the bad day on, and what two days later was paid for each stream that was there."""
    planner, servers = Foresight(Limits()), [0] * trace.steps

    def policy(seen: Reading) -> Orders:
        if int(seen.now - trace.start) // STEP in blind:
            unread = [Server(each.id, each.ordered, each.ready, each.cordoned, 0, known=False) for each in seen.servers]
            seen = seen._replace(servers=unread, queued=0, known=False)
        return planner.step(seen)

    def note(step: int, _: int, there: int) -> None:
        servers[step] = there

    figures = World(trace, 64, Cloud(), 1, rehome=True).run(policy, BAD * DAY, note)
    after = slice((BAD + 2) * DAY, (BAD + 3) * DAY)
    return figures, sum(servers[after]) / sum(trace.offered()[after])


def a_meeting(trace: Streams, people: int, announced: int) -> Streams:
    """An hour for so many people at noon of the bad day, of whom the calendar says another number."""
    joins = [list(each) for each in trace.joins]
    for person in range(people):
        joins[NOON + person % 4].append(HOUR)
    start = float(MONDAY + NOON * STEP)
    return replace(trace, joins=joins, calendar=(Meeting(start, start + 3600.0, announced),))


@pytest.fixture(scope="module")
def usual() -> float:
    return played(generate(SHAPE, 1))[1]


@pytest.mark.parametrize("day", ["a doubled Monday", "a holiday", "a lost source", "three times", "a third"])
def test_little_is_lost_nobody_is_cut_and_the_price_is_soon_the_usual_one(day: str, usual: float) -> None:
    scale = {"a doubled Monday": 2.0, "a holiday": 0.03}.get(day)
    trace = generate(SHAPE, 1, {BAD: scale} if scale else None)
    if day == "three times":
        trace = a_meeting(trace, 100, 300)
    if day == "a third":
        trace = a_meeting(trace, 300, 100)
    blind = range(NOON - 2 * HOUR, NOON - HOUR) if day == "a lost source" else range(0)
    figures, price = played(trace, blind)
    print(
        f"{day}: lost {figures.lost} and waited {figures.waited_share:.3%} of {figures.streams},"
        f" two days later {price / usual:.3f} of the usual price"
    )
    assert figures.ended == 0
    assert figures.lost / figures.streams <= limit("captionsLostBadDay")
    assert price / usual <= limit("captionsPriceAfterBadDay")
