"""What holds for every decision, whatever the world looks like."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from plan_world import LADDER, NOW, a_healthy_world, a_spec

from visio_operator.plan.decide import decide
from visio_operator.plan.observed import CaptionsServer, GpuNode, Observed, Pool, Queue, TranscriptionWorker
from visio_operator.plan.pace import Pace
from visio_operator.plan.plan import Plan
from visio_operator.plan.planners import Planners

PACE = Pace()
NODES = [f"n{number}" for number in range(5)]
AGE = st.sampled_from([0.0, 5.0, 29.0, 59.0, 61.0, 400.0, 5000.0])


def counts(most: int) -> st.SearchStrategy[int]:
    return st.integers(0, most)


@st.composite
def specs(draw: st.DrawFn) -> Any:
    least, least_jobs, least_nodes = draw(counts(2)), draw(counts(2)), draw(counts(2))
    return a_spec(
        captions={
            "enabled": draw(st.booleans()), "pool": "l40", "slotsPerGpu": draw(st.sampled_from([1, 10, 64])),
            "min": least, "max": least + draw(counts(3)),
        },
        transcription={
            "enabled": draw(st.booleans()), "pool": draw(st.sampled_from(["l40", "h100"])),
            "huggingFaceSecret": "hf", "min": least_jobs, "max": least_jobs + draw(counts(3)),
        },
        gpuPools=[
            {"name": "l40", "provider": "oks", "min": least_nodes, "max": least_nodes + draw(counts(3))},
            {"name": "h100", "provider": draw(st.sampled_from(["oks", "none"])), "max": 2},
        ],
        capacity={"mode": draw(st.sampled_from(["Auto", "Auto", "Propose"]))},
    )  # fmt: skip


def pools(name: str) -> st.SearchStrategy[Pool]:
    owners = st.sampled_from(["", "visio/main"])
    return st.builds(lambda desired, owner: Pool(name, True, desired, owner=owner), counts(5), owners)


@st.composite
def worlds(draw: st.DrawFn, spec: Any) -> Observed:
    costs = st.sampled_from([0, 0, -100])
    node = st.sampled_from(["", *NODES])
    servers = tuple(
        CaptionsServer(
            pod=f"c{number}", node=draw(node), ready=draw(st.booleans()), serving=draw(st.booleans()),
            used=draw(st.none() | counts(10)), total=10, read_at=draw(st.just(0.0) | AGE.map(lambda age: NOW - age)),
            created=NOW - draw(AGE), terminating=draw(st.booleans()), deletion_cost=draw(costs),
        )
        for number in range(draw(counts(4)))
    )  # fmt: skip
    workers = tuple(
        TranscriptionWorker(
            f"t{number}", draw(node), draw(st.booleans()), draw(st.none() | st.booleans()), NOW - draw(AGE),
            terminating=draw(st.booleans()), deletion_cost=draw(costs),
        )
        for number in range(draw(counts(3)))
    )  # fmt: skip
    nodes = tuple(
        GpuNode(
            name, draw(st.sampled_from(["l40", "h100"])), draw(st.booleans()), draw(counts(2)), draw(st.booleans()),
            NOW - draw(AGE), cordoned_by_us=draw(st.booleans()),
        )
        for name in NODES[: draw(counts(5))]
    )  # fmt: skip
    keys = [
        "captions.less", "transcription.less", "pool.l40.less", "pool.h100.less", "pool.l40.loweredAt",
        *(f"drain.c{number}" for number in range(4)),
    ]  # fmt: skip
    memory = draw(st.dictionaries(st.sampled_from(keys), AGE.map(lambda age: NOW - age)))
    if draw(st.booleans()):
        memory["pool.l40.loweredTo"] = float(draw(counts(3)))
    planners = Planners()
    planners.captions.panic.since = draw(st.none() | AGE.map(lambda age: NOW - age))
    world = a_healthy_world(spec)
    workloads = dict(world.workloads)
    for part in ("captions", "transcription"):
        if part in workloads:
            workloads[part] = replace(workloads[part], desired=draw(counts(5)))
    return replace(
        world,
        workloads=workloads,
        captions=servers,
        transcribers=workers,
        captions_waiting=draw(st.none() | counts(30)),
        captions_longest_wait=draw(st.none() | st.floats(0, 300)),
        queue=Queue(draw(st.none() | counts(5)), NOW - draw(AGE)),
        nodes=nodes,
        pools={name: draw(pools(name)) for name in ("l40", "h100")},
        memory=memory,
        planners=planners,
    )


@st.composite
def situations(draw: st.DrawFn) -> tuple[Any, Observed, Plan]:
    spec = draw(specs())
    world = draw(worlds(spec))
    return spec, world, decide(spec, world, NOW, LADDER, PACE)


def victims(world: Observed, part: str, replicas: int) -> list[Any]:
    """The pods that a ReplicaSet would take: unplaced, then unready, then cheap, then new ones."""
    pods: tuple[Any, ...] = world.captions if part == "captions" else world.transcribers
    live = [pod for pod in pods if not pod.terminating]
    order = sorted(live, key=lambda p: (bool(p.node), p.ready, p.deletion_cost, -p.created))
    return order[: max(0, len(live) - replicas)]


def known_empty(server: CaptionsServer) -> bool:
    starting = not server.ready and server.read_at == 0
    return starting or (server.used == 0 and NOW - server.read_at <= PACE.stale_after)


@settings(max_examples=400)
@given(situations())
def test_replicas_are_lowered_only_where_the_pods_that_go_are_empty_and_out_of_service(
    situation: tuple[Any, Observed, Plan],
) -> None:
    _, world, plan = situation
    for part in ("captions", "transcription"):
        if part not in plan.parts or plan.parts[part].replicas >= world.workloads[part].desired:
            continue
        new = set(victims(world, part, plan.parts[part].replicas))
        for pod in new - set(victims(world, part, world.workloads[part].desired)):
            if part == "captions":
                assert known_empty(pod)
                assert not pod.serving
            else:
                assert pod.busy is False or not pod.node


def is_over(pod: Any) -> bool:
    """A captions server that was closed first, carries nothing and is on its way out already."""
    return isinstance(pod, CaptionsServer) and pod.terminating and not pod.serving and pod.used == 0


@settings(max_examples=400)
@given(situations())
def test_pools_keep_the_providers_rule_and_shrink_only_without_pods(situation: tuple[Any, Observed, Plan]) -> None:
    spec, world, plan = situation
    pods = (*world.captions, *world.transcribers)
    for pool in plan.pools:
        assert 0 <= pool.minimum <= pool.desired <= pool.maximum
        current = world.pools[pool.name].desired
        limit = next(entry.max for entry in spec.gpu_pools if entry.name == pool.name)
        assert pool.desired <= max(limit, current)
        if pool.desired < current:
            on_pool = {node.name for node in world.nodes if node.pool == pool.name}
            assert all(is_over(pod) for pod in pods if pod.node in on_pool)
    for mark in plan.nodes:
        node = next(node for node in world.nodes if node.name == mark.node)
        assert node.cordoned != mark.cordon
        assert mark.cordon or node.cordoned_by_us
        assert not (mark.cordon and [pod for pod in pods if pod.node == node.name and not is_over(pod)])


@settings(max_examples=400)
@given(situations())
def test_missing_signals_never_shrink_anything(situation: tuple[Any, Observed, Plan]) -> None:
    _, world, plan = situation
    unread = any(
        not s.terminating and (s.ready or s.read_at) and (s.used is None or NOW - s.read_at > PACE.stale_after)
        for s in world.captions
    )
    if "captions" in plan.parts and (unread or world.captions_waiting is None):
        assert plan.parts["captions"].replicas >= world.workloads["captions"].desired
        assert not [mark for mark in plan.pods if mark.serving is False]
        assert not [p for p in plan.pools if p.name == "l40" and p.desired < world.pools["l40"].desired]
    blind = world.queue.waiting is None or NOW - world.queue.read_at > PACE.stale_after
    if "transcription" in plan.parts and blind:
        assert plan.parts["transcription"].replicas >= world.workloads["transcription"].desired


@settings(max_examples=200)
@given(situations())
def test_a_panic_closes_and_takes_away_nothing_and_begins_only_where_people_are_known_to_wait(
    situation: tuple[Any, Observed, Plan],
) -> None:
    _, world, plan = situation
    had = world.planners.captions.panic.since is not None
    if plan.panic_since is None or "captions" not in plan.parts:
        return
    assert had or world.captions_waiting
    assert plan.parts["captions"].replicas >= world.workloads["captions"].desired
    names = {server.pod for server in world.captions}
    assert not [mark for mark in plan.pods if mark.serving is False and mark.pod in names]


@settings(max_examples=200)
@given(situations())
def test_the_same_input_gives_the_same_plan_and_marks_name_pods_and_nodes_once(
    situation: tuple[Any, Observed, Plan],
) -> None:
    spec, world, plan = situation
    assert decide(spec, world, NOW, LADDER, PACE) == plan
    assert len({mark.node for mark in plan.nodes}) == len(plan.nodes)
    assert len({mark.pod for mark in plan.pods}) == len(plan.pods)
    assert len(plan.memory) <= 60, "status takes 400, with 32 pools and all else"
    assert all(value <= NOW or key.endswith("loweredTo") for key, value in plan.memory.items())


@settings(max_examples=200)
@given(situations())
def test_pods_are_only_added_where_a_gpu_is_free(situation: tuple[Any, Observed, Plan]) -> None:
    spec, world, plan = situation
    if any(pool.provider == "none" for pool in spec.gpu_pools):
        return
    added = sum(
        max(0, plan.parts[part].replicas - world.workloads[part].desired)
        for part in ("captions", "transcription")
        if part in plan.parts
    )
    gpus = sum(node.gpus for node in world.nodes if node.ready and not node.cordoned)
    assert added <= gpus
