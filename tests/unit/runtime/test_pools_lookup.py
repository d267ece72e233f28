"""Where pool objects are looked for, and what is made of a cluster that lacks them or does not let us see them."""

from __future__ import annotations

from typing import Any

import pytest
from pool_objects import OWNER, a_machine, an_object

from builders import a_deployment
from visio_operator.runtime import pools
from visio_operator.runtime.kube import KubeError
from visio_operator.runtime.pools import PoolRef


class Cluster:
    """The few verbs that are asked of a cluster: what it serves, what is there, what is forbidden."""

    def __init__(self, *served: str, forbidden: str = "", **objects: list[dict[str, Any]]) -> None:
        self.served, self.forbidden, self.objects = served, forbidden, objects
        self.asked: list[tuple[Any, ...]] = []
        self.merged: list[tuple[Any, ...]] = []

    async def serves(self, kind: str, *, refresh: bool = False) -> bool:
        return kind in self.served

    async def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        self.asked.append((kind, name, namespace))
        self._allow(kind)
        return next(iter(self.objects.get(kind, [])), None)

    async def list(self, kind: str, *, namespace: str | None = None, selector: str = "") -> list[dict[str, Any]]:
        self.asked.append((kind, selector, namespace))
        self._allow(kind)
        return self.objects.get(kind, [])

    async def merge(self, kind: str, name: str, namespace: str | None, patch: dict[str, Any]) -> None:
        self.merged.append((kind, name, namespace, patch))

    def _allow(self, kind: str) -> None:
        if kind == self.forbidden:
            raise KubeError(403, "Forbidden", "no")


def a_site(provider: str, **fields: str) -> Any:
    return a_deployment().having(gpuPools=[{"name": "l40", "provider": provider, **fields}]).site()


async def look_up(cluster: Cluster, provider: str, **fields: str) -> Any:
    return (await pools.look_up(cluster, a_site(provider, **fields)))["l40"]  # type: ignore[arg-type]


@pytest.mark.parametrize(("fields", "namespace"), [({}, "visio"), ({"namespace": "machines"}, "machines")])
async def test_a_machine_deployment_is_where_the_spec_says(fields: dict[str, str], namespace: str) -> None:
    body, machine = an_object("clusterAPI"), a_machine("m")
    cluster = Cluster("MachineDeployment", MachineDeployment=[body], Machine=[machine])
    found = await look_up(cluster, "clusterAPI", **fields)
    assert (found.body, found.machines) == (body, (machine,))
    assert cluster.asked == [
        ("MachineDeployment", "l40", namespace),
        ("Machine", "cluster.x-k8s.io/deployment-name=l40", namespace),
    ]


async def test_a_node_pool_has_no_namespace_and_no_machines_that_we_see() -> None:
    cluster = Cluster("OvhNodePool", OvhNodePool=[an_object("ovh")])
    assert (await look_up(cluster, "ovh")).machines == ()
    assert cluster.asked == [("OvhNodePool", "l40", None)]


async def test_an_autoscalers_pool_needs_no_object() -> None:
    cluster = Cluster()
    found = await look_up(cluster, "clusterAutoscaler")
    assert (found.body, found.problem, cluster.asked) == (None, "", [])


async def test_a_missing_definition_and_missing_rights_are_told_apart() -> None:
    missing = await look_up(Cluster(), "karpenter")
    assert missing.problem == "the CRD nodepools.karpenter.sh is not installed in this cluster"
    forbidden = await look_up(Cluster("MachineDeployment", forbidden="MachineDeployment"), "clusterAPI")
    assert forbidden.problem == (
        "the operator has no rights on machinedeployments.cluster.x-k8s.io:"
        " poolProviders of the operator's chart does not name clusterAPI"
    )


async def test_pools_of_somebody_are_found_at_every_provider_that_we_may_see() -> None:
    ours, free = an_object("oks", owner=OWNER), an_object("oks")
    del ours["metadata"]["namespace"]
    machines = an_object("clusterAPI", owner="other/visio")
    cluster = Cluster(
        "NodePool",
        "MachineDeployment",
        "KarpenterNodePool",
        forbidden="KarpenterNodePool",
        NodePool=[ours, free],
        MachineDeployment=[machines],
    )
    found = await pools.owned(cluster)  # type: ignore[arg-type]
    assert {ref: owner for ref, (owner, _) in found.items()} == {
        PoolRef("oks", "l40"): OWNER,
        PoolRef("clusterAPI", "l40", "machines"): "other/visio",
    }
    ref = pools.ref_of("clusterAPI", "l40", "machines", "other")
    assert ref in found
    await pools.give_back(cluster, ref, machines)  # type: ignore[arg-type]
    [(kind, name, namespace, patch)] = cluster.merged
    assert (kind, name, namespace, patch["spec"]) == ("MachineDeployment", "l40", "machines", {"replicas": 0})
