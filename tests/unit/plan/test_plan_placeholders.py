"""How many placeholders order the nodes of an autoscaler, whatever state pods and nodes are in."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gpu_world import LONG_AGO, a_node, a_server, a_world
from hypothesis import given
from hypothesis import strategies as st
from plan_world import LADDER, NOW, a_spec, with_captions

from visio_operator.plan.decide import decide
from visio_operator.plan.observed import Observed, Pool, TranscriptionWorker
from visio_operator.plan.placeholders import with_placeholders
from visio_operator.plan.plan import NodeMark, PoolPlan

SPEC = a_spec(
    **with_captions() | {"gpuPools": [{"name": "l40", "provider": "clusterAutoscaler", "max": 9}]},
    transcription={"enabled": True, "pool": "l40", "huggingFaceSecret": "hf"},
)
FOLLOWS = Pool("l40", True, placeholders=0)


def counted(world: Observed, desired: int, *marks: NodeMark, **replicas: int) -> int | None:
    pool = PoolPlan("l40", "clusterAutoscaler", desired, 0, 9)
    return with_placeholders((pool,), SPEC, world, replicas, marks)[0].placeholders


def worker(node: str, **changes: Any) -> TranscriptionWorker:
    return replace(TranscriptionWorker(f"on-{node}", node, True, True, LONG_AGO), **changes)


def world(*servers: Any, **changes: Any) -> Observed:
    return a_world(*servers, pools={"l40": FOLLOWS}, **changes)


def test_a_pool_that_is_told_its_size_has_none() -> None:
    assert counted(a_world(), 3) is None


def test_each_node_that_no_pod_holds_or_asks_for_has_one() -> None:
    assert counted(world(), 3) == 3
    assert counted(world(a_server("a")), 3) == 2
    assert counted(world(a_server("a"), a_server("b", node="")), 3) == 1


def test_pods_that_are_about_to_be_made_count_at_once() -> None:
    assert counted(world(), 3, captions=2) == 1, "else their placeholders would come again and order nodes twice"
    assert counted(world(replicas=2), 3, transcription=1) == 0


def test_a_pod_on_its_way_out_holds_its_node_to_the_end() -> None:
    going = a_server("b", terminating=True)
    assert counted(world(a_server("a"), going, replicas=1), 3) == 1
    finishing = worker("node-t", terminating=True)
    nodes = (a_node("node-a"), a_node("node-t"))
    assert counted(replace(world(a_server("a"), nodes=nodes), transcribers=(finishing,)), 2) == 0


@pytest.mark.parametrize("by_us", [True, False])
def test_no_placeholder_is_made_for_a_closed_node_that_counts(by_us: bool) -> None:
    closed = a_node("node-b", cordoned=True, cordoned_by_us=by_us)
    assert counted(world(a_server("a"), nodes=(a_node("node-a"), closed, a_node("node-c"))), 3) == 1


def test_a_node_counts_as_closed_from_the_plan_that_closes_it_until_it_is_seen_open() -> None:
    nodes = (a_node("node-a"), a_node("node-b", cordoned=True))
    assert counted(world(nodes=nodes), 2) == 1
    assert counted(world(nodes=nodes), 2, NodeMark("node-a", cordon=True)) == 0
    assert counted(world(nodes=nodes), 2, NodeMark("node-b", cordon=False)) == 1, "it would find no place yet"


def test_a_closed_node_that_goes_takes_no_placeholder_from_one_that_stays() -> None:
    closed = a_node("node-b", cordoned=True)
    assert counted(world(a_server("a"), nodes=(a_node("node-a"), closed, a_node("node-c"))), 2) == 1


@given(data=st.data())
def test_no_more_nodes_are_ever_asked_for_than_the_plan_wants(data: st.DataObject) -> None:
    desired = data.draw(st.integers(0, 9))
    servers = [
        a_server(str(at), node=data.draw(st.sampled_from(["", f"node-{at}"])), terminating=data.draw(st.booleans()))
        for at in range(data.draw(st.integers(0, 5)))
    ]
    empty = [a_node(f"empty-{at}", cordoned=data.draw(st.booleans())) for at in range(data.draw(st.integers(0, 4)))]
    nodes = (*empty, *(a_node(server.node) for server in servers if server.node))
    live = sum(not server.terminating for server in servers)
    placeholders = counted(world(*servers, replicas=live, nodes=nodes), desired) or 0
    going = sum(server.terminating and bool(server.node) for server in servers)
    assert live + going + placeholders <= max(desired, live + going)
    # A pod that finds no place is an order; those of real pods are no choice of ours.
    unplaced = sum(not server.node and not server.terminating for server in servers)
    places = sum(not node.cordoned for node in empty)
    ordered = max(0, unplaced + placeholders - places)
    assert len(nodes) + ordered <= max(desired, len(nodes) + max(0, unplaced - places))


def test_a_decision_carries_them() -> None:
    spec = a_spec(**with_captions(min=2) | {"gpuPools": [{"name": "l40", "provider": "clusterAutoscaler", "max": 4}]})
    plan = decide(spec, world(), NOW, LADDER)
    assert (plan.pools[0].desired, plan.pools[0].placeholders) == (2, 2)
    assert not plan.invalid
