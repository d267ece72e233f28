"""A morning of load through the same `decide` that acts: up, down to zero, and nobody's captions are cut."""

from __future__ import annotations

import random

import pytest
from plan_simulation import TICK, World
from plan_world import a_spec, with_captions

from visio_operator.plan.pace import Pace

PACE = Pace(hold=120, recheck=15, settle=30, removal=120)


def morning(world: World, hours: float, peak: int, pace: Pace = PACE) -> World:
    """Meetings of six people each: more and more of them until the middle, then fewer, then none for an hour."""
    seconds = int(hours * 3600)
    for second in range(0, seconds + 7200, TICK):
        share = max(0.0, 1 - abs(2 * second / seconds - 1)) if second < seconds else 0.0
        while len(world.ends) < peak * share:
            stay = world.chance.uniform(300, 2400)
            for _ in range(6):
                world.join(stay)
        world.tick()
        if second % pace.recheck == 0 or world.chance.random() < 0.2:
            world.decide(pace)
    return world


@pytest.mark.parametrize("seed", range(5))
def test_a_morning_goes_up_and_back_to_zero_without_a_cut_whichever_node_the_cloud_takes(seed: int) -> None:
    spec = a_spec(**with_captions(max=6) | {"gpuPools": [{"name": "l40", "provider": "oks", "max": 6}]})
    world = World(spec, random.Random(seed), lead=lambda chance: chance.uniform(60, 400))
    morning(world, hours=3, peak=35)
    assert world.cut == 0
    assert world.most_nodes >= 4
    assert (len(world.nodes), len(world.pods), world.desired_nodes) == (0, 0, 0)
    assert world.bought <= 12, "nodes were ordered twice, or thrown away and bought again"
    assert world.longest_wait <= 400 + 40 + 60, "nobody waits longer than for a node and a model"


@pytest.mark.parametrize("seed", range(3))
def test_people_who_come_while_the_last_nodes_are_being_taken_are_not_cut(seed: int) -> None:
    world = World(a_spec(**with_captions()), random.Random(seed), lead=lambda chance: chance.uniform(30, 120))
    for second in range(0, 6 * 3600, TICK):
        if second % 1800 == 0:
            for _ in range(25):
                world.join(world.chance.uniform(60, 900))
        if not world.waiting and len(world.nodes) > world.desired_nodes and world.chance.random() < 0.3:
            world.join(300)
        world.tick()
        if second % 15 == 0:
            world.decide(PACE)
    assert world.cut == 0
    assert world.most_nodes == 4


def test_one_server_that_always_runs_stays_after_the_morning() -> None:
    world = World(a_spec(**with_captions(min=1)), random.Random(3), lead=lambda chance: 90.0)
    morning(world, hours=2, peak=30)
    assert world.cut == 0
    assert (len(world.nodes), sum(pod.serving for pod in world.pods)) == (1, 1)


def test_with_a_server_that_cannot_be_read_nothing_goes() -> None:
    world = World(a_spec(**with_captions()), random.Random(1), lead=lambda chance: 60.0)
    for _ in range(25):
        world.join(400)
    for _ in range(80):
        world.tick()
        world.decide(PACE)
    before = (world.replicas, world.desired_nodes)
    world.blind = frozenset(pod.name for pod in world.pods[:1])
    for _ in range(400):
        world.tick()
        world.decide(PACE)
    assert not world.ends
    assert (world.replicas, world.desired_nodes) == before == (3, 3)
    world.blind = frozenset()
    for _ in range(200):
        world.tick()
        world.decide(PACE)
    assert (world.replicas, world.desired_nodes) == (0, 0)
