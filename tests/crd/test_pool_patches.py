"""The patches of all adapters at a real API server, with the schemas and rules of the providers' own objects."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from visio_lab.errors import LabError
from visio_lab.lab import Lab
from visio_lab.operator_process import make_namespace
from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool
from visio_operator.plan.plan import PoolPlan
from visio_operator.plan.providers import PROVIDERS
from visio_operator.runtime.kinds import BY_NAME
from visio_operator.runtime.pool_adapter import Seen
from visio_operator.runtime.pools import ADAPTERS

NAMESPACE = "pool-patches"
NAME = "patched"
OWNER = "visio/visio"
TEMPLATE = {"metadata": {"labels": {"visio-operator.dev/pool": NAME}}}
REFERENCE = {"apiGroup": "infrastructure.cluster.x-k8s.io", "kind": "OscMachineTemplate", "name": "gpu"}
MACHINE = {"clusterName": "prod", "bootstrap": {"dataSecretName": "boot"}, "infrastructureRef": REFERENCE}
NODE_CLASS = {"nodeClassRef": {"group": "karpenter.ovh.com", "kind": "OVHNodeClass", "name": "gpu"}, "requirements": []}
SPECS: dict[str, dict[str, Any]] = {
    "oks": {"nodeType": "m1.large", "maxNodes": 2},
    "clusterAPI": {"clusterName": "prod", "replicas": 0, "selector": {}, "template": {**TEMPLATE, "spec": MACHINE}},
    "ovh": {"flavor": "l40s-90", "desiredNodes": 0, "minNodes": 0, "maxNodes": 2, "template": TEMPLATE},
    "karpenter": {"replicas": 0, "template": {**TEMPLATE, "spec": NODE_CLASS}},
}
"""What a user creates; machines of the type m1.large have no GPU."""


@pytest.fixture(scope="module")
def namespace_of_machines(lab: Lab) -> Iterator[str]:
    make_namespace(lab, NAMESPACE)
    yield NAMESPACE
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


class Subject:
    """One pool object at the API server, as it was last answered."""

    def __init__(self, lab: Lab, provider: str, namespace: str, spec: dict[str, Any]) -> None:
        self.lab, self.adapter, kind = lab, ADAPTERS[provider], BY_NAME[ADAPTERS[provider].kind]
        self.resource = kind.resource
        self.scope = ["--namespace", namespace] if kind.namespaced else []
        self.pool = GpuPool.model_validate({"name": NAME, "provider": provider})
        # The lab's own Cluster API shall sell nothing here.
        meta = {"name": NAME, "annotations": {"lab.visio-operator.dev/error": "not for sale"}}
        written = {"apiVersion": kind.api_version, "kind": PROVIDERS[provider].kind, "metadata": meta, "spec": spec}
        told = lab.kubectl("create", *self.scope, "-f", "-", "-o", "json", input=json.dumps(written))
        self.body: dict[str, Any] = json.loads(told)

    def read(self) -> Pool:
        return self.adapter.read(self.pool, Seen(body=self.body))

    def patch(self, patch: dict[str, Any]) -> None:
        change = ["patch", self.resource, NAME, *self.scope, "--type=merge", "-o", "json", "-p", json.dumps(patch)]
        self.body = json.loads(self.lab.kubectl(*change))

    def plan(self, desired: int, low: int, high: int) -> None:
        """What the operator does for a plan; a second look finds nothing to write."""
        plan = PoolPlan(NAME, self.pool.provider, desired, low, high, placeholders=self.read().placeholders)
        self.patch(self.adapter.patch(OWNER, plan, self.read()))
        assert self.adapter.patch(OWNER, plan, self.read()) == {}

    def delete(self) -> None:
        self.lab.kubectl("delete", self.resource, NAME, *self.scope, "--wait=false")


@pytest.mark.parametrize("provider", SPECS)
def test_growing_and_shrinking_are_admitted_whatever_the_bounds_were(
    lab: Lab, namespace_of_machines: str, provider: str
) -> None:
    pool = Subject(lab, provider, namespace_of_machines, SPECS[provider])
    try:
        assert pool.read().found
        for desired, low, high in ((2, 1, 3), (5, 5, 5), (1, 0, 1)):
            pool.plan(desired, low, high)
            assert (pool.read().desired, pool.read().owner) == (desired, OWNER)
        pool.patch(pool.adapter.return_patch(pool.body))
        assert (pool.read().desired, pool.read().owner) == (0, "")
    finally:
        pool.delete()


def test_sizes_that_are_moved_one_after_another_would_be_refused(lab: Lab, namespace_of_machines: str) -> None:
    pool = Subject(lab, "ovh", namespace_of_machines, SPECS["ovh"])
    try:
        with pytest.raises(LabError, match="maxNodes must not be below desiredNodes"):
            pool.patch({"spec": {"desiredNodes": 7}})
        with pytest.raises(LabError, match="minNodes must not be above desiredNodes"):
            pool.patch({"spec": {"minNodes": 1}})
    finally:
        pool.delete()


def test_a_dynamic_node_pool_is_only_marked(lab: Lab, namespace_of_machines: str) -> None:
    dynamic = {"template": SPECS["karpenter"]["template"], "weight": 10, "limits": {"nvidia.com/gpu": 4}}
    pool = Subject(lab, "karpenter", namespace_of_machines, dynamic)
    try:
        before = pool.body["spec"]
        pool.plan(3, 0, 4)
        assert (pool.read().owner, pool.body["spec"]) == (OWNER, before)
        with pytest.raises(LabError, match="cannot change between static and dynamic"):
            pool.patch({"spec": {"replicas": 3}})
        pool.patch(pool.adapter.return_patch(pool.body))
        assert (pool.read().owner, pool.body["spec"]) == ("", before)
    finally:
        pool.delete()
