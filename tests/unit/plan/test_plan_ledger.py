"""Orders in the cluster: each is learned from once, whoever of the new pods it is taken for."""

from __future__ import annotations

import json
import random

import pytest
from gpu_world import LONG_AGO, a_node, a_server, a_world, decided
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_simulation import TICK, World
from plan_world import LADDER, NOW, a_spec, with_captions

from visio_operator.plan.decide import decide
from visio_operator.plan.ledger import Born, Ledger
from visio_operator.plan.pace import Pace
from visio_operator.plan.planners import Planners


def test_the_oldest_order_is_taken_for_the_first_pod_on_a_node_that_is_younger():
    ledger = Ledger()
    ledger.settle(1, 100.0)
    ledger.settle(2, 200.0)
    ledger.match([Born("old", 50.0, ready=True), Born("new", 150.0, ready=False)])
    assert ledger.came == {"new": "order-1"}
    assert ledger.waiting() == {"order-2": 200.0, "order-1": 100.0}
    ledger.match([Born("old", 50.0, ready=True), Born("new", 150.0, ready=True)])
    assert ledger.waiting() == {"order-2": 200.0}
    assert ledger.settle(0, 300.0) == ("order-2",)
    ledger.match([])
    assert ledger.came == {}


@settings(max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 4), st.lists(st.booleans(), max_size=5)), max_size=12))
def test_no_order_is_made_twice_or_forgotten(steps: list[tuple[int, list[bool]]]):
    ledger = Ledger()
    for now, (wanted, pods) in enumerate(steps):
        ledger.match([Born(f"p{i}", float(now), ready) for i, ready in enumerate(pods)])
        ledger.settle(wanted, float(now))
        assert len(ledger.open) == wanted
        assert len(set(ledger.came.values())) == len(ledger.came)
        assert not set(ledger.open) & set(ledger.came.values())
        assert set(ledger.starting) <= set(ledger.came) <= {f"p{i}" for i in range(len(pods))}
    again = Ledger()
    again.restore(json.loads(json.dumps(ledger.state())))
    assert again == ledger


def test_the_lead_time_of_a_pool_is_learned_from_order_to_first_slot():
    world = World(a_spec(**with_captions()), random.Random(1), lead=lambda chance: 60.0)
    before = world.planners.captions.leads.median()
    for round_ in range(6):
        for _ in range(25):
            world.join(500)
        for _ in range(2400 // TICK):
            world.tick()
            world.decide(Pace(hold=60, removal=60))
        assert not world.ends, round_
    leads = world.planners.captions.leads
    assert leads.orders > 10
    # 60 s until the GPU, 40 s for the model, and the time between two looks.
    assert 100 <= leads.median() < before
    assert leads.median() <= 150
    assert leads.failure_rate < 0.1


def test_an_order_that_is_late_is_made_anew():
    planners = Planners()
    planners.orders["captions"].settle(1, NOW - 3000)
    world = a_world(a_server("a", 10), desired=2, captions_waiting=1, planners=planners)
    assert decided(world).pools[0].desired == 3
    assert world.planners.orders["captions"].open == {"order-1": NOW - 3000}, "a decision works on a copy"


def test_a_wave_of_users_raises_what_is_expected():
    spec = a_spec(**with_captions(), users={"regular": 100, "waves": [{"date": "2027-01-15", "add": 300}]})
    planners = Planners()
    demand = planners.captions.demand
    for back in range(20, 0, -1):
        for hour in (0.0, 300.0, 600.0):
            demand.observe(1_800_000_000 - back * 604_800 + hour, 5.0)
    day = 1_800_000_000 // 86_400 * 86_400
    for now in (day - 30.0, day + 30.0):
        world = a_world(a_server("a", 1, read_at=now), planners=planners, nodes=(a_node("node-a", created=LONG_AGO),))
        planners = decide(spec, world, now, LADDER).planners
    bucket = 1_800_000_000 // 300
    assert demand.usual(bucket) == pytest.approx(5.0)
    grown = planners.captions.demand
    assert grown.usual(bucket) == pytest.approx(20.0)
