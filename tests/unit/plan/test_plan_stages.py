"""The stages of the lead: learned once per node from what nodes and pods say, and kept in status alone."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_world import NOW

from visio_operator.api.status import LeadStatus
from visio_operator.plan.observed import CaptionsServer, GpuNode, Observed, PodTimes, TranscriptionWorker
from visio_operator.plan.stages import STAGES, Spread, Stages, learn_stages, restore_stages

ORDERED = NOW - 400.0
LENGTHS = {"order": 40.0, "boot": 60.0, "driver": 120.0, "placement": 2.0, "image": 30.0, "weights": 50.0}


def a_node(name: str = "n-1", created: float = ORDERED + 40, pool: str = "l40", **changes: Any) -> GpuNode:
    node = GpuNode(name, pool, True, 1, False, created, ready_at=created + 60, gpu_at=created + 180)
    return replace(node, **changes)


def a_pod(node: str = "n-1", created: float = ORDERED + 40, **changes: Any) -> CaptionsServer:
    times = PodTimes(scheduled=created + 182, started=created + 212, ready=created + 262)
    server = CaptionsServer(f"pod-{node}", node, True, True, 0, 8, NOW, created, times=times)
    return replace(server, **changes)


def a_world(*servers: CaptionsServer, nodes: tuple[GpuNode, ...] = (a_node(),), **changes: Any) -> Observed:
    return replace(Observed("u", "visio", "main", captions=servers, nodes=nodes), **changes)


def medians(stages: Stages) -> dict[str, float]:
    return {name: round(spread.median(), 3) for name, spread in stages.stages.items()}


def test_each_stage_is_measured_from_the_order_to_the_first_slot() -> None:
    learned = learn_stages(Stages(), "l40", a_world(a_pod()), NOW, {"n-1": ORDERED})
    assert medians(learned) == LENGTHS
    assert (learned.whole.count, round(learned.whole.median(), 3)) == (1, 302.0)
    assert round(sum(medians(learned).values()), 3) == 302.0


def test_without_the_order_the_lead_begins_with_the_node() -> None:
    learned = learn_stages(Stages(), "l40", a_world(a_pod()), NOW)
    assert "order" not in learned.stages
    assert round(learned.whole.median(), 3) == 262.0


def test_nothing_is_learned_before_the_first_slot_and_of_other_pools() -> None:
    for world in (
        a_world(a_pod(ready=False)), a_world(a_pod("elsewhere")), a_world(nodes=(a_node(pool="other"),)),
        a_world(a_pod(times=PodTimes(scheduled=NOW))), a_world(a_pod(times=PodTimes(ready=NOW + 60))),
    ):  # fmt: skip
        assert learn_stages(Stages(), "l40", world, NOW) == Stages()


def test_the_first_pod_on_a_node_counts_and_none_after_it() -> None:
    later = PodTimes(NOW - 9, NOW - 6, NOW - 3)
    second = TranscriptionWorker("t", "n-1", True, False, NOW - 10, times=later)
    first = learn_stages(Stages(), "l40", a_world(a_pod(), transcribers=(second,)), NOW)
    assert round(first.whole.median(), 3) == 262.0
    replaced = a_pod(pod="new", times=later)
    assert learn_stages(first, "l40", a_world(replaced), NOW) == first


def test_a_node_of_the_same_name_that_was_made_again_counts_anew() -> None:
    first = learn_stages(Stages(), "l40", a_world(a_pod()), NOW)
    gone = learn_stages(first, "l40", a_world(nodes=()), NOW)
    assert gone == first, "status is written only when a server has come"
    again = a_world(a_pod(created=NOW + 40), nodes=(a_node(created=NOW + 40),))
    assert learn_stages(gone, "l40", again, NOW + 400).whole.count == 2


@pytest.mark.parametrize(
    ("node", "times", "missing"),
    [
        (a_node(gpu_at=0.0), a_pod().times, {"order", "driver", "placement"}),
        # Ready went and came back after the first slot.
        (a_node(ready_at=NOW), a_pod().times, {"order", "boot", "driver"}),
        (a_node(), replace(a_pod().times, started=0.0), {"order", "image", "weights"}),
    ],
)
def test_a_time_that_is_unknown_leaves_out_its_two_stages(node: GpuNode, times: PodTimes, missing: set[str]) -> None:
    learned = learn_stages(Stages(), "l40", a_world(a_pod(times=times), nodes=(node,)), NOW)
    assert set(STAGES) - learned.stages.keys() == missing
    assert learned.whole.count == 1


def test_a_node_that_waited_for_work_counts_as_seen_only() -> None:
    learned = learn_stages(Stages(), "l40", a_world(a_pod(), nodes=(a_node(gpu_at=ORDERED - 100),)), NOW)
    assert (learned.whole.count, learned.stages, len(learned.nodes)) == (0, {}, 1)
    old = a_world(a_pod(), nodes=(a_node(created=NOW - 86_400),))
    assert learn_stages(Stages(), "l40", old, NOW) == Stages()


def a_fleet(count: int, seed: int = 1) -> Observed:
    draw = random.Random(seed)
    created = [NOW - 1000 + draw.uniform(0, 100) for _ in range(count)]
    nodes = tuple(a_node(f"n-{number}", at) for number, at in enumerate(created))
    pods = []
    for number, at in enumerate(created):
        times = a_pod(created=at).times
        pods.append(a_pod(f"n-{number}", at, times=replace(times, ready=times.started + draw.lognormvariate(4, 0.3))))
    return a_world(*pods, nodes=nodes)


def test_median_and_p95_are_those_of_what_was_drawn() -> None:
    weights = learn_stages(Stages(), "l40", a_fleet(100), NOW).stages["weights"]
    assert weights.median() == pytest.approx(math.exp(4), rel=0.1)
    assert weights.p95() == pytest.approx(math.exp(4 + 1.645 * 0.3), rel=0.15)


def test_old_servers_fade() -> None:
    spread = Spread()
    for _ in range(1000):
        spread = spread.seen(300)
    for _ in range(300):
        spread = spread.seen(60)
    assert spread.count == 1300
    assert spread.median() == pytest.approx(60, rel=0.12)


@given(st.integers(0, 12), st.integers(0, 5), st.booleans())
def test_looks_may_be_repeated_and_the_state_survives_a_restart(count: int, seed: int, twice: bool) -> None:
    world = a_fleet(count, seed)
    once = learn_stages(Stages(), "l40", world, NOW)
    text = json.dumps(once.state()) if count else "null"
    back = restore_stages(json.loads(text))
    assert learn_stages(back if twice else once, "l40", world, NOW + 15).whole.count == count
    if count:
        assert back.state() == once.state()
        assert learn_stages(back, "l40", world, NOW + 15).state() == once.state()
        LeadStatus.model_validate(once.state())


@pytest.mark.parametrize("count", [1, 50])
def test_one_server_after_another_comes_to_the_same_as_all_at_once(count: int) -> None:
    world = a_fleet(count)
    stages = Stages()
    for number in range(count):
        seen = replace(world, captions=world.captions[: number + 1])
        stages = restore_stages(json.loads(json.dumps(learn_stages(stages, "l40", seen, NOW).state())))
    whole = learn_stages(Stages(), "l40", world, NOW).whole
    assert stages.whole.count == count
    assert stages.whole.median() == pytest.approx(whole.median(), rel=0.01)


@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(max_size=5), st.lists, max_leaves=4))
def test_a_state_that_makes_no_sense_is_learned_anew(value: Any) -> None:
    for state in (value, {"orders": value}, {"orders": 1, "medianSeconds": value, "p95Seconds": 3.0},
                  {"orders": 1, "medianSeconds": 2.0, "p95Seconds": 3.0, "stages": value, "nodes": value}):  # fmt: skip
        restored = restore_stages(state)
        assert restored.whole.count >= 0
        assert math.isfinite(restored.whole.median())


def test_what_is_remembered_is_bounded_and_what_is_beyond_it_is_never_counted_twice() -> None:
    world = a_fleet(500)
    learned = learn_stages(Stages(), "l40", world, NOW)
    assert (learned.whole.count, len(learned.nodes)) == (200, 200)
    assert learn_stages(learned, "l40", world, NOW + 15) == learned
    assert len(json.dumps(learned.state())) < 5000
    later = a_world(a_pod("new", NOW + 9000), nodes=(*world.nodes, a_node("new", NOW + 9000)))
    assert learn_stages(learned, "l40", later, NOW + 9300).nodes == (f"new@{NOW + 9000:.0f}",)
