"""What others would do: they grow, hold and shrink by their own rules, and never end a session."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visio_operator.plan.servers import Job, Limits, Orders, Reading, Server
from visio_operator.simulation.baselines import (
    Office,
    learn_office,
    office_hours,
    static_peak,
    steps,
    two_windows,
    utilization,
    worker_per_job,
)
from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.recordings import run_recordings
from visio_operator.simulation.synthetic import MONDAY, Shape, generate
from visio_operator.simulation.trace import STEP, Streams
from visio_operator.simulation.world import Policy, World

LIMITS = Limits(slots=10)
OFFICE = Office(frozenset(range(5)), 8.0, 18.0, 4)
POLICIES = {
    "utilization": lambda limits: utilization(limits, 0.6),
    "cron": lambda limits: office_hours(limits, 0.6, OFFICE),
    "windows": two_windows,
    "steps": steps,
    "static": lambda limits: static_peak(limits, 55),
}


class Fleet:
    """Servers that come at once, a look each 30 s."""

    def __init__(self, policy: Policy, now: float = float(MONDAY)) -> None:
        self.policy, self.now, self.servers, self.made = policy, now, list[Server](), 0

    def look(self, load: int, looks: int = 1) -> Orders:
        """Spread the load and decide; orders are there at the next look."""
        for _ in range(looks):
            able = [server for server in self.servers if not server.cordoned]
            for server in self.servers:
                server.ready, server.used = True, 0
            placed = min(load, 10 * len(able))
            for number in range(placed):
                able[number % len(able)].used += 1
            orders = self.policy(Reading(self.now, self.servers, queued=load - placed))
            self.obey(orders)
            self.now += STEP
        return orders

    def obey(self, orders: Orders) -> None:
        by_id = {server.id: server for server in self.servers}
        for name in orders.uncordon:
            by_id[name].cordoned = False
        for name in orders.release:
            assert by_id[name].cordoned and not by_id[name].used
            self.servers.remove(by_id[name])
        for name in orders.cordon:
            by_id[name].cordoned = True
        for _ in range(orders.order):
            self.made += 1
            self.servers.append(Server(f"s{self.made}", self.now))

    @property
    def open(self) -> int:
        return sum(not server.cordoned for server in self.servers)


def settle(policy: Policy, load: int, servers: int, now: float = float(MONDAY)) -> Fleet:
    """A fleet that has had this load for an hour."""
    fleet = Fleet(policy, now)
    fleet.look(load, 120)
    assert fleet.open == servers
    return fleet


def test_an_hpa_grows_at_once_holds_within_a_tenth_and_shrinks_after_five_minutes():
    fleet = settle(utilization(LIMITS, 0.6), 24, 4)
    fleet.look(26, 2)
    assert fleet.open == 4
    fleet.look(36, 2)
    assert fleet.open == 6
    fleet.look(12, 10)
    assert fleet.open == 6
    fleet.look(12, 2)
    assert fleet.open == 2


def test_a_cron_window_is_a_floor_and_the_metric_still_grows():
    fleet = settle(office_hours(LIMITS, 0.6, OFFICE), 2, 1, MONDAY + 6 * 3600)
    fleet.look(2, 119)
    assert fleet.open == 1
    fleet.look(2, 2)
    assert (fleet.now, fleet.open) == (MONDAY + 8 * 3600 + STEP, 4)
    fleet.look(36, 2)
    assert fleet.open == 6
    fleet.look(2, 30)
    assert fleet.open == 4
    fleet.now = MONDAY + 18 * 3600 - 5 * STEP
    fleet.look(2, 5 + 9)
    assert fleet.open == 4
    fleet.look(2, 3)
    assert fleet.open == 1
    assert OFFICE.wants(MONDAY + 5 * 86_400 + 10 * 3600) == 0


def test_the_cron_window_is_that_of_the_weeks_before():
    trace = generate(Shape(weeks=2), seed=1)
    office = learn_office(trace.offered(), trace.start, Limits(), 0.6)
    assert office is not None
    assert office.weekdays == frozenset(range(5))
    assert 6.5 <= office.opens <= 9 and 16 <= office.closes <= 19
    assert 3 <= office.servers <= 12


@pytest.mark.parametrize("offered", [[], [5] * 100, [0] * 2880])
def test_without_a_day_of_streams_there_is_no_cron_window(offered):
    assert learn_office(offered, float(MONDAY), LIMITS, 0.6) is None


def test_two_windows_follow_the_mean_of_a_minute_and_panic_at_twice_what_is_ready():
    fleet = settle(two_windows(LIMITS), 28, 4)
    fleet.look(42)
    assert fleet.open == 5, "a mean of 35 needs 5"
    fleet.look(42)
    assert fleet.open == 6
    fleet.look(90)
    assert fleet.open == 13, "panic: 13 are more than twice 6, so the newest look counts"
    fleet.look(7, 2)
    assert fleet.open == 13, "nothing shrinks in panic"
    fleet.look(7, 2)
    assert fleet.open == 1


def test_steps_come_one_at_a_time_and_eight_minutes_apart():
    fleet = settle(steps(LIMITS), 5, 1)
    fleet.look(9, 3)
    assert fleet.open == 1, "one period above is not enough"
    fleet.look(9, 2)
    assert fleet.open == 2
    fleet.look(40, 15)
    assert fleet.open == 2, "grace"
    fleet.look(40, 2)
    assert fleet.open == 3
    fleet.look(8, 40)
    assert fleet.open == 2
    fleet.look(8, 40)
    assert fleet.open == 2, "40 % is no reason to shrink"


def test_steps_wait_for_servers_and_order_again_what_never_came():
    policy = steps(LIMITS)
    assert policy(Reading(0.0, [])).order == 1
    assert policy(Reading(30.0, [])).order == 1
    full = Server("a", 0.0, ready=True, used=10)
    for look in range(2, 12):
        orders = policy(Reading(30.0 * look, [full]))
    assert orders.order == 1
    coming = Server("b", 300.0)
    assert all(policy(Reading(330.0 + 30 * look, [full, coming])).order == 0 for look in range(9))


def test_a_static_peak_never_moves():
    fleet = settle(static_peak(LIMITS, 55), 0, 6)
    fleet.look(60, 30)
    assert fleet.made == 6


@pytest.mark.parametrize("name", POLICIES)
def test_bounds_hold(name):
    least, most = Fleet(POLICIES[name](Limits(slots=10, minimum=3))), Fleet(POLICIES[name](Limits(slots=10, maximum=2)))
    least.look(0, 60)
    most.look(90, 200)
    assert least.open >= 3
    assert len(most.servers) <= 2


@given(
    st.sampled_from(sorted(POLICIES)),
    st.lists(st.lists(st.integers(1, 40), max_size=4), min_size=30, max_size=120),
    st.integers(0, 9),
)
@settings(max_examples=40)
def test_no_policy_ever_ends_a_session(name, joins, seed):
    figures = World(Streams(float(MONDAY), joins), 3, Cloud(60.0, 96.0), seed, rehome=False, spread=True).run(
        POLICIES[name](Limits(slots=3))
    )
    assert figures.ended == 0


def test_a_worker_for_each_job_and_none_for_long():
    policy = worker_per_job(Limits())
    jobs = [Job("a", 0.0, 600.0), Job("b", 0.0, 600.0)]
    assert policy(Reading(0.0, [], jobs=jobs)).order == 2
    coming = [Server("s", 0.0), Server("t", 0.0)]
    assert policy(Reading(30.0, coming, jobs=jobs)).order == 0
    busy, idle = Server("s", 0.0, ready=True, used=1, busy_for=30.0), Server("t", 0.0, ready=True)
    assert policy(Reading(60.0, [busy, idle])) == Orders()
    assert policy(Reading(630.0, [busy, idle])) == Orders()
    assert policy(Reading(660.0, [busy, idle])).cordon == ("t",)
    assert policy(Reading(690.0, [busy, Server("t", 0.0, ready=True, cordoned=True)])).release == ("t",)


@given(st.lists(st.tuples(st.integers(0, 600), st.integers(1, 20_000)), min_size=1, max_size=12), st.integers(0, 9))
@settings(max_examples=40)
def test_a_worker_for_each_job_finishes_its_job(gaps, seed):
    now, jobs = float(MONDAY), []
    for gap, audio in gaps:
        now += gap
        jobs.append(Job(f"j{len(jobs)}", now, float(audio)))
    figures = run_recordings(worker_per_job(Limits()), jobs, Cloud(), 14.0, 600.0, seed)
    assert figures.ended == 0
    assert figures.busy_seconds == pytest.approx(sum(job.audio for job in jobs) / 14.0)
    assert figures.busy_seconds <= figures.server_seconds
