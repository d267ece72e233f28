"""The machines that the lab's cloud can sell: how a NodePool's node looks, and the three ordinary workers."""

import random
import re
from typing import Any

Json = dict[str, Any]

REGION = "cloudgouv-eu-west-1"
WORKERS = {f"worker-{zone}": f"{REGION}{zone}" for zone in "abc"}
"""The ordinary nodes that every lab has from the start, and their zones."""
WORKER_CAPACITY = {"cpu": "32", "memory": "128Gi", "pods": "110", "ephemeral-storage": "200Gi"}
GPU = "nvidia.com/gpu"
GPU_TAINT = {"key": GPU, "value": "present", "effect": "NoSchedule"}
"""Which taint OKS sets for `taint: true` is not documented; this is the one that NVIDIA's own guides use."""
POOL_LABEL = "lab.visio-operator.dev/nodepool"
LEAD_JITTER = 0.1
SEED = 7

TINA = re.compile(r"tinav[3-7]\.c(?P<cpu>\d+)r(?P<memory>\d+)(p[1-3])?")
FIXED_SIZES = {"medium": (16, 64), "large": (24, 120), "xlarge": (32, 240), "2xlarge": (48, 480)}
"""vCores and GiB of the `inference7-*` sizes: our estimate, the vendor's page gives only their GPUs."""


def worker(name: str, zone: str) -> Json:
    """An ordinary node, without GPU."""
    return _node(name, zone, "tinav7.c32r128p1", WORKER_CAPACITY, {}, None)


def pool_node(pool: Json, name: str, zone: str) -> Json:
    """A node of a NodePool, as it looks before its GPU is there."""
    spec = pool["spec"]
    labels = {**(spec.get("nodeLabels") or {}), POOL_LABEL: pool["metadata"]["name"]}
    taint = GPU_TAINT if spec.get("taint") else None
    node = _node(name, zone, spec["nodeType"], capacity(spec["nodeType"]), labels, taint)
    node["metadata"]["annotations"].update(spec.get("nodeAnnotations") or {})
    return node


def machine_node(name: str, node_type: str, zone: str, labels: dict[str, str], *, tainted: bool) -> Json:
    """A node of a machine type, as it looks before its GPU is there."""
    return _node(name, zone, node_type, capacity(node_type), labels, GPU_TAINT if tainted else None)


def gpus_of(node_type: str) -> int:
    """GPUs that a machine type has built in."""
    return 1 if node_type.startswith("inference7-") else 0


def capacity(node_type: str) -> dict[str, str]:
    """Processor, memory and pods of a node type, read from its name where the name says it."""
    cpu, memory = 8, 32
    if match := TINA.fullmatch(node_type):
        cpu, memory = int(match["cpu"]), int(match["memory"])
    elif node_type.startswith("inference7-"):
        cpu, memory = FIXED_SIZES.get(node_type.rsplit(".", 1)[-1], FIXED_SIZES["medium"])
    return {"cpu": str(cpu), "memory": f"{memory}Gi", "pods": "110", "ephemeral-storage": "200Gi"}


def gpus(pool: Json) -> int:
    """GPUs of each node of the pool: one where a flexible GPU is attached or the type has one built in."""
    spec = pool["spec"]
    return 1 if gpus_of(spec["nodeType"]) or (spec.get("fgpu") or {}).get("model") else 0


def zone_of(pool: Json, index: int) -> str:
    """Zone of the pool's node number `index`: the pool's zones in turn."""
    zones: list[str] = pool["spec"].get("zones") or [f"{REGION}a"]
    return zones[index % len(zones)]


def lead_factor(pool: str, index: int) -> float:
    """How much longer or shorter this order takes than the usual lead time; the same in every run."""
    return random.Random(f"{SEED}/{pool}/{index}").uniform(1 - LEAD_JITTER, 1 + LEAD_JITTER)  # noqa: S311


def _node(
    name: str, zone: str, node_type: str, amounts: dict[str, str], labels: dict[str, str], taint: Json | None
) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "annotations": {"kwok.x-k8s.io/node": "fake"},
            "labels": {
                **labels,
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "node.kubernetes.io/instance-type": node_type,
                "topology.kubernetes.io/region": zone[:-1] if zone[-1:].isalpha() else zone,
                "topology.kubernetes.io/zone": zone,
            },
        },
        "spec": {"taints": [taint] if taint else []},
        "status": {
            "capacity": amounts,
            "allocatable": amounts,
            "nodeInfo": {
                "architecture": "amd64",
                "operatingSystem": "linux",
                "kubeletVersion": "v1.37.2",
                "kubeProxyVersion": "v1.37.2",
                "containerRuntimeVersion": "visio-lab://1",
                "kernelVersion": "visio-lab",
                "osImage": "visio-lab",
                "bootID": "",
                "machineID": "",
                "systemUUID": "",
            },
        },
    }
