"""The rules of the lab's sellers of nodes that a customer relies on."""

from __future__ import annotations

from typing import Any

import pytest

from visio_lab.cloud_autoscaler import Group, fits, gpus_asked, may_move, waits
from visio_lab.cloud_machines import passed_on

GROUP = Group("gpu", "inference7-l40.medium", {"visio-operator.dev/pool": "gpu"}, 0, 3)


def a_pod(**changes: Any) -> dict[str, Any]:
    """A pod that found no node with a GPU."""
    unschedulable = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    spec = {
        "containers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}],
        "nodeSelector": {"visio-operator.dev/pool": "gpu"},
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
    }
    pod = {"metadata": {}, "spec": spec, "status": {"conditions": [unschedulable]}}
    for part, fields in changes.items():
        pod[part] = {**pod[part], **fields}
    return pod


def test_only_three_domains_of_labels_reach_a_node() -> None:
    passed = {
        "node.cluster.x-k8s.io/pool": "a",
        "node-role.kubernetes.io/gpu": "",
        "x.node-restriction.kubernetes.io/y": "b",
    }
    others = {"visio-operator.dev/pool": "a", "cluster.x-k8s.io/deployment-name": "a", "pool": "a"}
    assert passed_on({**passed, **others}) == passed


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        ({}, True),
        ({"spec": {"priority": -10}}, True),
        ({"spec": {"priority": -11}}, False),
        ({"status": {"nominatedNodeName": "node"}}, False),
        ({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}}, False),
        ({"status": {"conditions": []}}, False),
    ],
)
def test_which_pods_are_worth_a_node(change: dict[str, Any], counts: bool) -> None:
    assert waits(a_pod(**change)) == counts


@pytest.mark.parametrize(
    ("change", "taken"),
    [
        ({}, True),
        ({"nodeSelector": {"visio-operator.dev/pool": "other"}}, False),
        ({"tolerations": []}, False),
        ({"tolerations": [{"operator": "Exists"}]}, True),
        ({"containers": [{"resources": {}}]}, False),
    ],
)
def test_which_pods_a_new_node_would_take(change: dict[str, Any], taken: bool) -> None:
    assert fits(a_pod(spec=change), GROUP) == taken


def test_gpus_of_sidecars_count_and_a_pod_may_forbid_its_move() -> None:
    assert gpus_asked(a_pod(spec={"initContainers": [{"resources": {"requests": {"nvidia.com/gpu": "1"}}}]})) == 2
    assert may_move(a_pod())
    assert not may_move(a_pod(metadata={"annotations": {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}}))
