"""Several pools that serve together: single nodes go back, another pool sells where one does not, money is a limit."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from gpu_world import LONG_AGO, a_node, a_pool, a_server, a_world
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_world import LADDER, NOW, a_spec, condition, with_captions

from live import limit
from visio_operator.api.parts import GpuPool
from visio_operator.plan.decide import decide
from visio_operator.plan.observed import Observed
from visio_operator.plan.plan import NodeMark, Plan
from visio_operator.plan.shares import View, share

NAMES = ("a", "b", "c")
HELD = {"captions.less": LONG_AGO, **{f"pool.{name}.less": LONG_AGO for name in NAMES}}


def grouped(world: Observed, provider: str = "oks", budget: int | None = None, price: str | None = None) -> Plan:
    """A decision for captions on three pools of two nodes each."""
    pools: list[dict[str, Any]] = [{"name": name, "group": "gpus", "provider": provider, "max": 2} for name in NAMES]
    for pool in pools:
        pool |= {} if price is None else {"pricePerHour": price}
    spec = with_captions(pool="gpus", max=6) | {"gpuPools": pools}
    spec["capacity"] = {"blockedTarget": "0.5"} | ({} if budget is None else {"budgetPerDay": budget})
    return decide(a_spec(**spec), world, NOW, LADDER)


def world(*servers: Any, desired: tuple[int, int, int], nodes: tuple[Any, ...], **changes: Any) -> Observed:
    pools = {name: a_pool(size, name=name) for name, size in zip(NAMES, desired, strict=True)}
    pools |= {name: replace(pools[name], **change) for name, change in changes.pop("providers", {}).items()}
    return a_world(*servers, nodes=nodes, pools=pools, **changes)


def sizes(plan: Plan) -> tuple[int, ...]:
    return tuple(pool.desired for pool in plan.pools)


def test_nodes_are_bought_from_the_first_pool_that_has_room() -> None:
    assert sizes(grouped(world(desired=(0, 0, 0), nodes=(), captions_waiting=15))) == (2, 0, 0)
    assert sizes(grouped(world(desired=(0, 0, 0), nodes=(), captions_waiting=25))) == (2, 1, 0)


def test_a_pool_that_is_out_of_stock_is_passed_over_and_tried_again_later() -> None:
    error = {"a": {"error": "10001 InsufficientCapacity"}}
    asked = world(desired=(1, 0, 0), nodes=(), captions_waiting=15, providers=error)
    plan = grouped(asked)
    assert sizes(plan) == (1, 1, 0)
    assert condition(plan, "CapacityLimited")[1] == "OutOfStock"
    waited = replace(asked, memory={"pool.a.errorSince": NOW - 400, "pool.a.backOff": 300.0})
    again = grouped(waited)
    assert sizes(again) == (2, 0, 0)
    assert again.memory["pool.a.backOff"] == 600.0


def test_an_error_from_before_the_last_order_says_nothing() -> None:
    error = {"a": {"error": "10001 InsufficientCapacity", "error_at": NOW - 900}}
    asked = world(
        desired=(1, 0, 0), nodes=(), captions_waiting=15, providers=error, memory={"pool.a.raisedAt": NOW - 60}
    )
    assert sizes(grouped(asked)) == (2, 0, 0)


def test_a_pool_without_pods_is_returned_while_others_serve() -> None:
    nodes = (a_node("node-x", pool="a"), a_node("n", pool="b"))
    before = world(a_server("x", 3), desired=(1, 1, 0), nodes=nodes, memory=HELD)
    plan = grouped(before)
    assert sizes(plan) == (1, 1, 0), "first no pod may come to it any more"
    assert plan.nodes == (NodeMark("n", cordon=True),)
    closed = world(a_server("x", 3), desired=(1, 1, 0), nodes=(nodes[0], replace(nodes[1], cordoned=True)), memory=HELD)
    assert sizes(grouped(closed)) == (1, 0, 0)


def test_a_pool_with_a_stream_on_it_is_never_lowered_where_the_provider_chooses() -> None:
    nodes = (a_node("node-x", pool="a"), a_node("n", pool="a", cordoned=True))
    assert sizes(grouped(world(a_server("x", 3), desired=(2, 0, 0), nodes=nodes, memory=HELD))) == (2, 0, 0)


def test_where_marks_are_obeyed_the_closed_node_is_marked_and_then_taken_beside_a_stream() -> None:
    nodes = (a_node("node-x", pool="a"), a_node("n", pool="a", cordoned=True))
    obeys = {"a": {"obeys_marks": True}}
    marked = {"a": {"obeys_marks": True, "marked": frozenset({"n"})}}
    first = grouped(world(a_server("x", 3), desired=(2, 0, 0), nodes=nodes, memory=HELD, providers=obeys), "clusterAPI")
    assert (sizes(first), first.pools[0].victims) == ((2, 0, 0), ("n",))
    then = grouped(world(a_server("x", 3), desired=(2, 0, 0), nodes=nodes, memory=HELD, providers=marked), "clusterAPI")
    assert (sizes(then), then.pools[0].victims) == ((1, 0, 0), ("n",))
    wrong = {"a": {"obeys_marks": True, "marked": frozenset({"n", "node-x"})}}
    kept = grouped(world(a_server("x", 3), desired=(2, 0, 0), nodes=nodes, memory=HELD, providers=wrong), "clusterAPI")
    assert sizes(kept) == (2, 0, 0), "not while the machine of a stream is marked"


def test_the_budget_of_the_day_is_a_hard_limit_with_words() -> None:
    asked = world(desired=(0, 0, 0), nodes=(), captions_waiting=55)
    assert sum(sizes(grouped(asked, price="2.5"))) == 6
    plan = grouped(asked, price="2.5", budget=10)
    assert sum(sizes(plan)) == 4
    status, reason, message = condition(plan, "CapacityLimited")
    assert (status, reason) == ("True", "BudgetSpent")
    assert "2 more nodes" in message
    assert "budgetPerDay" in message
    assert sum(sizes(grouped(asked, budget=10))) == 6, "without a price a budget limits nothing"


def test_more_than_all_pools_together_is_named() -> None:
    plan = grouped(world(desired=(2, 2, 2), nodes=(), captions_waiting=55, replicas=0))
    assert condition(plan, "CapacityLimited")[0] == "False"
    spec = with_captions(pool="gpus", max=9) | {
        "gpuPools": [{"name": name, "group": "gpus", "provider": "oks", "max": 2} for name in NAMES]
    }
    asked = world(desired=(0, 0, 0), nodes=(), captions_waiting=75)
    message = condition(decide(a_spec(**spec), asked, NOW, LADDER), "CapacityLimited")[2]
    assert "group gpus needs 8 nodes, its 3 pools may have 6 together" in message


@st.composite
def _views(draw: st.DrawFn) -> list[View]:
    views = []
    for index in range(draw(st.integers(1, 4))):
        most, current = draw(st.integers(0, 5)), draw(st.integers(0, 6))
        price = draw(st.sampled_from([None, "0", "1.5", "20"]))
        pool = GpuPool.model_validate({"name": f"p{index}", "provider": "oks", "max": most, "pricePerHour": price})
        views.append(View(pool, current, draw(st.integers(0, current)), draw(st.booleans())))
    return views


@settings(max_examples=300)
@given(st.integers(0, 25), _views(), st.sampled_from([0.0, 3.0, 1e9, float("inf")]))
def test_shares_keep_every_limit_and_lose_no_node(need: int, views: list[View], room: float) -> None:
    shares = share(need, views, room)
    by_name = {view.pool.name: view for view in views}
    bought = {name: nodes - by_name[name].current for name, nodes in shares.nodes.items()}
    assert all(nodes <= max(by_name[name].pool.max, by_name[name].current) for name, nodes in shares.nodes.items())
    assert all(added <= 0 for name, added in bought.items() if by_name[name].blocked)
    assert sum(max(0, added) * (by_name[name].price or 0) for name, added in bought.items()) <= room + 1e-9
    if len(views) > 1:
        assert all(shares.nodes[name] >= min(view.occupied, view.current) for name, view in by_name.items())
    held = sum(shares.nodes.values())
    if not any(view.blocked for view in views):
        assert held + shares.beyond_max + shares.beyond_budget >= need
    if held > need:
        assert not any(added > 0 for added in bought.values())


def test_a_server_that_somebody_deleted_keeps_its_node_and_one_that_we_emptied_does_not() -> None:
    nodes = (a_node("node-x", pool="a"), a_node("node-y", pool="b", cordoned=True))
    for serving, want in ((True, (1, 1, 0)), (False, (1, 0, 0))):
        going = a_server("y", 0, terminating=True, serving=serving)
        seen = world(a_server("x", 3), going, replicas=1, desired=(1, 1, 0), nodes=nodes, memory=HELD)
        assert sizes(grouped(seen)) == want


def _seconds_for(servers: int) -> float:
    """Processor time of a decision about so many servers in 16 pools, the best of five."""
    names = [f"p{index}" for index in range(16)]
    pools = [{"name": name, "group": "gpus", "provider": "oks", "max": 500} for name in names]
    spec = a_spec(**with_captions(pool="gpus", max=500) | {"gpuPools": pools})
    live = [a_server(f"s{index}", index % 10) for index in range(servers)]
    nodes = tuple(a_node(f"node-s{index}", pool=names[index % 16]) for index in range(servers))
    seen = a_world(*live, nodes=nodes, pools={name: a_pool(servers // 16 + 1, name=name) for name in names})
    took = []
    for _ in range(5):
        started = time.process_time()
        decide(spec, seen, NOW, LADDER)
        took.append(time.process_time() - started)
    return min(took)


@pytest.mark.alone
def test_a_decision_grows_with_the_servers_and_not_with_their_square() -> None:
    many = _seconds_for(1000)
    ratio = many / _seconds_for(250)
    print(f"{1000 * many:.1f} ms for 1,000 servers, {ratio:.1f} times as long as for a quarter of them")
    assert ratio <= limit("decisionGrowth")


@dataclass
class Small:
    """Four pools of one node each, and what runs on them."""

    streams: dict[str, int] = field(default_factory=lambda: {f"n{index}": 10 for index in range(4)})
    desired: dict[str, int] = field(default_factory=lambda: {f"n{index}": 1 for index in range(4)})
    serving: set[str] = field(default_factory=lambda: {f"n{index}" for index in range(4)})
    cordoned: set[str] = field(default_factory=set)
    costs: dict[str, int] = field(default_factory=dict)

    def observe(self, now: float, before: Plan | None) -> Observed:
        live = [
            a_server(
                name, used, node=f"node-{name}", read_at=now, serving=name in self.serving,
                deletion_cost=self.costs.get(name, 0),
            )
            for name, used in self.streams.items()
        ]  # fmt: skip
        nodes = tuple(
            a_node(f"node-{name}", pool=name, cordoned=f"node-{name}" in self.cordoned)
            for name, size in self.desired.items()
            if size
        )
        seen = a_world(*live, nodes=nodes, pools={name: a_pool(size, name=name) for name, size in self.desired.items()})
        return seen if before is None else replace(seen, planners=before.planners, memory=dict(before.memory))

    def obey(self, plan: Plan) -> None:
        for mark in plan.pods:
            if mark.serving is not None:
                (self.serving.add if mark.serving else self.serving.discard)(mark.pod)
            if mark.deletion_cost is not None:
                self.costs[mark.pod] = mark.deletion_cost
        for node in plan.nodes:
            (self.cordoned.add if node.cordon else self.cordoned.discard)(node.node)
        gone = max(0, len(self.streams) - plan.parts["captions"].replicas)
        for name in sorted(self.streams, key=lambda name: self.costs.get(name, 0))[:gone]:
            assert self.streams.pop(name) == 0
        for pool in plan.pools:
            assert pool.desired >= self.desired[pool.name] or pool.name not in self.streams
            self.desired[pool.name] = pool.desired


def test_a_group_of_single_nodes_follows_the_streams_down() -> None:
    pools = [{"name": f"n{index}", "group": "gpus", "provider": "oks", "max": 1} for index in range(4)]
    spec = a_spec(**with_captions(pool="gpus") | {"gpuPools": pools})
    small, plan, history = Small(), None, []
    for look in range(200):
        # 40 streams that end one after another; three stay, and those of a closed server move.
        left = max(3, 40 - look)
        for name in small.streams:
            small.streams[name] = min(10, left) if name in small.serving else 0
            left -= small.streams[name]
        now = NOW + 15 * look
        plan = decide(spec, small.observe(now, plan), now, LADDER)
        small.obey(plan)
        history.append(sum(small.desired.values()))
    assert (history[0], history[-1]) == (4, 1)
    assert len(set(history)) >= 3, "one after another, not all at once in the end"
    assert history == sorted(history, reverse=True)
    assert len(small.streams) == 1
