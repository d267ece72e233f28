"""From streams to captions servers and their nodes, and the few ways in which anything may shrink."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from gpu_world import HELD, a_node, a_server, a_world, decided, drained
from plan_world import NOW, condition

from visio_operator.plan.observed import Observed
from visio_operator.plan.plan import NodeMark, PodMark


@dataclass(frozen=True)
class Case:
    name: str
    world: Observed
    want_replicas: int
    want_nodes: int
    want_pods: tuple[PodMark, ...] = ()
    want_cordons: tuple[NodeMark, ...] = ()
    captions: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("nothing to do", a_world(), 0, 0),
    Case("a minimum buys a node before any pod is made", a_world(), 0, 2, captions={"min": 2}),
    Case("what is on order is not ordered again", a_world(desired=2), 0, 2, captions={"min": 2}),
    Case("a node without its GPU takes no pod", a_world(nodes=(a_node("n", gpus=0),)), 0, 1, captions={"min": 1}),
    Case("a GPU takes a pod", a_world(nodes=(a_node("n"),)), 1, 1, captions={"min": 1}),
    Case("the first waiting stream buys a node", a_world(captions_waiting=1), 0, 1),
    Case("a full server and one who waits", a_world(a_server("a", 10), captions_waiting=1), 1, 2),
    Case(
        "a pod goes where a GPU is free",
        a_world(a_server("a", 10), nodes=(a_node("node-a"), a_node("n")), captions_waiting=11), 2, 3,
    ),
    Case("more than the maximum", a_world(a_server("a", 10), captions_waiting=90), 1, 4),
    Case(
        "less load is not believed at once",
        a_world(a_server("a", 2), a_server("b")), 2, 2,
    ),
    Case(
        "the server with the fewest streams is cordoned, the pool stays",
        a_world(a_server("a", 3), a_server("b", 1), memory=HELD), 2, 2, (PodMark("b", serving=False),),
    ),
    Case(
        "of equals the newest is cordoned",
        a_world(a_server("a"), a_server("b", created=NOW - 60), captions_waiting=1, memory=HELD), 2, 2,
        (PodMark("b", serving=False),),
    ),
    Case(
        "a cordoned server with streams stays",
        a_world(a_server("a", 1), a_server("b", 1, serving=False), memory=drained("b")), 2, 2,
    ),
    Case(
        "an empty one is not believed before proxies have a new address list",
        a_world(a_server("a", 1), a_server("b", serving=False), memory={"drain.b": NOW - 10}), 2, 2,
    ),
    Case(
        "an empty one is marked first",
        a_world(a_server("a", 1), a_server("b", serving=False), memory=drained("b")), 2, 2,
        (PodMark("b", deletion_cost=-100),),
    ),
    Case(
        "and taken away when the mark is seen",
        a_world(a_server("a", 1), a_server("b", serving=False, deletion_cost=-100), memory=drained("b")), 1, 2,
    ),
    Case(
        "but not while another one is unready, since a ReplicaSet takes that one first",
        a_world(
            a_server("a", None, ready=False, read_at=0), a_server("b", serving=False, deletion_cost=-100),
            memory=drained("b"), captions_waiting=1,
        ), 2, 2,
    ),
    Case(
        "a marked one with a late stream loses its mark",
        a_world(a_server("a", 1), a_server("b", 1, serving=False, deletion_cost=-100), memory=drained("b")), 2, 2,
        (PodMark("b", deletion_cost=0),),
    ),
    Case(
        "a cordoned server comes back before a node is bought",
        a_world(
            a_server("a", 10), a_server("b", serving=False, deletion_cost=-100),
            memory=drained("b"), captions_waiting=1,
        ), 2, 2, (PodMark("b", serving=True, deletion_cost=0),),
    ),
    Case(
        "not while its ReplicaSet is about to take a pod",
        a_world(
            a_server("a", 10), a_server("b", serving=False, deletion_cost=-100), replicas=1, captions_waiting=1
        ), 1, 2,
    ),
    Case(
        "an emptied node is cordoned while another has a stream, and kept: the cloud chooses",
        a_world(a_server("a", 1), nodes=(a_node("node-a"), a_node("n")), memory=HELD), 1, 2, (),
        (NodeMark("n", cordon=True),),
    ),
    Case(
        "a cordoned node comes back before one is bought",
        a_world(a_server("a", 10), nodes=(a_node("node-a"), a_node("n", cordoned=True)), captions_waiting=1),
        1, 2, (),
        (NodeMark("n", cordon=False),),
    ),
    Case(
        "a cordon that is somebody else's stays, and the node does not count",
        a_world(
            a_server("a", 10), nodes=(a_node("node-a"), a_node("n", cordoned=True, cordoned_by_us=False)),
            captions_waiting=1,
        ), 1, 3,
    ),
    Case(
        "the pool goes to zero when no pod is left",
        a_world(nodes=(a_node("n", cordoned=True), a_node("m", cordoned=True)), memory=HELD), 0, 0,
    ),
    Case(
        "not while somebody waits",
        a_world(nodes=(a_node("n", cordoned=True), a_node("m", cordoned=True)), memory=HELD, captions_waiting=1),
        0, 2, (), (NodeMark("n", cordon=False),),
    ),
    Case(
        "nodes of a pool that is being lowered take nothing new",
        a_world(nodes=(a_node("n", cordoned=True),), desired=0, captions_waiting=1), 0, 1,
    ),
    Case(
        "also when it was raised again meanwhile",
        a_world(
            nodes=(a_node("n"),), desired=1, captions_waiting=1,
            memory={"pool.l40.loweredAt": NOW - 20, "pool.l40.loweredTo": 0.0},
        ), 0, 1,
    ),
    Case(
        "until they have had the time to go",
        a_world(
            nodes=(a_node("n"),), desired=1, captions_waiting=1,
            memory={"pool.l40.loweredAt": NOW - 200, "pool.l40.loweredTo": 0.0},
        ), 1, 1,
    ),
    Case(
        "a minimum pauses so that its pool can be lowered",
        a_world(a_server("a"), nodes=(a_node("node-a"), a_node("n", cordoned=True)), memory=HELD), 1, 2,
        (PodMark("a", serving=False),), captions={"min": 1},
    ),
    Case(
        "and its node is kept",
        a_world(nodes=(a_node("m", cordoned=True), a_node("n", cordoned=True)), memory=HELD), 0, 1, captions={"min": 1},
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_captions_follow_their_streams(case: Case) -> None:
    plan = decided(case.world, **case.captions)
    assert plan.invalid == ()
    assert plan.parts["captions"].replicas == case.want_replicas
    assert [pool.desired for pool in plan.pools] == [case.want_nodes]
    assert plan.pods == case.want_pods
    assert plan.nodes == case.want_cordons


@pytest.mark.parametrize(
    ("world", "want"),
    [
        (a_world(a_server("a", 1, read_at=NOW - 61), a_server("b"), memory=HELD), "captions: the slots of a "),
        (a_world(a_server("a", None, read_at=NOW - 5), a_server("b"), memory=HELD), "captions: the slots of a "),
        (a_world(a_server("a"), a_server("b"), captions_waiting=None, memory=HELD), "captions: the waiting streams"),
    ],
    ids=["stale", "unreadable", "proxies unreadable"],
)
def test_a_missing_signal_freezes_shrinking_and_names_who_is_silent(world: Observed, want: str) -> None:
    plan = decided(world)
    status, reason, message = condition(plan, "ScalingFrozen")
    assert (status, reason) == ("True", "SignalMissing")
    assert message.startswith(want)
    assert (plan.parts["captions"].replicas, plan.pools[0].desired, plan.pods, plan.nodes) == (2, 2, (), ())


def test_a_frozen_part_may_still_grow() -> None:
    # What cannot be read is taken for full.
    world = a_world(a_server("a", 1, read_at=NOW - 100), a_server("b", 9), captions_waiting=11)
    assert decided(world).pools[0].desired == 3
