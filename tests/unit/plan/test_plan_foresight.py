"""The planner of captions servers: what it may never do, and what it learns."""

from __future__ import annotations

import json
import math
import random
from array import array
from collections import deque
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visio_operator.plan.errors import BUCKET, DAY, WEEK
from visio_operator.plan.forecast import Demand
from visio_operator.plan.foresight import HOLD, Foresight
from visio_operator.plan.lead_time import LeadTimes
from visio_operator.plan.overflow import insured, margin, share, standard_loss
from visio_operator.plan.planners import Planners
from visio_operator.plan.servers import Limits, Meeting, Orders, Reading, Server

MONDAY = 1_767_571_200.0


def serving(name: str, used: int, **changes: object) -> Server:
    server = Server(name, MONDAY - 3600, ready=True, used=used)
    for key, value in changes.items():
        setattr(server, key, value)
    return server


def step(planner: Foresight, servers: list[Server], now: float = MONDAY, **more: object) -> Orders:
    return planner.step(Reading(now, servers, **more))  # type: ignore[arg-type]


def test_streams_that_wait_are_bought_for_at_once():
    orders = step(Foresight(Limits()), [], queued=100)
    assert orders.order >= 2
    assert "100 streams" in orders.why


def test_closed_servers_are_opened_before_any_is_bought():
    servers = [serving("a", 64), serving("b", 0, cordoned=True), serving("c", 5, cordoned=True)]
    orders = step(Foresight(Limits()), servers, queued=40)
    assert set(orders.uncordon) == {"b", "c"}
    assert orders.release == ()


def test_what_is_on_its_way_is_not_bought_twice():
    planner = Foresight(Limits())
    first = step(planner, [], queued=50)
    coming = [Server(f"n{index}", MONDAY) for index in range(first.order + 1)]
    assert step(planner, coming, MONDAY + 30, queued=50).order == 0


def test_an_open_server_is_closed_only_when_less_was_enough_for_a_while_and_the_emptiest_goes():
    planner = Foresight(Limits())
    servers = [serving("a", 30), serving("b", 3), serving("c", 20)]
    for tick in range(int(HOLD // 30)):
        assert step(planner, servers, MONDAY + tick * 30).cordon == ()
    orders = step(planner, servers, MONDAY + HOLD)
    assert orders.cordon[:1] == ("b",)
    assert orders.release == ()


def test_a_server_is_not_closed_because_another_one_is_still_on_its_way():
    planner = Foresight(Limits())
    servers = [serving("a", 60), serving("b", 50), Server("c", MONDAY), Server("d", MONDAY)]
    for tick in range(20):
        assert step(planner, servers, MONDAY + tick * 30).cordon == ()


def test_announced_meetings_are_bought_for_a_lead_time_before_they_begin():
    planner = Foresight(Limits())
    meeting = Meeting(MONDAY + 7200, MONDAY + 10_800, 500)
    assert step(planner, [], MONDAY, calendar=(meeting,)).order <= 1
    soon = step(planner, [], MONDAY + 7200 - 120 - planner.leads.p95(), calendar=(meeting,))
    assert soon.order >= 500 // 64


def test_what_cannot_be_read_is_never_closed_or_returned_and_more_may_still_be_bought():
    planner = Foresight(Limits())
    step(planner, [serving("a", 60), serving("b", 0, cordoned=True), serving("c", 2)])
    blind = [serving(name, 0, cordoned=name == "b", known=False) for name in "abc"]
    for tick in range(1, 120):
        orders = step(planner, blind, MONDAY + tick * 30)
        assert (orders.cordon, orders.release) == ((), ())
    assert "62 streams" in orders.why
    assert "frozen" in orders.why
    assert step(planner, blind, MONDAY + 3630, queued=200).order > 0


def test_a_failed_order_is_learned_and_replaced():
    planner = Foresight(Limits())
    before = planner.leads.failure_rate
    step(planner, [Server("n", MONDAY)], queued=5)
    orders = step(planner, [], MONDAY + 600, queued=5)
    assert planner.leads.failure_rate > before
    assert orders.order >= 1


@given(
    st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 64), st.floats(0, 4000)), max_size=12),
    st.integers(0, 300),
    st.booleans(),
    st.integers(0, 3),
    st.integers(0, 6) | st.none(),
)
@settings(max_examples=150)
def test_no_session_is_ended_and_no_limit_exceeded(shapes, queued, rehome, minimum, more):
    maximum = None if more is None else minimum + more
    planner = Foresight(Limits(minimum=minimum, maximum=maximum))
    servers = [
        Server(f"s{index}", MONDAY - age, ready=ready, cordoned=ready and cordoned, used=used if ready else 0)
        for index, (ready, cordoned, used, age) in enumerate(shapes)
    ]
    by_name = {server.id: server for server in servers}
    for tick in range(8):
        orders = step(planner, servers, MONDAY + tick * 30, queued=queued, rehome=rehome)
        assert all(by_name[name].cordoned and by_name[name].used == 0 for name in orders.release)
        assert all(not by_name[name].cordoned for name in orders.cordon)
        assert all(by_name[name].cordoned for name in orders.uncordon)
        assert not set(orders.release) & set(orders.uncordon)
        still_open = sum(server.ready and not server.cordoned for server in servers) - len(orders.cordon)
        assert not orders.cordon or still_open >= minimum
        if maximum is not None:
            assert orders.order == 0 or len(servers) + orders.order <= maximum


