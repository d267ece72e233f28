"""The adapters of all providers: what they read, and that what they write leads where the plan wants to go."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pool_objects import OWNER, SIZED, a_machine, a_node, a_pod, a_pool, an_object, merged, seen

from builders import a_deployment
from visio_operator.plan.observed import Pool
from visio_operator.plan.plan import PoolPlan
from visio_operator.plan.providers import BY_PLACEHOLDERS, PROVIDERS, abilities_of
from visio_operator.runtime.kinds import BY_NAME
from visio_operator.runtime.pool_adapter import Seen, Write
from visio_operator.runtime.pools import ADAPTERS, with_cluster, writes

sizes = st.integers(0, 100)
NODES = ("a", "b", "c", "d")


@st.composite
def plans(draw: st.DrawFn, provider: str) -> PoolPlan:
    low, desired, high = sorted((draw(sizes), draw(sizes), draw(sizes)))
    victims = tuple(sorted(draw(st.sets(st.sampled_from(NODES)))))
    return PoolPlan("l40", provider, desired, low, high, victims=victims)


def apply(written: Write, body: dict[str, Any]) -> dict[str, Any]:
    assert written.patch, "an empty patch is a request for nothing"
    result: dict[str, Any] = merged(body, written.patch)
    return result


def test_every_provider_has_an_adapter_that_can_do_what_the_table_says() -> None:
    assert ADAPTERS.keys() == PROVIDERS.keys()
    for name, provider in PROVIDERS.items():
        adapter = ADAPTERS[name]
        assert bool(adapter.kind) == bool(provider.resource)
        assert bool(adapter.machine_kind) == (provider.abilities.chooses_victim and provider.abilities.sets_size)
        if adapter.kind:
            kind = BY_NAME[adapter.kind]
            assert (kind.resource, kind.provider, kind.optional) == (provider.resource, name, True)
            body = an_object(name)
            read = adapter.read(a_pool(name), seen(body))
            assert (read.joining is not None) == provider.abilities.sees_in_flight
            assert abilities_of(a_pool(name), read) == provider.abilities


@pytest.mark.parametrize("provider", SIZED)
@given(data=st.data())
def test_one_patch_makes_a_pool_what_the_plan_says_and_no_second_follows(provider: str, data: st.DataObject) -> None:
    plan = data.draw(plans(provider))
    body = an_object(provider, owner=data.draw(st.sampled_from(["", OWNER])))
    site, adapter, pool = a_deployment().site(), ADAPTERS[provider], a_pool(provider)
    found = adapter.read(pool, seen(body))
    written = list(writes(OWNER, site, plan, found, seen(body)))
    assert len(written) <= 1
    for one in written:
        assert one.kind == adapter.kind
        body = apply(one, body)
    after = adapter.read(pool, seen(body))
    assert (after.desired, after.owner) == (plan.desired, OWNER)
    bounds = [body["spec"].get(name) for name in ("minNodes", "desiredNodes", "maxNodes")]
    if None not in bounds:
        assert bounds == sorted(bounds), "admission compares them with each other"
        assert (after.minimum, after.maximum) == (plan.minimum, plan.maximum)
    assert list(writes(OWNER, site, plan, after, seen(body))) == []


@pytest.mark.parametrize("provider", SIZED)
def test_a_pool_that_is_returned_wants_no_nodes_and_is_nobodys(provider: str) -> None:
    adapter, pool = ADAPTERS[provider], a_pool(provider)
    plan = PoolPlan("l40", provider, 3, 1, 4)
    body = merged(an_object(provider), adapter.patch(OWNER, plan, adapter.read(pool, seen(an_object(provider)))))
    returned = adapter.read(pool, seen(merged(body, adapter.return_patch(body))))
    assert (returned.desired, returned.minimum, returned.owner) == (0, 0, "")


@pytest.mark.parametrize("provider", SIZED)
def test_a_pool_that_is_not_there_is_not_written(provider: str) -> None:
    site, plan = a_deployment().site(), PoolPlan("l40", provider, 1, 1, 2)
    missing = ADAPTERS[provider].read(a_pool(provider), Seen(problem="no CRD"))
    assert (missing.found, missing.error) == (False, "no CRD")
    assert list(writes(OWNER, site, plan, None, None)) == []
    assert list(writes(OWNER, site, plan, missing, Seen())) == []


@pytest.mark.parametrize("provider", ["clusterAPI", "ovh", "karpenter"])
def test_a_pool_whose_nodes_would_not_be_found_is_not_taken(provider: str) -> None:
    found = ADAPTERS[provider].read(a_pool(provider), seen(an_object(provider, template={"metadata": {}})))
    assert not found.found
    assert found.error.endswith("does not say visio-operator.dev/pool: l40 in spec.template.metadata.labels")


@pytest.mark.parametrize(
    ("provider", "spec"), [("oks", {"autoscaling": True}), ("ovh", {"autoscale": True}), ("clusterAPI", {})]
)
def test_another_writer_is_seen(provider: str, spec: dict[str, Any]) -> None:
    body = an_object(provider, **spec)
    if provider == "clusterAPI":
        prefix = "cluster.x-k8s.io/cluster-api-autoscaler-node-group"
        body["metadata"]["annotations"] = {f"{prefix}-min-size": "0", f"{prefix}-max-size": "4"}
    assert ADAPTERS[provider].read(a_pool(provider), seen(body)).autoscaling
    assert not ADAPTERS[provider].read(a_pool(provider), seen(an_object(provider))).autoscaling


def test_oks_tells_its_error_and_what_is_on_its_way() -> None:
    status = {"last_error": {"message": "10046 quota"}, "progress": {"pending": 1, "attached": 1, "ready": 3}}
    found = ADAPTERS["oks"].read(a_pool("oks"), seen(an_object("oks", status=status)))
    assert (found.error, found.joining) == ("10046 quota", 2)


def test_ovh_tells_how_many_are_missing_and_never_why() -> None:
    found = ADAPTERS["ovh"].read(a_pool("ovh"), seen(an_object("ovh", desiredNodes=3, status={"availableNodes": 1})))
    assert (found.desired, found.joining, found.error) == (3, 2, "")


class TestClusterApi:
    """A MachineDeployment and its Machines."""

    adapter = ADAPTERS["clusterAPI"]
    pool = a_pool("clusterAPI", namespace="machines")

    def read(self, *machines: dict[str, Any], **changes: Any) -> Pool:
        return self.adapter.read(self.pool, seen(an_object("clusterAPI", owner=OWNER, **changes), *machines))

    @given(data=st.data())
    def test_marks_end_up_on_the_victims_and_nowhere_else_and_are_written_once(self, data: st.DataObject) -> None:
        plan = data.draw(plans("clusterAPI"))
        marks = st.sampled_from([None, OWNER])
        machines = {name: a_machine(name, data.draw(st.sampled_from(["", name])), data.draw(marks)) for name in NODES}
        nodes = {name: a_node(name) for name in NODES}
        for one in self.adapter.besides(OWNER, plan, seen(None, *machines.values(), nodes=tuple(nodes.values()))):
            assert (one.kind, one.namespace) == ("Machine", "machines")
            machines[one.name] = apply(one, machines[one.name])
        after = self.read(*machines.values())
        joined = {name for name, machine in machines.items() if "nodeRef" in machine["status"]}
        assert after.marked == set(plan.victims) & joined
        assert after.obeys_marks
        again = self.adapter.besides(OWNER, plan, seen(None, *machines.values(), nodes=tuple(nodes.values())))
        assert list(again) == []

    def test_a_mark_of_somebody_else_is_left_and_ours_are_not_relied_on_then(self) -> None:
        machines = (a_machine("a", "a", mark=""), a_machine("b", "b", mark=OWNER))
        found = self.read(*machines)
        assert (found.marked, found.obeys_marks) == ({"b"}, False)
        plan = PoolPlan("l40", "clusterAPI", 2, 0, 2, victims=("b",))
        nodes = (a_node("a"), a_node("b"))
        assert list(self.adapter.besides(OWNER, plan, seen(None, *machines, nodes=nodes))) == []

    def test_the_label_that_cluster_api_does_not_pass_on_is_put_on_the_nodes_once(self) -> None:
        machines = (a_machine("a", "node-a"), a_machine("b", "node-b"), a_machine("c"))
        plan = PoolPlan("l40", "clusterAPI", 3, 0, 3)
        labels = {"metadata": {"labels": {"visio-operator.dev/pool": "l40"}}}
        found = list(self.adapter.besides(OWNER, plan, seen(None, *machines, nodes=(a_node("node-a"),))))
        assert found == [Write("Node", "node-b", None, labels)]

    def test_machines_without_a_node_are_on_their_way(self) -> None:
        going = a_machine("c")
        going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert self.read(a_machine("a", "a"), a_machine("b"), going).joining == 1

    @pytest.mark.parametrize(
        ("machine", "error"),
        [
            (a_machine("m", phase="Provisioning"), ""),
            (
                a_machine(
                    "m", conditions=[{"type": "InfrastructureReady", "status": "False", "message": "VM pending"}]
                ),
                "",
            ),
            (
                a_machine(
                    "m",
                    conditions=[
                        {"type": "InfrastructureReady", "status": "False", "message": "10046 TooManyResources"}
                    ],
                ),
                "Machine m: 10046 TooManyResources",
            ),
            (a_machine("m", phase="Failed"), "Machine m: it has failed"),
            (a_machine("m", "m", conditions=[{"type": "Ready", "status": "False", "message": "error: disk"}]), ""),
        ],
    )
    def test_what_a_machine_says_of_a_failure_is_the_pools_error(self, machine: dict[str, Any], error: str) -> None:
        assert self.read(machine).error == error

    def test_a_paused_machine_deployment_says_so(self) -> None:
        assert self.read(paused=True).error == "MachineDeployment l40 is paused"


class TestPlaceholders:
    """cluster-autoscaler and dynamic NodePools of Karpenter."""

    adapter = ADAPTERS["clusterAutoscaler"]

    def read(self, *, ordered: str = "", placeholders: int = 0, **around: Any) -> Pool:
        meta = {"annotations": {"visio-operator.dev/nodes": ordered}}
        deployment = {"metadata": meta, "spec": {"replicas": placeholders}}
        found = seen(placeholders=deployment if ordered else None, **around)
        return self.adapter.read(a_pool("clusterAutoscaler"), found)

    def test_what_is_ordered_is_held_by_pods_or_placeholders_or_stands_closed(self) -> None:
        pods, closed = (a_pod("a"), a_pod()), (a_node("b", unschedulable=True),)
        assert (self.read(pods=pods).found, self.read(pods=pods).desired, self.read(pods=pods).placeholders) == (
            True,
            2,
            0,
        )
        assert self.read(ordered="3", placeholders=1, pods=pods).desired == 3
        assert self.read(ordered="3", pods=pods, nodes=closed).desired == 3
        assert self.read(ordered="2", pods=pods, nodes=closed).desired == 2, "a closed node may be on its way out"

    def test_a_closed_node_that_was_taken_is_not_ordered_any_more(self) -> None:
        assert self.read(ordered="2", nodes=(a_node("a", unschedulable=True),)).desired == 1
        assert self.read(ordered="2").desired == 0

    def test_pods_that_are_asked_for_or_on_their_way_out_hold_what_was_ordered(self) -> None:
        going = a_pod("a", deletionTimestamp="2026-01-01T00:00:00Z")
        assert self.read(ordered="2", asked=2).desired == 2
        assert self.read(ordered="2", asked=1, pods=(going,)).desired == 2

    def test_closed_nodes_without_our_pods_are_those_that_go(self) -> None:
        nodes = (a_node("a", unschedulable=True), a_node("b", unschedulable=True), a_node("c"))
        found = self.read(ordered="3", nodes=nodes, pods=(a_pod("b"),))
        assert (found.obeys_marks, found.marked) == (True, {"a"})

    def test_nothing_is_written_for_a_pool_without_an_object(self) -> None:
        plan = PoolPlan("l40", "clusterAutoscaler", 3, 0, 4, placeholders=2)
        assert list(writes(OWNER, a_deployment().site(), plan, self.read(), Seen())) == []

    def test_a_node_pool_of_karpenter_without_replicas_follows_pods(self) -> None:
        adapter, body = ADAPTERS["karpenter"], an_object("karpenter")
        del body["spec"]["replicas"]
        found = adapter.read(a_pool("karpenter"), seen(body))
        assert found.placeholders == 0
        assert abilities_of(a_pool("karpenter"), found) == BY_PLACEHOLDERS
        plan = PoolPlan("l40", "karpenter", 3, 0, 4, placeholders=2)
        patch = adapter.patch(OWNER, plan, found)
        assert patch == {"metadata": {"annotations": {"visio-operator.dev/owner": OWNER}}}, "its spec is not ours"
        assert adapter.patch(OWNER, plan, replace(found, owner=OWNER)) == {}
        assert "spec" not in adapter.return_patch(body)


def test_karpenter_tells_which_condition_is_false() -> None:
    told = [
        {"type": "NodeRegistrationHealthy", "status": "Unknown"},
        {"type": "NodeClassReady", "status": "False", "message": "no subnet"},
    ]
    found = ADAPTERS["karpenter"].read(a_pool("karpenter"), seen(an_object("karpenter", status={"conditions": told})))
    assert found.error == "no subnet"


def test_pods_and_nodes_are_those_of_the_pools_label() -> None:
    site = a_deployment().with_captions(pool="l40").site()
    other = {"metadata": {"name": "other", "labels": {}}, "spec": {}}
    deployment = {"metadata": {"name": "visio-placeholder-l40"}}
    captions = {"metadata": {"name": "visio-captions"}, "spec": {"replicas": 2}}
    live = {("Deployment", "visio-placeholder-l40"): deployment, ("Deployment", "visio-captions"): captions}
    found = with_cluster({"l40": Seen()}, site, live, {"p": a_pod("a"), "q": other}, {"a": a_node("a"), "b": other})
    assert found == {"l40": Seen(nodes=(a_node("a"),), pods=(a_pod("a"),), asked=2, placeholders=deployment)}
