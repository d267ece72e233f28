"""Pools that do not deliver, pools of others, and transcription workers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gpu_world import LONG_AGO, a_node, a_pool, a_server, a_world, decided
from plan_world import LADDER, NOW, a_healthy_world, a_spec, condition, with_captions

from visio_operator.plan.decide import decide
from visio_operator.plan.observed import Pool, Queue, TranscriptionWorker
from visio_operator.plan.plan import PodMark, PoolPlan
from visio_operator.plan.planners import Planners
from visio_operator.plan.servers import Reading, Server


@pytest.mark.parametrize(
    ("pool", "want_reason", "want_words"),
    [
        (
            a_pool(1, error="10046 TooManyResources (QuotaExceded)"),
            "QuotaExceeded",
            "ask the provider for a higher quota",
        ),
        (a_pool(1, error="10001 InsufficientCapacity"), "OutOfStock", "another zone"),
        (a_pool(1, error="no route"), "ProviderError", "no route"),
        (a_pool(0, autoscaling=True), "TwoWriters", "set its spec.autoscaling to false"),
        (a_pool(0, owner="other/visio"), "PoolOfAnotherDeployment", "is sized by other/visio"),
    ],
)
def test_a_pool_that_does_not_deliver_is_a_condition_with_a_next_step(
    pool: Pool, want_reason: str, want_words: str
) -> None:
    plan = decided(a_world(pools={"l40": pool}), min=1)
    status, reason, message = condition(plan, "CapacityLimited")
    assert (status, reason) == ("True", want_reason)
    assert want_words in message
    foreign = want_reason in ("TwoWriters", "PoolOfAnotherDeployment")
    assert plan.pools == (() if foreign else (PoolPlan("l40", "oks", 1, 0, 4),))


def test_nodes_that_stay_away_without_a_word_are_named_after_half_an_hour() -> None:
    for minutes, want in ((29, "Enough"), (30, "NodesStuck")):
        since = {"pool.l40.missingSince": NOW - 60 * minutes}
        world = a_world(nodes=(a_node("n", gpus=0),), desired=2, memory=since)
        assert condition(decided(world, min=2), "CapacityLimited")[1] == want
    message = condition(decided(world, min=2), "CapacityLimited")[2]
    assert "2 of 2 nodes have had no GPU" in message
    assert "look at status.last_error" in message


def test_an_old_error_of_a_pool_that_has_all_its_nodes_is_not_repeated() -> None:
    world = a_world(a_server("a"), pools={"l40": a_pool(1, error="10046 QuotaExceeded")})
    assert condition(decided(world, min=1), "CapacityLimited")[0] == "False"


def test_limits_say_their_numbers() -> None:
    plan = decided(a_world(a_server("a", 10), captions_waiting=115))
    assert condition(plan, "CapacityLimited")[2] == (
        "captions want 13 servers for 125 streams and those to come, spec.captions.max is 4; raise it"
    )


def test_without_a_provider_pods_do_not_wait_for_nodes_and_no_pool_is_written() -> None:
    spec = a_spec(captions={"enabled": True, "pool": "own", "min": 3}, gpuPools=[{"name": "own"}])
    plan = decide(spec, a_healthy_world(spec), NOW, LADDER)
    assert (plan.parts["captions"].replicas, plan.pools, plan.nodes) == (3, (), ())


def test_a_lowered_maximum_is_never_written_below_what_exists() -> None:
    spec = a_spec(**with_captions(max=1) | {"gpuPools": [{"name": "l40", "provider": "oks", "max": 1}]})
    plan = decide(spec, a_world(a_server("a", 1), a_server("b", 1), a_server("c", 1)), NOW, LADDER)
    assert plan.pools == (PoolPlan("l40", "oks", 3, 0, 3),)


def a_worker(name: str, busy: bool | None = False, **changes: Any) -> TranscriptionWorker:
    return replace(TranscriptionWorker(name, f"node-{name}", True, busy, LONG_AGO), **changes)


def idle_since(then: float, *workers: TranscriptionWorker) -> Planners:
    """What a planner knows that has seen these workers then."""
    planners = Planners()
    servers = [Server(w.pod, then, ready=True, used=int(w.busy is not False)) for w in workers if not w.terminating]
    planners.transcription.step(Reading(then, servers))
    return planners


def transcribing(*workers: TranscriptionWorker, waiting: int | None = 0, **changes: Any) -> Any:
    spec = a_spec(
        transcription={"enabled": True, "pool": "l40", "huggingFaceSecret": "hf"},
        gpuPools=[{"name": "l40", "provider": "oks", "max": 4}],
    )
    changes.setdefault("planners", idle_since(LONG_AGO, *workers))
    world = a_healthy_world(spec)
    live = [worker for worker in workers if not worker.terminating]
    workload = replace(world.workloads["transcription"], desired=len(live), ready=len(live))
    nodes = tuple(a_node(worker.node) for worker in workers)
    changes.setdefault("queue", Queue(waiting, NOW))
    world = replace(
        world,
        workloads={**world.workloads, "transcription": workload},
        transcribers=workers,
        nodes=nodes,
        pools={"l40": a_pool(len(nodes))},
        memory={"transcription.less": LONG_AGO, "pool.l40.less": LONG_AGO},
        **changes,
    )
    plan = decide(spec, world, NOW, LADDER)
    return plan.parts["transcription"].replicas, plan.pools[0].desired, plan.pods, condition(plan, "ScalingFrozen")[2]


def test_a_job_waits_for_a_worker_that_ends_in_time_and_gets_a_node_of_its_own_where_none_does() -> None:
    assert transcribing(a_worker("a", True), waiting=2)[:2] == (1, 1)
    assert transcribing(a_worker("a", True), waiting=3)[:2] == (1, 1)
    assert transcribing(a_worker("a", True), waiting=90)[:2] == (1, 4)


def test_an_idle_worker_is_marked_and_then_taken_and_a_busy_or_unknown_one_never() -> None:
    mark = PodMark("b", deletion_cost=-100)
    assert transcribing(a_worker("a", True), a_worker("b"))[:3] == (2, 2, (mark,))
    assert transcribing(a_worker("a", True), a_worker("b", deletion_cost=-100))[:3] == (1, 2, ())
    assert transcribing(a_worker("a", None), a_worker("b", None))[:3] == (2, 2, ())
    assert transcribing(a_worker("a", None, ready=False), a_worker("b", deletion_cost=-100))[:3] == (2, 2, ())


def test_the_node_of_a_worker_that_finishes_its_job_is_kept() -> None:
    assert transcribing(a_worker("a", True, terminating=True))[:2] == (0, 1)


def test_a_queue_that_cannot_be_read_freezes() -> None:
    replicas, nodes, pods, message = transcribing(a_worker("a"), queue=Queue(error="Redis does not answer"))
    assert (replicas, nodes, pods) == (1, 1, ())
    assert message == "transcription: the queue could not be read for 60 s (Redis does not answer)"


def test_captions_get_the_free_gpu_of_a_shared_pool() -> None:
    spec = a_spec(
        **with_captions(min=1), transcription={"enabled": True, "pool": "l40", "huggingFaceSecret": "hf", "min": 1}
    )
    world = replace(
        a_healthy_world(spec), nodes=(a_node("n"),), pools={"l40": a_pool(1)}, queue=Queue(waiting=0, read_at=NOW)
    )
    plan = decide(spec, world, NOW, LADDER)
    assert (plan.parts["captions"].replicas, plan.parts["transcription"].replicas) == (1, 0)
    assert plan.pools[0].desired == 2