def test_the_budget_of_a_day_bounds_what_is_bought():
    planner = Foresight(Limits(price_per_hour=2.0, budget_per_day=6))
    assert step(planner, [], queued=1000).order == 3


@given(st.floats(60, 1800), st.floats(0.05, 0.6))
@settings(max_examples=30)
def test_lead_times_are_learned(median, spread):
    leads, chance = LeadTimes(), random.Random(1)
    for _ in range(300):
        leads.arrived(median * math.exp(chance.gauss(0, spread)))
    assert leads.median() == pytest.approx(median, rel=0.2)
    assert leads.p95() == pytest.approx(median * math.exp(1.645 * spread), rel=0.35)


def taught(weeks: int, load: float, special: dict[int, float] | None = None) -> Demand:
    """Weeks of the same load from eight to eighteen on every day; `special` scales single days."""
    demand = Demand()
    for bucket in range(weeks * WEEK):
        hour = bucket % DAY * BUCKET / 3600
        level = load if 8 <= hour < 18 else 0.0
        demand.observe(MONDAY + bucket * BUCKET, level * (special or {}).get(bucket // DAY, 1.0))
    return demand


def bucket_at(day: int, hour: float) -> int:
    return int((MONDAY + day * 86_400 + hour * 3600) // BUCKET)


def test_the_usual_load_is_that_of_other_weeks_without_a_holiday():
    demand = taught(5, 300.0, {14: 0.0})
    assert demand.usual(bucket_at(35, 10)) == pytest.approx(300)
    assert demand.usual(bucket_at(35, 3)) == 0


def test_the_morning_is_foreseen_before_anybody_is_there():
    demand = taught(5, 300.0)
    now = MONDAY + 35 * 86_400 + 7.9 * 3600
    demand.observe(now, 0.0)
    assert demand.upper(now, 0.0, 600, 0.0) >= 290
    assert demand.upper(now - 7200, 0.0, 600, 3.0) == 0.0


def test_a_day_may_begin_half_an_hour_before_it_ever_did():
    demand = taught(5, 300.0)
    day = MONDAY + 35 * 86_400
    demand.observe(day + 7.0 * 3600, 0.0)
    assert demand.outlook(day + 7.05 * 3600, 0.0, 900) == []
    assert demand.outlook(day + 7.35 * 3600, 0.0, 900) != []


def leaving_late(bucket: int) -> float:
    """From eight to twenty many are there, and the last of them stay until midnight."""
    hour = (bucket % DAY * BUCKET / 3600 - 8) % 24
    return 300.0 if hour < 12 else max(0.0, 16.0 - 4.0 * (hour - 12))


@pytest.mark.parametrize(("came", "quiet"), [(0.0, True), (1.0, False)])
def test_who_stays_late_needs_no_more_than_is_there_unless_somebody_once_came_then(came, quiet):
    demand = Demand()
    for bucket in range(DAY // 2, 5 * WEEK):
        there = leaving_late(bucket) + (came if bucket == bucket_at(30, 0.5) - bucket_at(0, 0) else 0.0)
        demand.observe(MONDAY + bucket * BUCKET, there)
    late = MONDAY + 36 * 86_400 + 600.0
    demand.observe(late, 4.0)
    there, empty = demand.outlook(late, 3.0, 900), demand.outlook(late, 0.0, 900)
    assert (there == [(4.0, 0.0)]) is quiet
    assert (empty == []) is quiet
    assert quiet or there[-1][1] > 0


def test_a_meeting_that_comes_every_week_is_not_smoothed_away():
    demand = taught(5, 300.0, dict.fromkeys(range(2, 35, 7), 2.0))
    assert demand.usual(bucket_at(35 + 2, 10)) == pytest.approx(600, rel=0.02)
    assert demand.usual(bucket_at(35 + 3, 10)) == pytest.approx(300, rel=0.02)


def test_a_load_that_jumps_at_the_half_hour_is_uncertain_only_across_it():
    chance, demand = random.Random(3), Demand()
    for half in range(4 * 7 * 48):
        level = 100.0 + chance.choice((0, 100))
        for bucket in range(6):
            demand.look_ahead(500)
            demand.observe(MONDAY + (half * 6 + bucket) * BUCKET, level)
    now = MONDAY + 4 * 7 * 86_400 + 10 * 3600
    assert demand.upper(now + 310, 150.0, 600, 2.0) < demand.upper(now + 1510, 150.0, 600, 2.0) - 20


@given(st.floats(0.0, 0.3), st.floats(1.0, 500.0), st.floats(1.0, 60.0))
def test_the_share_that_finds_no_slot_falls_with_slots_and_its_inverse_is_one(loss, mean, deviation):
    assert standard_loss(margin(loss)) <= loss + 1e-9
    shares = [share([(mean, deviation)], slots, 16.0) for slots in range(0, 700, 50)]
    assert shares == sorted(shares, reverse=True)


def test_orders_that_may_fail_are_worth_less_than_those_that_came():
    shares = [0.5, 0.1, 0.0]
    assert insured(shares, 0.0) == 0.0
    assert insured(shares, 0.1) == pytest.approx(0.01 * 0.5 + 0.18 * 0.1)


def test_a_doubled_day_is_followed():
    demand = taught(5, 300.0)
    now = MONDAY + 35 * 86_400 + 10 * 3600
    demand.observe(now, 600.0)
    assert demand.upper(now, 600.0, 480, 1.0) > 550


def passes(demand: Demand, day: int, hours: tuple[float, float], load: float) -> list[tuple[float, float]]:
    """What is foreseen after these hours of a day with such a load."""
    for bucket in range(bucket_at(day, hours[0]), bucket_at(day, hours[1])):
        demand.observe(bucket * BUCKET, load)
    return demand.outlook(bucket_at(day, hours[1]) * BUCKET, load, 500)


def test_a_day_on_which_nobody_comes_is_a_holiday_after_two_hours():
    demand = taught(5, 300.0)
    passes(demand, 35, (0, 8), 0.0)
    morning = passes(demand, 35, (8, 9), 0.0)
    noon = passes(demand, 35, (9, 11), 0.0)
    assert max(mean for mean, _ in morning) > 2 * max(mean for mean, _ in noon)
    assert max(mean for mean, _ in noon) < 90


def test_whoever_begins_hours_late_is_no_holiday():
    demand = taught(5, 300.0)
    passes(demand, 35, (0, 8), 0.0)
    noon = passes(demand, 35, (8, 11), 0.0)
    demand.observe(bucket_at(35, 11) * BUCKET, 60.0)
    late = passes(demand, 35, (11, 11.25), 60.0)
    assert max(mean for mean, _ in late) > 60 + max(mean for mean, _ in noon) / 2


def test_a_gap_of_months_forgets_instead_of_believing_old_weeks():
    demand = taught(5, 300.0)
    later = MONDAY + 40 * 7 * 86_400
    demand.observe(later, 10.0)
    demand.observe(later + BUCKET, 10.0)
    assert demand.usual(int((later + 10 * 3600) // BUCKET)) < 0


def test_what_was_learned_survives_a_restart():
    chance = random.Random(4)
    before, servers = Foresight(Limits()), [serving("a", 0), serving("b", 0), Server("c", MONDAY - 60)]
    for tick in range(0, 3 * 86_400, 150):
        for server in servers:
            server.used = chance.randrange(60)
        step(before, servers, MONDAY + tick, queued=chance.randrange(3))
    after = Foresight(Limits())
    after.restore(json.loads(json.dumps(before.state())))
    assert len(json.dumps(before.state())) < 60_000
    for tick in range(3 * 86_400, 3 * 86_400 + 7200, 30):
        for server in servers:
            server.used = chance.randrange(60)
        left, right = (step(each, servers, MONDAY + tick) for each in (before, after))
        assert left.order == right.order


def changing(value: object) -> Iterator[object]:
    """All that can change of what an object holds: itself, its fields and what they hold."""
    if isinstance(value, list | deque | dict | array):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from changing(inner)
    elif hasattr(value, "__dict__"):
        yield value
        yield from changing(vars(value))


def test_a_copy_has_all_that_was_learned_and_nothing_of_it_in_common():
    planners, chance = Planners(), random.Random(5)
    for tick in range(0, 9 * 86_400, 150):
        step(planners.captions, [serving("a", chance.randrange(60)), Server("b", MONDAY)], MONDAY + tick)
    copy = planners.copy()
    left, right = list(changing(planners)), list(changing(copy))
    assert len(left) == len(right) > 200
    assert not {id(each) for each in left} & {id(each) for each in right}
    assert copy.state() == planners.state()
    for planner in (planners.captions, copy.captions):
        orders = [step(planner, [serving("a", 50)], MONDAY + 9 * 86_400 + tick).why for tick in range(0, 7200, 30)]
        assert "50 streams" in orders[-1]
    assert copy.state() == planners.state()


@pytest.mark.parametrize("broken", [{}, {"demand": {"weeks": "!"}}, {"demand": {"weeks": "eJwDAAAAAAE="}}])
def test_a_state_that_is_none_is_refused(broken):
    with pytest.raises((ValueError, KeyError, TypeError)):
        Foresight(Limits()).restore(broken)
