"""Panic: when it begins and ends, what it does, and what it may never do."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import Any

import pytest
from gpu_world import HELD, LONG_AGO, a_node, a_server, a_world
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_simulation import TICK, World
from plan_world import LADDER, NOW, a_healthy_world, a_spec, with_captions

from visio_operator.plan.decide import decide
from visio_operator.plan.foresight import Foresight
from visio_operator.plan.observed import Observed, Queue
from visio_operator.plan.pace import Pace
from visio_operator.plan.panic import CALM
from visio_operator.plan.plan import Plan, PodMark
from visio_operator.plan.planners import Planners
from visio_operator.plan.servers import Limits, Orders, Reading, Server

MONDAY = 1_767_571_200.0
STEP = 30.0


def serving(name: str, used: int, **changes: Any) -> Server:
    return replace(Server(name, MONDAY - 3600, ready=True, used=used), **changes)


def surprised(planner: Foresight, closed: int = 0) -> Orders:
    """Half an hour of one server that is half full, and then 300 who wait."""
    for tick in range(60):
        planner.step(Reading(MONDAY + tick * STEP, [serving("a", 32)]))
    shut = [serving(f"c{number}", 0, cordoned=True) for number in range(closed)]
    return planner.step(Reading(MONDAY + 60 * STEP, [serving("a", 64), *shut], queued=300))


def looks(planner: Foresight, servers: list[Server], first: int, count: int, **more: Any) -> list[Orders]:
    return [planner.step(Reading(MONDAY + (first + tick) * STEP, servers, **more)) for tick in range(count)]


def test_a_panic_opens_everything_and_wants_a_quarter_more_than_comes_and_as_many_again_as_came() -> None:
    planner = Foresight(Limits())
    orders = surprised(planner, closed=2)
    assert planner.panic.since == MONDAY + 60 * STEP
    assert set(orders.uncordon) == {"c0", "c1"} and not orders.cordon and not orders.release
    assert 3 + orders.order >= (364 + 332) / 64
    assert "panic begins: 300 wait, 332 came unforeseen, with as many again" in orders.why
    later = planner.step(Reading(MONDAY + 75 * STEP, [serving("a", 64)], queued=300))
    assert "panic goes on: 300 wait" in later.why
    assert later.order + 1 >= 1.25 * 364 / 64


def test_nobody_panics_for_whom_there_are_orders_in_time() -> None:
    planner = Foresight(Limits())
    coming = [Server(f"n{number}", MONDAY - 60) for number in range(12)]
    looks(planner, [serving("a", 64), *coming], 0, 5, queued=100)
    assert planner.panic.since is None


def test_nobody_panics_because_of_a_short_wait_of_few() -> None:
    planner = Foresight(Limits())
    looks(planner, [serving("a", 64)], 0, 1, queued=3, longest_wait=7.0)
    assert planner.panic.since is None
    looks(planner, [serving("a", 64)], 1, 1, queued=3, longest_wait=9.0)
    assert planner.panic.since is not None


def test_nobody_panics_where_waiting_is_accepted() -> None:
    planner = Foresight(Limits(blocked_target=0.5))
    surprised(planner)
    assert planner.panic.since is None
    surprised(planner := Foresight(Limits()))
    planner.limit(Limits(blocked_target=0.5))
    looks(planner, [serving("a", 64)], 61, 1, queued=300)
    assert planner.panic.since is None


@pytest.mark.parametrize("median", [60.0, 900.0])
def test_a_panic_ends_when_nobody_waited_for_two_lead_times(median: float) -> None:
    planner = Foresight(Limits())
    for _ in range(400):
        planner.leads.arrived(median)
    surprised(planner)
    open_now = [serving("a", 64), *(serving(f"b{number}", 12) for number in range(30))]
    length = int(max(2 * planner.leads.median(), CALM) // STEP)
    quiet = looks(planner, open_now, 61, length)
    assert all(not each.cordon for each in quiet) and planner.panic.since is not None
    # Who waits for too long in between begins the time anew.
    looks(planner, open_now, 61 + length, 1, queued=1)
    quiet = looks(planner, open_now, 62 + length, length + 2)
    assert planner.panic.since is None
    assert any("panic ends: nobody waits and has not for" in each.why for each in quiet)
    assert any(each.cordon for each in looks(planner, open_now, 64 + 2 * length, 8)), "less is enough now"


def test_missing_data_begin_no_panic_and_end_none() -> None:
    planner = Foresight(Limits())
    looks(planner, [serving("a", 64), serving("b", 0, known=False)], 0, 4, queued=500)
    looks(planner, [serving("a", 64)], 4, 4, queued=500, known=False)
    assert planner.panic.since is None
    surprised(planner := Foresight(Limits()))
    orders = looks(planner, [serving("a", 0, known=False), serving("b", 0, cordoned=True)], 61, 200)
    assert planner.panic.since is not None
    assert all(not each.cordon and not each.release for each in orders)
    assert "panic adds nothing while a reading is missing" in orders[-1].why
    looks(planner, [serving("a", 3)], 261, int(CALM // STEP) + 20)
    assert planner.panic.since is None


def test_a_panic_survives_a_restart() -> None:
    before, after = Foresight(Limits()), Foresight(Limits())
    surprised(before)
    looks(before, [serving("a", 3)], 61, 5)
    after.restore(json.loads(json.dumps(before.state())))
    assert after.panic == before.panic and after.panic.since is not None
    older = before.state()
    del older["panic"]
    after.restore(older)
    assert after.panic.since is None


def test_limits_are_hard_in_a_panic_too() -> None:
    assert surprised(planner := Foresight(Limits(maximum=3))).order == 2
    assert planner.panic.since is not None
    assert surprised(planner := Foresight(Limits(price_per_hour=2.0, budget_per_day=5.5))).order == 1
    assert planner.panic.since is not None


READINGS = st.lists(
    st.tuples(st.integers(0, 64), st.integers(0, 400), st.integers(0, 5), st.booleans(), st.booleans()),
    min_size=1,
    max_size=30,
)


@given(
    READINGS,
    st.booleans(),
    st.none() | st.integers(0, 12),
    st.none() | st.floats(0, 60),
    st.none() | st.integers(0, 20),
)
@settings(max_examples=150)
def test_whatever_comes_a_panic_ends_no_session_keeps_the_limits_and_is_over_when_demand_has_fallen(
    readings: list[tuple[int, int, int, bool, bool]],
    rehome: bool,
    maximum: int | None,
    budget: float | None,
    longest: int | None,
) -> None:
    planner = Foresight(Limits(maximum=maximum, price_per_hour=2.0, budget_per_day=budget))
    servers: list[Server] = []
    made, tick = 0, 0
    for tick, (used, queued, ready, known, seen) in enumerate(readings):
        now = MONDAY + tick * 30.0
        for server in servers:
            server.known = known
            server.used = used if server.ready and not (server.cordoned and used < 30) else 0
        for server in [server for server in servers if not server.ready][:ready]:
            server.ready = True
        had = planner.panic.since
        reading = Reading(now, servers, queued, rehome=rehome, known=seen, longest_wait=longest)
        orders = planner.step(reading)
        by_name = {server.id: server for server in servers}
        blind = not seen or not all(server.known for server in servers)
        assert had is not None or not blind or planner.panic.since is None
        assert all(by_name[name].cordoned and by_name[name].used == 0 for name in orders.release)
        assert maximum is None or orders.order == 0 or len(servers) + orders.order <= maximum
        if budget is not None and orders.order:
            assert (len(servers) + orders.order) * 2.0 <= budget + 1e-6
        if planner.panic.since is not None:
            assert not orders.cordon and not orders.release
            assert set(orders.uncordon) == {server.id for server in servers if server.cordoned}
        for server in servers:
            server.cordoned = (server.cordoned or server.id in orders.cordon) and server.id not in orders.uncordon
        servers = [server for server in servers if server.id not in orders.release]
        servers += [Server(f"s{made + number}", now) for number in range(orders.order)]
        made += orders.order
    for server in servers:
        server.used, server.known = 0, True
    looks(planner, servers, tick + 1, int(max(2 * planner.leads.p95(), CALM) // 30) + 3)
    assert planner.panic.since is None


SPEC = a_spec(**with_captions(max=6) | {"capacity": {}, "gpuPools": [{"name": "l40", "provider": "oks", "max": 6}]})
PANIC = "captions: panic"


def a_rush(**changes: Any) -> Observed:
    """One full server, two closed ones of which one is empty, and people who wait, while less seemed to be enough."""
    servers = (a_server("a", 10), a_server("b", 1, serving=False), a_server("c", serving=False, deletion_cost=-100))
    memory = {**HELD, "drain.b": LONG_AGO, "drain.c": LONG_AGO}
    values = {"captions_waiting": 30, "captions_longest_wait": 20.0, "memory": memory, **changes}
    return a_world(*servers, **values)


def lines(plan: Plan) -> list[str]:
    return [line for line in plan.trace if PANIC in line]


def test_a_deployment_in_panic_opens_all_servers_takes_none_away_and_says_so() -> None:
    plan = decide(SPEC, a_rush(), NOW, LADDER)
    assert plan.panic_since == NOW
    assert PodMark("b", serving=True) in plan.pods
    assert PodMark("c", serving=True, deletion_cost=0) in plan.pods
    assert plan.parts["captions"].replicas == 3 and plan.pools[0].desired == 6
    assert len(lines(plan)) == 1 and "30 wait, the longest for 20 s" in lines(plan)[0]
    # Somebody is served at once, and the rest by what is on order: nothing is closed or cancelled meanwhile.
    servers = (a_server("a", 10), a_server("b", 1), a_server("c", 1))
    calm = a_world(*servers, desired=6, captions_waiting=0, memory=HELD, planners=plan.planners)
    for later in range(0, 600, 60):
        calm = replace(
            calm, captions=tuple(replace(server, read_at=NOW + later) for server in servers), planners=plan.planners
        )
        plan = decide(SPEC, calm, NOW + later, LADDER)
        assert plan.panic_since == NOW
        assert plan.pools[0].desired == 6 and not plan.pods
    calm = replace(calm, captions=tuple(replace(server, read_at=NOW + 600) for server in servers))
    over = decide(SPEC, replace(calm, planners=plan.planners), NOW + 600, LADDER)
    assert over.panic_since is None
    assert lines(over) == ["6 captions: panic ends: nobody waits and has not for 600 s"]


def test_a_deployment_whose_slots_are_unknown_does_not_panic() -> None:
    world = a_rush()
    world = replace(world, captions=(*world.captions[:2], a_server("c", None)))
    plan = decide(SPEC, world, NOW, LADDER)
    assert plan.panic_since is None and not lines(plan)


def test_recordings_get_no_gpu_that_people_in_panic_wait_for() -> None:
    spec = a_spec(
        **with_captions(max=6) | {"capacity": {}},
        transcription={"enabled": True, "pool": "l40", "huggingFaceSecret": "hf"},
    )
    rush, healthy = a_rush(), a_healthy_world(spec)
    world = replace(
        rush,
        secret_keys=healthy.secret_keys,
        preflight=healthy.preflight,
        workloads={**healthy.workloads, "captions": rush.workloads["captions"]},
        queue=Queue(40, NOW),
        nodes=(*rush.nodes, a_node("free")),
        pools={"l40": replace(rush.pools["l40"], desired=4)},
    )
    plan = decide(spec, world, NOW, LADDER)
    assert plan.panic_since == NOW
    assert (plan.parts["captions"].replicas, plan.parts["transcription"].replicas) == (4, 0)


@pytest.mark.parametrize("seed", range(2))
def test_nobody_is_cut_by_a_cloud_that_takes_any_node_and_the_panic_ends(seed: int) -> None:
    world = World(SPEC, random.Random(seed), lead=lambda chance: chance.uniform(60, 400), planners=Planners())
    panicked = 0
    for second in range(0, 3 * 3600, TICK):
        if second == 900:
            for _ in range(45):
                world.join(world.chance.uniform(300, 2400))
        elif second % 300 == 0 and second < 3600:
            world.join(900)
        world.tick()
        if second % 15 == 0:
            plan = world.decide(Pace(hold=120, recheck=15, settle=30, removal=120))
            panicked += plan.panic_since is not None
    assert panicked
    assert plan.panic_since is None
    assert world.cut == 0
    assert world.most_nodes <= 6
