"""Media servers, recorders and workers follow their load, and nobody's session is ended for it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_world import LADDER, NOW, a_healthy_world, a_spec, a_workload, an_empty_world, condition

from visio_operator.plan.addresses import assign
from visio_operator.plan.decide import decide
from visio_operator.plan.load import size_load
from visio_operator.plan.media import size_egress, size_sfu
from visio_operator.plan.observed import MediaServer, Observed, Recorder, WorkerQueue
from visio_operator.plan.pace import Pace
from visio_operator.plan.plan import PodMark
from visio_operator.plan.sizing import EMPTIED
from visio_operator.plan.workers import size_worker

PACE = Pace()
LONG_AGO = NOW - 3600
HELD = {"sfu.less": NOW - 301, "egress.less": NOW - 301, "summarize.less": NOW - 301}
SFU = {"participantsPerCore": 25, "min": 1, "max": 5}
"""Two cores: 50 participants fill a server."""


def a_server(name: str, participants: int | None = 0, rooms: int | None = None, **changes: Any) -> MediaServer:
    count = rooms if rooms is not None else (participants or 0) // 10
    server = MediaServer(
        pod=name, node=f"node-{name}", ready=True, created=LONG_AGO, rooms=count, participants=participants,
        read_at=NOW - 5,
    )  # fmt: skip
    return replace(server, **changes)


def a_recorder(name: str, accepts: bool | None = True, busy: bool | None = None, **changes: Any) -> Recorder:
    doing = busy if busy is not None or accepts is None else not accepts
    recorder = Recorder(pod=name, ready=True, created=LONG_AGO, accepts=accepts, busy=doing, read_at=NOW - 5)
    return replace(recorder, **changes)


def sized_sfu(*servers: MediaServer, desired: int | None = None, memory: Any = HELD, **sfu: Any) -> Any:
    spec = a_spec(sfu={**SFU, **sfu})
    live = sum(not server.terminating for server in servers)
    workload = a_workload(spec, "sfu", desired=live if desired is None else desired)
    return size_sfu(spec, an_empty_world(spec, media=servers, workloads={"sfu": workload}, memory=memory), NOW, PACE)


def sized_egress(*recorders: Recorder, desired: int | None = None, memory: Any = HELD, **recording: Any) -> Any:
    spec = a_spec(recording={"spare": 1, "max": 5, **recording})
    workload = a_workload(spec, "egress", desired=len(recorders) if desired is None else desired)
    world = an_empty_world(spec, recorders=recorders, workloads={"egress": workload}, memory=memory)
    return size_egress(spec.recording, world, NOW, PACE)


@pytest.mark.parametrize(
    ("servers", "want"),
    [
        ([a_server("a"), a_server("b")], 1),
        ([a_server("a", 30)], 1),
        # 45 of 50 leave less than a quarter of the load free.
        ([a_server("a", 45)], 2),
        # A full server stays full whatever is added, so its overload counts for nothing and the free one suffices.
        ([a_server("a", 90), a_server("b", 2)], 2),
        ([a_server("a", 50), a_server("b", 49)], 3),
        # By packets, and by CPU: few people with many streams.
        ([a_server("a", 5, packets=50_000.0)], 2),
        ([a_server("a", 5, cpu=1.2)], 2),
        # Rooms that have just begun fill up.
        ([a_server("a", 1, rooms=25)], 2),
        # One that starts will take rooms soon.
        ([a_server("a", 50), a_server("new", None, ready=False, read_at=0.0)], 2),
    ],
)  # fmt: skip
def test_servers_are_added_while_new_rooms_still_find_room(servers: list[MediaServer], want: int) -> None:
    assert sized_sfu(*servers).target == want


def test_a_draining_server_is_no_capacity_and_needs_no_replacement() -> None:
    assert sized_sfu(a_server("a", 10), a_server("old", 40, terminating=True)).replicas == 1


def test_a_canary_is_no_capacity_and_keeps_the_others_from_shrinking() -> None:
    """Its Deployment is another one, and the rooms that it took have to find room elsewhere when it leaves."""
    canary = a_server("canary", 20, canary=True)
    size = sized_sfu(a_server("a"), a_server("b"), canary, desired=2)
    assert (size.replicas, size.target, size.pods) == (2, 2, ())
    assert sized_sfu(a_server("a", 30), desired=1).target == 1
    assert sized_sfu(a_server("a", 30), canary, desired=1).target == 2


def test_the_server_with_the_fewest_participants_is_marked_first_and_taken_when_the_mark_is_seen() -> None:
    servers = [a_server("a", 12), a_server("b", 3), a_server("c", 8)]
    first = sized_sfu(*servers, min=2)
    assert (first.replicas, first.pods) == (3, (PodMark("b", deletion_cost=EMPTIED),))

    marked = [replace(one, deletion_cost=EMPTIED) if one.pod == "b" else one for one in servers]
    second = sized_sfu(*marked, min=2)
    assert (second.replicas, second.pods) == (2, ())


def test_nothing_is_taken_before_less_was_enough_for_a_while() -> None:
    fresh = sized_sfu(a_server("a"), a_server("b"), memory={})
    assert (fresh.replicas, fresh.pods, dict(fresh.memory)) == (2, (), {"sfu.less": NOW})


def test_a_mark_is_taken_back_when_the_server_is_wanted_again() -> None:
    size = sized_sfu(a_server("a", 45), a_server("b", 3, deletion_cost=EMPTIED))
    assert (size.replicas, size.pods) == (2, (PodMark("b", deletion_cost=0),))


@pytest.mark.parametrize(
    "unready", [a_server("x", 40, ready=False), a_server("x", None, ready=False, read_at=NOW - 90)]
)
def test_no_server_is_taken_while_another_one_would_go_in_its_place(unready: MediaServer) -> None:
    size = sized_sfu(a_server("a", deletion_cost=EMPTIED), a_server("b"), a_server("c"), unready)
    assert size.replicas == 4


@pytest.mark.parametrize("lost", [a_server("b", None), a_server("b", 0, read_at=NOW - 61)])
def test_missing_metrics_freeze_and_never_scale_down(lost: MediaServer) -> None:
    size = sized_sfu(a_server("a"), lost, a_server("c"))
    assert (size.replicas, size.target, size.pods) == (3, 3, ())
    assert size.frozen.startswith("sfu: the load could not be read from b for 60 s")


def test_what_is_known_to_be_full_grows_even_beside_a_server_that_says_nothing() -> None:
    assert sized_sfu(a_server("a", 60), a_server("b", None)).replicas == 3


def test_the_maximum_is_kept_and_said() -> None:
    size = sized_sfu(a_server("a", 50), a_server("b", 50), max=2)
    assert size.replicas == 2
    assert "spec.sfu.max is 2" in size.limits[0].message


@pytest.mark.parametrize(
    ("recorders", "want"),
    [
        ([a_recorder("a")], 1),
        ([a_recorder("a", accepts=False)], 2),
        ([a_recorder("a", accepts=False), a_recorder("b", accepts=False)], 3),
        # Busy and still able to take a room: truly free, though LiveKit's own `available` says it is not.
        ([a_recorder("a", accepts=True, busy=True)], 1),
        # One that starts is the spare one already.
        ([a_recorder("a", accepts=False), a_recorder("b", None, ready=False, read_at=0.0)], 2),
    ],
)
def test_so_many_recorders_that_the_next_recording_is_accepted(recorders: list[Recorder], want: int) -> None:
    assert sized_egress(*recorders).target == want


def test_only_idle_recorders_are_taken() -> None:
    busy = [a_recorder("a", busy=True), a_recorder("b", busy=True), a_recorder("c")]
    first = sized_egress(*busy)
    assert (first.replicas, first.pods) == (3, (PodMark("c", deletion_cost=EMPTIED),))

    second = sized_egress(*busy[:2], replace(busy[2], deletion_cost=EMPTIED))
    assert second.replicas == 2

    third = sized_egress(*busy[:2])
    assert (third.replicas, third.pods) == (2, ())


def test_a_recorder_that_says_nothing_counts_as_busy() -> None:
    size = sized_egress(a_recorder("a", None), a_recorder("b"), a_recorder("c"))
    assert (size.replicas, size.pods) == (3, ())
    assert size.frozen.startswith("egress: whether a recording would be accepted could not be read from a")


def sized_worker(part: str, running: int, queue: WorkerQueue | None, memory: Any = HELD) -> Any:
    spec = a_spec(workers={"min": 1, "max": 4})
    world = an_empty_world(
        spec,
        workloads={part: a_workload(spec, part, desired=running)},
        worker_queues={} if queue is None else {part: queue},
        memory=memory,
    )
    return size_worker(part, spec.workers, world, NOW, PACE)


@pytest.mark.parametrize(
    ("part", "waiting", "taken", "want"),
    [
        ("summarize", 0, 0, 1),
        ("summarize", 1, 0, 1),
        ("summarize", 2, 4, 3),
        ("summarize", 9, 4, 4),
        ("call-webhook", 9, 4, 2),
        ("call-webhook", 11, 4, 3),
        ("celery-backend", 20, 0, 1),
        ("celery-backend", 21, 0, 2),
    ],
)
def test_workers_follow_what_waits_and_what_is_held(part: str, waiting: int, taken: int, want: int) -> None:
    queue = WorkerQueue(waiting=waiting, taken=taken, read_at=NOW)
    assert sized_worker(part, 1, queue).replicas == want
    # The same picture seen again asks for no more: what a new worker will take is not counted twice.
    assert sized_worker(part, want, queue, memory={}).replicas == want


def test_workers_shrink_after_the_hold_only() -> None:
    quiet = WorkerQueue(waiting=0, read_at=NOW)
    assert sized_worker("summarize", 3, quiet, memory={}).replicas == 3
    assert sized_worker("summarize", 3, quiet).replicas == 1


@pytest.mark.parametrize(
    "queue", [None, WorkerQueue(error="Redis at r:6379: TimeoutError"), WorkerQueue(waiting=0, read_at=NOW - 61)]
)
def test_a_queue_that_cannot_be_read_keeps_its_workers(queue: WorkerQueue | None) -> None:
    size = sized_worker("summarize", 3, queue)
    assert size.replicas == 3
    assert size.frozen.startswith("summarize: its queue could not be read for 60 s")


def test_a_frozen_part_is_a_condition() -> None:
    spec = a_spec()
    world = a_healthy_world(spec, media=(a_server("a", None), a_server("b")))
    status, reason, message = condition(decide(spec, world, NOW, LADDER), "ScalingFrozen")
    assert (status, reason) == ("True", "SignalMissing")
    assert "sfu: the load could not be read from a" in message


def test_what_an_autoscaler_has_chosen_is_reported_and_not_decided() -> None:
    spec = a_spec(api={"min": 2, "max": 9}, frontend={"min": 2, "max": 2})
    world = a_healthy_world(spec)
    scaled = {part: replace(world.workloads[part], desired=7) for part in ("backend", "frontend")}
    plan = decide(spec, replace(world, workloads={**world.workloads, **scaled}), NOW, LADDER)
    assert plan.parts["backend"].replicas == 7
    assert plan.parts["frontend"].replicas == 2


def test_it_looks_often_while_something_goes_on_and_seldom_at_rest() -> None:
    spec = a_spec()
    rest = a_healthy_world(spec, media=(a_server("a"), a_server("b")))
    calls = a_healthy_world(spec, media=(a_server("a", 2, rooms=1), a_server("b")))
    assert decide(spec, rest, NOW, LADDER).recheck_after == PACE.idle
    assert decide(spec, calls, NOW, LADDER).recheck_after == PACE.recheck


BALANCED = a_spec(sfu={"expose": "loadBalancer"}).sfu
ON_NODES = a_spec(sfu={"externalAddress": {"discover": "nodeExternalIP"}}).sfu


def test_each_server_gets_a_load_balancer_and_keeps_it_until_its_rooms_have_ended() -> None:
    draining = a_server("old", 9, terminating=True, slot=0, announced="192.0.2.1")
    running = a_server("a", slot=1, announced="192.0.2.2")
    found = assign(BALANCED, [draining, running, a_server("new")], 2)
    assert found.slots == (0, 1, 2)
    assert found.marks == (PodMark("new", slot=2),)
    assert assign(BALANCED, [running], 2).slots == (0, 1)


def test_a_server_is_told_its_address_once_and_as_soon_as_it_is_known() -> None:
    waiting, known = a_server("a", slot=0), a_server("b", slot=1, reachable_at="192.0.2.2")
    found = assign(BALANCED, [waiting, known, a_server("c", slot=2, announced="192.0.2.3", reachable_at="x")], 3)
    assert found.marks == (PodMark("b", address="192.0.2.2"),)
    assert found.limits[0].reason == "AddressMissing"
    assert "a wait for the IP address of their load balancers" in found.limits[0].message


def test_a_node_without_an_external_address_is_named() -> None:
    found = assign(ON_NODES, [a_server("a"), a_server("b", reachable_at="192.0.2.2")], 2)
    assert (found.slots, found.marks) == ((), (PodMark("b", address="192.0.2.2"),))
    assert "node-a has no address of type ExternalIP" in found.limits[0].message


@pytest.mark.parametrize("sfu", [a_spec().sfu, a_spec(sfu={"network": "turnTLS"}).sfu])
def test_servers_that_find_their_address_themselves_are_told_none(sfu: Any) -> None:
    found = assign(sfu, [a_server("a", reachable_at="192.0.2.2")], 2)
    assert (found.slots, found.marks, found.limits) == ((), (), ())


counts = st.integers(0, 300)
servers = st.builds(
    a_server,
    st.text("abcdef", min_size=1, max_size=3),
    st.none() | counts,
    st.none() | st.integers(0, 40),
    ready=st.booleans(),
    read_at=st.sampled_from([0.0, NOW - 90, NOW - 5]),
    packets=st.none() | st.floats(0, 1e6),
    cpu=st.none() | st.floats(0, 8),
    created=st.floats(0, NOW),
    terminating=st.booleans(),
    deletion_cost=st.sampled_from([0, EMPTIED]),
    slot=st.none() | st.integers(0, 4),
)
recorders = st.builds(
    a_recorder,
    st.text("abcdef", min_size=1, max_size=3),
    st.none() | st.booleans(),
    st.none() | st.booleans(),
    ready=st.booleans(),
    read_at=st.sampled_from([0.0, NOW - 90, NOW - 5]),
    created=st.floats(0, NOW),
    terminating=st.booleans(),
    deletion_cost=st.sampled_from([0, EMPTIED]),
)
queues = st.none() | st.builds(
    WorkerQueue, st.none() | counts, st.integers(0, 40), read_at=st.sampled_from([NOW - 90, NOW])
)
bounds = st.tuples(st.integers(1, 5), st.integers(0, 5)).map(lambda pair: (pair[0], pair[0] + pair[1]))
many = settings(max_examples=200, derandomize=True)


@many
@given(
    st.lists(servers, max_size=6, unique_by=lambda one: one.pod),
    st.lists(recorders, max_size=6, unique_by=lambda one: one.pod),
    st.dictionaries(st.sampled_from(["celery-backend", "summarize", "call-webhook"]), queues.filter(bool)),
    bounds,
    st.integers(0, 8),
    st.booleans(),
)
def test_no_picture_leads_outside_the_bounds_or_to_less_on_missing_data(
    media: list[MediaServer],
    egress: list[Recorder],
    worker_queues: dict[str, WorkerQueue],
    limits: tuple[int, int],
    extra: int,
    held: bool,
) -> None:
    low, high = limits
    spec = a_spec(
        sfu={"min": low, "max": high, "expose": "loadBalancer"},
        recording={"spare": low, "max": high},
        workers={"min": low, "max": high},
    )
    desired = {"sfu": low + extra, "egress": low + extra, "celery-backend": low + extra}
    world = a_healthy_world(spec, media=tuple(media), recorders=tuple(egress), worker_queues=worker_queues)
    workloads = {**world.workloads, **{part: a_workload(spec, part, desired=size) for part, size in desired.items()}}
    memory = HELD | {"celery-backend.less": NOW - 301} if held else {}
    world = replace(world, workloads=workloads, memory=memory)

    size = size_load(spec, world, ("sfu", "egress", "celery-backend"), NOW, PACE)

    frozen = {line.partition(":")[0] for line in size.frozen}
    for part, before in desired.items():
        after = size.replicas[part]
        assert after >= low, part
        assert after <= max(high, before), part
        if part in frozen:
            assert after >= min(before, _live(part, world) or before), part
        if not held:
            assert after >= before, part
    pods = [mark.pod for mark in size.pods]
    assert len(pods) == len(set(pods))
    assert set(pods) <= {one.pod for one in (*media, *egress)}
    assert {one.slot for one in media if one.slot is not None} <= set(size.slots)
    assert len(size.slots) >= size.replicas["sfu"]
    busy = {one.pod for one in egress if one.busy is not False and (one.ready or one.read_at)}
    assert not busy & {mark.pod for mark in size.pods if mark.deletion_cost == EMPTIED and mark.slot is None} - {
        one.pod for one in media
    }


def _live(part: str, world: Observed) -> int:
    if part == "celery-backend":
        return 0
    return sum(not one.terminating for one in (world.media if part == "sfu" else world.recorders))
