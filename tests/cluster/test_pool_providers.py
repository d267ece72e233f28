"""GPU nodes from Cluster API and from cluster-autoscaler, each by its own protocol, for captions and recordings."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

import live
from visio_lab.cloud_autoscaler import GROUP
from visio_lab.cloud_machines import DELETE_MACHINE, ERROR
from visio_lab.demo_load import Load

POOL = "visio-operator.dev/pool"
NODE_TYPE = "inference7-l40.medium"


@pytest.fixture
def machines(lab: Any, operator: Any, namespace: str) -> str:
    """The name of a MachineDeployment, which nobody sells machines for until its error is taken away."""
    name = f"{namespace}-machines"
    template = {
        "metadata": {"labels": {POOL: name}},
        "spec": {
            "clusterName": "lab",
            "bootstrap": {"dataSecretName": "boot"},
            "infrastructureRef": {
                "apiGroup": "lab.visio-operator.dev",
                "kind": "LabMachineTemplate",
                "name": NODE_TYPE,
            },
        },
    }
    body = {
        "apiVersion": "cluster.x-k8s.io/v1beta2",
        "kind": "MachineDeployment",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "annotations": {ERROR: "cannot create vm: 400 10046 TooManyResources (QuotaExceded)"},
        },
        "spec": {"clusterName": "lab", "replicas": 0, "selector": {"matchLabels": {POOL: name}}, "template": template},
    }
    live.apply(lab, [body])
    return name


@pytest.fixture
def group(lab: Any, namespace: str) -> Any:
    """The name of a group of nodes that cluster-autoscaler sizes."""
    name = f"{namespace}-group"
    meta = {"name": name, "namespace": "kube-system", "labels": {GROUP: ""}}
    data = {"nodeType": NODE_TYPE, "labels": json.dumps({POOL: name}), "maxSize": "3"}
    live.apply(lab, [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}])
    yield name
    lab.kubectl("delete", "configmap", name, "--namespace", "kube-system", "--wait=false")


@pytest.fixture
def platform(lab: Any, namespace: str, machines: str, group: str) -> str:
    """Captions on machines of Cluster API, transcription on nodes that follow pods."""

    def change(spec: dict[str, Any]) -> None:
        spec["captions"] |= {"slotsPerGpu": 8, "max": 2, "pool": machines}
        spec["transcription"]["pool"] = group
        spec["gpuPools"] = [
            {"name": machines, "provider": "clusterAPI", "max": 2},
            {"name": group, "provider": "clusterAutoscaler", "max": 2},
        ]

    objects = live.deployment("evaluation-captions.yaml", namespace, change=change)
    live.apply(lab, [document for document in objects if document["kind"] != "NodePool"])
    live.wait_ready(lab, namespace)
    return namespace


def _nodes(lab: Any, pool: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lab.kubectl("get", "nodes", "-l", f"{POOL}={pool}", "-o", "json"))["items"]
    return found


def _bill(lab: Any, pool: str) -> dict[str, int]:
    lines = [json.loads(line) for line in (lab.directory / "cloud.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines if line["pool"] == pool]
    return {event: events.count(event) for event in ("ordered", "returned")}


def _placeholders(lab: Any, namespace: str, group: str) -> dict[str, Any]:
    found = live.get(lab, "deployment", f"visio-placeholder-{group}", namespace)
    assert found is not None
    return found


def test_nodes_come_from_machines_and_for_placeholders_and_go_again(
    lab: Any, platform: str, machines: str, group: str
) -> None:
    load = Load(lab, platform, "visio")
    assert _nodes(lab, machines) == _nodes(lab, group) == []
    assert _placeholders(lab, platform, group)["spec"]["replicas"] == 0
    assert load.queue_recordings(jobs=2, audio_seconds=20) == 2
    load.open_streams(3, seconds=8)

    # The infrastructure's refusal is told with its next step, in words that came through the Machine's conditions.
    said = live.eventually(
        "the quota is named",
        lambda: (found := live.condition(lab, platform, "CapacityLimited")).get("reason") == "QuotaExceeded" and found,
        30,
    )
    assert "TooManyResources" in said["message"]
    lab.kubectl("annotate", "machinedeployment", machines, "--namespace", platform, f"{ERROR}-")

    # Nodes of an autoscaler: one for each pod that is to come, by a placeholder which then gives way.
    workers = live.eventually("workers run", lambda: _running(lab, platform, "transcription", 2), 60)
    assert len(_nodes(lab, group)) == 2
    for node in _nodes(lab, group):
        assert node["metadata"]["labels"][POOL] == group
    assert {pod["spec"]["nodeName"] for pod in workers} == {node["metadata"]["name"] for node in _nodes(lab, group)}
    assert _placeholders(lab, platform, group)["metadata"]["annotations"]["visio-operator.dev/nodes"] == "2"

    # Nodes of Cluster API: it passes our label on to none, and they have it all the same.
    servers = live.eventually("captions run", lambda: _running(lab, platform, "captions", 1), 60)
    names = live.eventually("machines have labelled nodes", lambda: _labelled_machines(lab, platform, machines), 60)
    assert {pod["spec"]["nodeName"] for pod in servers} <= names
    live.eventually("all streams have a slot", lambda: load.counters()["waiting"] == 0, 60)

    live.eventually("all streams have ended", lambda: load.counters()["done"] == 3, 60)
    counters = load.counters()
    assert (counters["cut"], counters["refused"], counters["missed"]) == (0, 0, 0)

    # An autoscaler takes what no placeholder and no real pod holds any more.
    live.eventually("the autoscaler's nodes are gone", lambda: not _nodes(lab, group), 90)
    assert load.recordings_done() == 2
    assert _bill(lab, group) == {"ordered": 2, "returned": 2}

    # What a deployment leaves is given back at once, and is nobody's then.
    lab.kubectl("delete", "vd", "visio", "--namespace", platform, "--wait=false")
    live.eventually("the machines are given back", lambda: not _nodes(lab, machines), 60)
    left = live.get(lab, "machinedeployment", machines, platform)
    assert left is not None
    assert left["spec"]["replicas"] == 0
    assert "visio-operator.dev/owner" not in left["metadata"].get("annotations", {})
    bill = _bill(lab, machines)
    assert 1 <= bill["ordered"] == bill["returned"] <= 2


def _labelled_machines(lab: Any, namespace: str, pool: str) -> set[str]:
    """The nodes of all machines once they are the labelled ones; a second machine may be ordered between two looks."""
    machines = live.items(lab, "machines.cluster.x-k8s.io", namespace)
    names: set[str] = {machine.get("status", {}).get("nodeRef", {}).get("name", "") for machine in machines}
    return names if names == {node["metadata"]["name"] for node in _nodes(lab, pool)} else set()


def _running(lab: Any, namespace: str, part: str, count: int) -> list[dict[str, Any]]:
    pods = live.items(lab, "pods", namespace, f"app.kubernetes.io/component={part}")
    ready = [pod for pod in pods if pod["status"].get("phase") == "Running"]
    return ready if len(ready) >= count else []


def test_a_machine_that_is_marked_goes_before_all_others(
    lab: Any, operator: Any, namespace: str, machines: str
) -> None:
    """What the lab's Cluster API promises, and the planner relies on."""
    scope = ("--namespace", namespace)
    lab.kubectl("annotate", "machinedeployment", machines, *scope, f"{ERROR}-")
    lab.kubectl("scale", "machinedeployment", machines, *scope, "--replicas=3")
    found = live.eventually("machines are there", lambda: _joined(lab, namespace, 3), 30)
    victim = found[1]["metadata"]["name"]
    lab.kubectl("annotate", "machines.cluster.x-k8s.io", victim, *scope, f"{DELETE_MACHINE}=visio/visio")
    lab.kubectl("scale", "machinedeployment", machines, *scope, "--replicas=2")
    live.eventually("one is gone", lambda: live.get(lab, "machines.cluster.x-k8s.io", victim, namespace) is None, 15)
    time.sleep(0.5)
    left = {machine["metadata"]["name"] for machine in live.items(lab, "machines.cluster.x-k8s.io", namespace)}
    assert left == {machine["metadata"]["name"] for machine in found} - {victim}
    lab.kubectl("delete", "machinedeployment", machines, *scope)


def _joined(lab: Any, namespace: str, count: int) -> list[dict[str, Any]]:
    found = live.items(lab, "machines.cluster.x-k8s.io", namespace)
    return found if sum("nodeRef" in machine.get("status", {}) for machine in found) == count else []
