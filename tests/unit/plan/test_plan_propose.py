"""Plans that wait for approval: what is held back, what an approval lets through, and which approvals count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from gpu_world import HELD, LONG_AGO, a_node, a_pool, a_server, a_world
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_world import LADDER, NOW, a_spec, condition, with_captions
from test_plan_properties import PACE, specs, worlds

from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.plan.capacity import size_gpus
from visio_operator.plan.decide import decide
from visio_operator.plan.observed import Observed
from visio_operator.plan.plan import NodeMark, Plan, PodMark, PoolChange, PoolPlan
from visio_operator.plan.planners import Planners
from visio_operator.plan.propose import digest_of, propose
from visio_operator.plan.sizing import GpuSize

POOL = {"name": "l40", "provider": "oks", "max": 4}


def a_mode(mode: str, price: str | None = "2.35", **captions: Any) -> VisioDeploymentSpec:
    pool = POOL if price is None else POOL | {"pricePerHour": price}
    capacity = {"mode": mode, "blockedTarget": "0.5"}
    return a_spec(**with_captions(**captions) | {"gpuPools": [pool], "capacity": capacity})


def decided(spec: VisioDeploymentSpec, world: Observed, *, approved: str = "", **memory: float) -> Plan:
    return decide(spec, replace(world, approved=approved, memory={**world.memory, **memory}), NOW, LADDER)


def waiting(plan: Plan) -> list[tuple[str, int, int]]:
    return [(c.pool, c.before, c.after) for c in plan.proposal.changes] if plan.proposal else []


def digest(plan: Plan) -> str:
    assert plan.proposal is not None
    return plan.proposal.digest


def test_a_larger_pool_waits_and_says_nodes_euros_and_the_command() -> None:
    plan = decided(a_mode("Propose", min=2), a_world())
    assert (plan.pools, plan.nodes, waiting(plan)) == ((), (), [("l40", 0, 2)])
    assert plan.proposal is not None
    assert plan.proposal.changes[0].reason.startswith("need 2 (captions 2, min 0, max 4)")
    assert plan.proposal.euros_text == "+112.80"
    to_do = f"approve it with `visio-operator approve main -n visio --digest {digest(plan)}`"
    assert condition(plan, "CapacityLimited") == (
        "True", "ApprovalNeeded", f"pool l40 should have 2 nodes and has 0; {to_do}"
    )  # fmt: skip
    assert condition(plan, "ApprovalPending") == (
        "True", "ApprovalNeeded", f"pool l40: 0 -> 2 nodes, +112.80 euros a day; {to_do}"
    )  # fmt: skip
    assert f"6 pool l40: 0 -> 2 nodes, +112.80 euros a day: waits for approval of {digest(plan)}" in plan.trace


def test_an_approval_is_carried_out_in_the_same_pass_and_until_the_provider_has_it() -> None:
    spec, world = a_mode("Propose", min=2), a_world()
    name = digest(decided(spec, world))
    plan = decided(spec, world, approved=name)
    assert (plan.pools, plan.proposal, plan.approved) == ((PoolPlan("l40", "oks", 2, 0, 4),), None, name)
    assert condition(plan, "CapacityLimited")[0] == condition(plan, "ApprovalPending")[0] == "False"
    # The write was refused, so the pool is as before: it is tried again.
    again = decided(spec, world, approved=name, **plan.memory)
    assert (again.pools, again.proposal, again.approved) == (plan.pools, None, "")
    bought = a_world(desired=2)
    done = decided(spec, bought, approved=name, **again.memory)
    assert (done.pools, done.proposal, done.approved) == ((), None, "")
    assert not [key for key in done.memory if key.startswith("approved.")]


def test_another_size_than_the_approved_one_waits_anew() -> None:
    spec, world = a_mode("Propose", min=2), a_world()
    taken = decided(spec, world, approved=digest(decided(spec, world)))
    more = decided(a_mode("Propose", min=3), world, **taken.memory)
    assert (more.pools, waiting(more)) == ((), [("l40", 0, 3)])
    assert "approved.l40.to" not in more.memory


def test_an_approval_is_good_for_one_time() -> None:
    spec, world = a_mode("Propose", min=2), a_world()
    name = digest(decided(spec, world))
    taken = decided(spec, world, approved=name)
    done = decided(spec, a_world(desired=2), approved=name, **taken.memory)
    # Somebody lowers the pool by hand: the same sizes are wanted again, and the old approval is still there.
    again = decided(spec, world, approved=name, **done.memory)
    assert (again.pools, waiting(again)) == ((), [("l40", 0, 2)])
    assert digest(again) != name
    assert "ignored" not in condition(again, "ApprovalPending")[2]


@pytest.mark.parametrize("mode", ["Propose", "ForecastOnly", "Auto"])
def test_an_approval_that_came_too_late_never_fits_again(mode: str) -> None:
    spec, world = a_mode("Propose", min=2), a_world()
    name = digest(decided(spec, world))
    late = decided(a_mode(mode, min=3), world, approved=name)
    again = decided(spec, world, approved=name, **late.memory)
    assert (again.pools, waiting(again)) == ((), [("l40", 0, 2)])
    assert f"the approval of {name} is of another plan and is ignored" in condition(again, "ApprovalPending")[2]
    assert decided(spec, world, approved=digest(again), **again.memory).pools[0].desired == 2


def test_a_smaller_pool_keeps_being_proposed_and_limits_nothing() -> None:
    spec, world = a_mode("Propose"), a_world(nodes=(a_node("a"), a_node("b")), memory=HELD)
    plan = decided(spec, world)
    for _ in range(3):
        assert (plan.pools, plan.nodes, waiting(plan)) == ((), (), [("l40", 2, 0)])
        assert condition(plan, "CapacityLimited")[:2] == ("False", "Enough")
        assert condition(plan, "ApprovalPending")[2].startswith("pool l40: 2 -> 0 nodes, -112.80 euros a day")
        assert not [key for key in plan.memory if "lowered" in key], "a pool that was not lowered is trusted"
        plan = decided(spec, replace(world, memory=plan.memory))
    lowered = decided(spec, replace(world, memory=plan.memory), approved=digest(plan))
    assert lowered.pools == (PoolPlan("l40", "oks", 0, 0, 4),)
    assert lowered.memory["pool.l40.loweredTo"] == 0


@pytest.mark.parametrize(
    ("spec", "world"),
    [
        (a_mode("Propose", min=2), a_world()),
        (a_mode("Propose"), a_world(nodes=(a_node("a"), a_node("b")), memory=HELD)),
        (a_mode("ForecastOnly", min=1), a_world(approved="0123456789ab")),
    ],
)
def test_a_plan_that_waits_is_the_same_at_every_look(spec: VisioDeploymentSpec, world: Observed) -> None:
    first = decide(spec, world, NOW, LADDER)
    second = decide(spec, replace(world, memory=first.memory), NOW + 30, LADDER)
    assert decide(spec, replace(world, memory=second.memory), NOW + 3600, LADDER) == second
    assert second.proposal is not None


def test_a_minimum_pauses_only_for_an_approved_smaller_pool() -> None:
    spec = a_mode("Propose", min=1)
    world = a_world(a_server("a"), a_server("b"), nodes=(a_node("node-a"), a_node("node-b")), memory=HELD)
    plan = decided(spec, world)
    assert (waiting(plan), plan.pools) == ([("l40", 2, 1)], ())
    assert plan.parts["captions"].replicas == 2
    assert not [mark for mark in plan.pods if mark.serving is False or (mark.deletion_cost or 0) < 0]
    approved = decided(spec, world, approved=digest(plan))
    assert {mark.pod for mark in approved.pods if mark.serving is False} == {"a", "b"}
    # The pods go one after the other; the approval stands until the pool is lowered.
    empty = a_world(replicas=0, nodes=(a_node("node-a"), a_node("node-b")), memory=dict(approved.memory))
    lowered = decided(spec, empty, approved=digest(plan))
    assert (lowered.pools, lowered.proposal) == ((PoolPlan("l40", "oks", 1, 0, 4),), None)


def test_a_pause_that_began_in_another_mode_is_taken_back() -> None:
    spec = a_mode("Propose", min=2)
    world = a_world(
        a_server("a", serving=False, deletion_cost=-100),
        nodes=tuple(a_node(f"node-{name}") for name in "abc"),
        memory={**HELD, "drain.a": LONG_AGO},
    )
    plan = decided(spec, world)
    assert waiting(plan) == [("l40", 3, 2)]
    assert plan.pods == (PodMark("a", serving=True, deletion_cost=0),)
    assert plan.parts["captions"].replicas == 2


def test_only_our_own_cordons_are_taken_back_and_none_is_made() -> None:
    marks = (NodeMark("n0", cordon=False), NodeMark("n1", cordon=True))
    world = a_world(nodes=(a_node("n0", cordoned=True), a_node("n1")))
    unchanged = GpuSize(pools=(PoolPlan("l40", "oks", 2, 0, 4),), nodes=marks)
    larger = GpuSize(pools=(PoolPlan("l40", "oks", 3, 0, 4),), nodes=marks)
    smaller = GpuSize(pools=(PoolPlan("l40", "oks", 1, 0, 4),), nodes=marks)
    assert propose(a_mode("Propose"), world, unchanged).gpus.nodes == marks[:1]
    assert propose(a_mode("Propose"), world, larger).gpus.nodes == marks[:1], "it may serve while more waits"
    assert propose(a_mode("Propose"), world, smaller).gpus.nodes == ()
    assert propose(a_mode("ForecastOnly"), world, unchanged).gpus.nodes == ()


def a_group(world: Observed, provider: str = "oks", *, approved: str = "", **memory: float) -> Plan:
    """A decision for captions on two pools of at most two nodes, in Propose."""
    pools = [{"name": name, "group": "gpus", "provider": provider, "max": 2} for name in ("a", "b")]
    capacity = {"mode": "Propose", "blockedTarget": "0.5"}
    spec = a_spec(**with_captions(pool="gpus", max=4) | {"gpuPools": pools, "capacity": capacity})
    return decided(spec, world, approved=approved, **memory)


LESS = {"captions.less": LONG_AGO, "pool.a.less": LONG_AGO, "pool.b.less": LONG_AGO}


def test_an_empty_pool_of_a_group_is_proposed_for_return_then_closed_and_then_returned() -> None:
    nodes = (a_node("node-x", pool="a"), a_node("n", pool="b"))
    pools = {name: a_pool(1, name=name) for name in ("a", "b")}
    seen = a_world(a_server("x", 3), nodes=nodes, pools=pools, memory=LESS)
    asked = a_group(seen)
    assert (waiting(asked), asked.pools, asked.nodes) == ([("b", 1, 0)], (), ())
    assert asked.proposal is not None
    assert asked.proposal.changes[0].reason.startswith("nothing runs on 1 of its nodes, which would be closed first; ")
    assert digest(a_group(seen, **asked.memory)) == digest(asked), "the same at every look"

    taken = a_group(seen, approved=digest(asked), **asked.memory)
    assert (taken.proposal, taken.nodes) == (None, (NodeMark("n", cordon=True),))
    assert taken.pools == (PoolPlan("b", "oks", 1, 0, 2),)
    closed = replace(seen, nodes=(nodes[0], replace(nodes[1], cordoned=True, cordoned_by_us=True)))
    then = a_group(closed, approved=digest(asked), **taken.memory)
    assert (then.proposal, then.pools) == (None, (PoolPlan("b", "oks", 0, 0, 2),))


def test_a_pool_whose_machines_can_be_marked_is_proposed_smaller_by_its_empty_nodes() -> None:
    nodes = (a_node("node-x", pool="a"), a_node("n", pool="a"))
    pools = {"a": a_pool(2, name="a", obeys_marks=True), "b": a_pool(0, name="b", obeys_marks=True)}
    seen = a_world(a_server("x", 3), nodes=nodes, pools=pools, memory=LESS)
    asked = a_group(seen, "clusterAPI")
    assert (waiting(asked), asked.pools, asked.nodes) == ([("a", 2, 1)], (), ())
    name = digest(asked)
    taken = a_group(seen, "clusterAPI", approved=name, **asked.memory)
    assert (taken.nodes, taken.pools[0].desired, taken.pools[0].victims) == ((NodeMark("n", cordon=True),), 2, ())
    closed = replace(seen, nodes=(nodes[0], replace(nodes[1], cordoned=True, cordoned_by_us=True)))
    marked = a_group(closed, "clusterAPI", approved=name, **taken.memory)
    assert (marked.nodes, marked.pools[0].desired, marked.pools[0].victims) == ((), 2, ("n",))
    obeyed = replace(closed, pools={**pools, "a": replace(pools["a"], marked=frozenset({"n"}))})
    assert a_group(obeyed, "clusterAPI", approved=name, **marked.memory).pools[0].desired == 1


def test_streams_that_come_before_an_approved_pool_went_keep_it() -> None:
    nodes = (a_node("node-x", pool="a"), a_node("n", pool="b"))
    pools = {name: a_pool(1, name=name) for name in ("a", "b")}
    seen = a_world(a_server("x", 3), nodes=nodes, pools=pools, memory=LESS)
    name = digest(a_group(seen))
    taken = a_group(seen, approved=name)
    closed = replace(seen, captions_waiting=15, nodes=(nodes[0], replace(nodes[1], cordoned=True, cordoned_by_us=True)))
    plan = a_group(closed, approved=name, **taken.memory)
    assert (plan.nodes, plan.pools, waiting(plan)) == ((NodeMark("n", cordon=False),), (), [])

    # More of them need more nodes, and while these wait for approval the closed one is of use at once.
    crowd = a_group(replace(closed, captions_waiting=35), approved=name, **taken.memory)
    assert (crowd.nodes, crowd.pools) == ((NodeMark("n", cordon=False),), ())
    assert waiting(crowd) == [("a", 1, 2), ("b", 1, 2)]


def test_pods_grow_on_gpus_that_exist_while_a_larger_pool_waits() -> None:
    plan = decided(a_mode("Propose", min=2), a_world(nodes=(a_node("n"),)))
    assert (plan.parts["captions"].replicas, waiting(plan)) == (1, [("l40", 1, 2)])


def test_a_forecast_shows_the_plan_and_no_approval_has_an_effect() -> None:
    spec, world = a_mode("ForecastOnly", min=2), a_world()
    plan = decided(spec, world)
    for name in ("", digest(plan), digest(decided(a_mode("Propose", min=2), world))):
        plan = decided(spec, world, approved=name)
        assert (plan.pools, plan.nodes, waiting(plan), plan.approved) == ((), (), [("l40", 0, 2)], "")
        assert condition(plan, "CapacityLimited")[:2] == ("True", "ForecastOnly")
        status, reason, message = condition(plan, "ApprovalPending")
        assert (status, reason) == ("False", "ForecastOnly")
        assert "set spec.capacity.mode to Propose to approve it, or to Auto" in message
    assert condition(decided(a_mode("ForecastOnly"), a_world()), "CapacityLimited")[0] == "False"


def test_without_a_price_the_euros_are_unknown() -> None:
    plan = decided(a_mode("Propose", price=None, min=2), a_world())
    assert plan.proposal is not None
    assert plan.proposal.euros_text == plan.proposal.changes[0].euros_text == "unknown"


def test_acting_at_once_needs_no_approval() -> None:
    spec, world = a_mode("Auto", min=2), a_world()
    sized = size_gpus(spec, world, Planners(), NOW, PACE)
    assert propose(spec, world, sized).gpus == sized
    assert decided(spec, world).proposal is None


CHANGES = st.lists(
    st.builds(PoolChange, st.sampled_from("abcd"), st.integers(0, 5), st.integers(0, 5), st.text(max_size=3)),
    unique_by=lambda change: change.pool,
)


@given(CHANGES, st.randoms(use_true_random=False), st.integers(0, 3))
def test_a_digest_is_of_the_sizes_in_any_order_and_of_no_words(changes: list[PoolChange], chance: Any, n: int) -> None:
    name = digest_of("uid", changes, n)
    other = [replace(change, reason="other words") for change in changes]
    chance.shuffle(other)
    assert digest_of("uid", other, n) == name
    assert len(name) == 12
    others = {digest_of("uid", changes, n + 1), digest_of("other", changes, n)}
    others |= {digest_of("uid", [replace(c, after=c.after + 1) for c in changes], n)} if changes else set()
    assert name not in others


@settings(max_examples=200)
@given(st.data(), st.sampled_from(["Propose", "ForecastOnly"]), st.booleans())
def test_without_its_approval_no_pool_is_written_and_no_node_closed_whatever_is_observed(
    data: st.DataObject, mode: str, guess: bool
) -> None:
    spec = data.draw(specs())
    spec = spec.model_copy(update={"capacity": spec.capacity.model_copy(update={"mode": mode})})
    world = data.draw(worlds(spec))
    plan = decide(spec, replace(world, approved="0123456789ab" if guess else ""), NOW, LADDER, PACE)
    assert plan.pools == ()
    assert not [mark for mark in plan.nodes if mark.cordon]
    changes = plan.proposal.changes if plan.proposal else ()
    held, smaller = {one.pool for one in changes}, {one.pool for one in changes if one.after < one.before}
    own = {node.name for node in world.nodes if node.pool not in smaller and node.cordoned_by_us}
    assert {mark.node for mark in plan.nodes} <= (own if mode == "Propose" else set())
    for change in plan.proposal.changes if plan.proposal else ():
        assert change.before == world.pools[change.pool].desired != change.after
    # The sizes of pods are those of the load alone, so no minimum pauses.
    paused = size_gpus(spec, world, world.planners.copy(), NOW, PACE).paused
    for part in ("captions", "transcription"):
        if part in plan.parts and part in paused and plan.proposal:
            pool = spec.captions.pool if part == "captions" else spec.transcription.pool
            if pool in held:
                assert plan.parts[part].replicas >= world.workloads[part].desired


@settings(max_examples=200)
@given(st.data())
def test_an_approval_lets_through_what_it_names_and_is_then_used_up(data: st.DataObject) -> None:
    spec = data.draw(specs())
    spec = spec.model_copy(update={"capacity": spec.capacity.model_copy(update={"mode": "Propose"})})
    world = data.draw(worlds(spec))
    plan = decide(spec, world, NOW, LADDER, PACE)
    if plan.proposal is None:
        return
    sizes = {change.pool: change for change in plan.proposal.changes}
    taken = decide(spec, replace(world, approved=plan.proposal.digest), NOW, LADDER, PACE)
    auto = {pool.name: pool for pool in size_gpus(spec, world, world.planners.copy(), NOW, PACE).pools}
    assert {pool.name: pool for pool in taken.pools} == {name: auto[name] for name in sizes}
    assert (taken.proposal, taken.approved) == (None, plan.proposal.digest)
    elsewhere = data.draw(worlds(spec))
    later = replace(elsewhere, approved=plan.proposal.digest, memory={**elsewhere.memory, **_approvals(taken)})
    for pool in decide(spec, later, NOW, LADDER, PACE).pools:
        assert pool.name in sizes
        assert world.pools[pool.name].desired == elsewhere.pools[pool.name].desired == sizes[pool.name].before
        assert pool.desired in (sizes[pool.name].before, sizes[pool.name].after)


def _approvals(plan: Plan) -> dict[str, float]:
    return {key: value for key, value in plan.memory.items() if key.startswith("approv")}
