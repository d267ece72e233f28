"""cluster-autoscaler in the lab: nodes for pods that find none, and an end for nodes that nobody needs.

It keeps the rules that matter to whoever orders nodes by pods (source: kubernetes/autoscaler, FAQ.md of
cluster-autoscaler): a pod counts when the scheduler has called it Unschedulable, its priority is -10 or more, and a
node of the group would take it; one that is about to take another pod's place does not count; places on open nodes and
nodes on their way are counted before more are ordered. A node goes when no pod on it uses a GPU for UNNEEDED_S seconds;
one with a pod that forbids it stays.

A node group is a ConfigMap in kube-system with the label GROUP: `nodeType`, `labels` (JSON), `minSize`, `maxSize`.
"""

import asyncio
import json
import time
from dataclasses import dataclass, field
from pathlib import Path

from visio_lab.api import Api, Json
from visio_lab.cloud_delivery import NODES, Due, end, give_gpus, join, note, remove_node
from visio_lab.cloud_nodes import GPU, GPU_TAINT, REGION, gpus_of, machine_node
from visio_lab.context import LeadTime

GROUP = "lab.visio-operator.dev/node-group"
GROUPS = "/api/v1/namespaces/kube-system/configmaps"
PODS = "/api/v1/pods"
SAFE_TO_EVICT = "cluster-autoscaler.kubernetes.io/safe-to-evict"
LOWEST_PRIORITY = -10
SCAN_S = 0.5
UNNEEDED_S = 4.0
"""Ten minutes by default in the real one; the lab's other times are shortened alike."""


@dataclass
class Sold:
    """One node of a group; `gpu` once its GPUs can be allocated, `idle_since` in monotonic seconds."""

    name: str
    due: Due
    life: asyncio.Task[None] | None = None
    gpu: bool = False
    idle_since: float | None = None


@dataclass
class Group:
    """A group of nodes that are alike."""

    name: str
    node_type: str
    labels: dict[str, str]
    smallest: int
    largest: int
    nodes: list[Sold] = field(default_factory=list)
    ordered: int = 0


async def serve(api: Api, lead: LeadTime, bill: Path) -> None:
    """Follow the groups and the pods for ever."""
    groups: dict[str, Group] = {}
    await asyncio.gather(_follow(api, bill, groups), _scan_for_ever(api, lead, bill, groups))


async def _follow(api: Api, bill: Path, groups: dict[str, Group]) -> None:
    async for event in api.watch(GROUPS, labelSelector=GROUP):
        if event.kind == "SYNCED":
            continue
        name = event.object["metadata"]["name"]
        if event.kind == "DELETED":
            if group := groups.pop(name, None):
                for node in list(group.nodes):
                    await _remove(api, bill, group, node)
            continue
        data = event.object["data"]
        made = Group(
            name, data["nodeType"], json.loads(data["labels"]), int(data.get("minSize", 0)), int(data["maxSize"])
        )
        if before := groups.get(name):
            made.nodes, made.ordered = before.nodes, before.ordered
        groups[name] = made


async def _scan_for_ever(api: Api, lead: LeadTime, bill: Path, groups: dict[str, Group]) -> None:
    while True:
        await asyncio.sleep(SCAN_S)
        if not groups:
            continue
        pods = (await api.request("GET", PODS))["items"]
        nodes = (await api.request("GET", NODES))["items"]
        closed = {each["metadata"]["name"] for each in nodes if each["spec"].get("unschedulable")}
        for group in list(groups.values()):
            _grow(api, lead, bill, group, pods, closed)
            await _shrink(api, bill, group, pods)


def _grow(api: Api, lead: LeadTime, bill: Path, group: Group, pods: list[Json], closed: set[str]) -> None:
    each = gpus_of(group.node_type)
    wanted = sum(gpus_asked(pod) for pod in pods if waits(pod) and fits(pod, group))
    coming = sum(not node.gpu for node in group.nodes)
    free = sum(each - _used(node.name, pods) for node in group.nodes if node.gpu and node.name not in closed)
    missing = -(-max(0, wanted - free) // each) - coming if each else 0
    for _ in range(min(missing, group.largest - len(group.nodes))):
        name = f"{group.name}-{group.ordered}"
        node = Sold(name, Due(group.name, group.ordered, lead))
        group.ordered += 1
        group.nodes.append(node)
        note(bill, group.name, name, "ordered")
        node.life = asyncio.create_task(_deliver(api, bill, group, node))


def _used(node: str, pods: list[Json]) -> int:
    """GPUs of a node that pods hold."""
    return sum(gpus_asked(pod) for pod in pods if pod["spec"].get("nodeName") == node and not ended(pod))


async def _deliver(api: Api, bill: Path, group: Group, node: Sold) -> None:
    body = machine_node(node.name, group.node_type, f"{REGION}a", group.labels, tainted=True)
    await join(api, body, node.due.node)
    note(bill, group.name, node.name, "ready")
    await give_gpus(api, node.name, gpus_of(group.node_type), node.due.gpu)
    note(bill, group.name, node.name, "gpu")
    node.gpu = True


async def _shrink(api: Api, bill: Path, group: Group, pods: list[Json]) -> None:
    now = time.monotonic()
    for node in [node for node in group.nodes if node.gpu]:
        here = [pod for pod in pods if pod["spec"].get("nodeName") == node.name and not ended(pod)]
        coming = any((pod.get("status") or {}).get("nominatedNodeName") == node.name for pod in pods)
        if coming or any(gpus_asked(pod) or not may_move(pod) for pod in here):
            node.idle_since = None
            continue
        node.idle_since = now if node.idle_since is None else node.idle_since
        if now - node.idle_since >= UNNEEDED_S and len(group.nodes) > group.smallest:
            await _remove(api, bill, group, node)


async def _remove(api: Api, bill: Path, group: Group, node: Sold) -> None:
    group.nodes.remove(node)
    await end(node.life)
    await remove_node(api, node.name)
    note(bill, group.name, node.name, "returned")


def ended(pod: Json) -> bool:
    """Whether a pod uses nothing any more."""
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def may_move(pod: Json) -> bool:
    """Whether a node may be taken with this pod on it."""
    return (pod["metadata"].get("annotations") or {}).get(SAFE_TO_EVICT) != "false"


def waits(pod: Json) -> bool:
    """Whether a pod found no node, and is worth one, and is not about to take another pod's place."""
    status = pod.get("status") or {}
    unschedulable = any(
        each["type"] == "PodScheduled" and each["status"] == "False" and each.get("reason") == "Unschedulable"
        for each in status.get("conditions") or ()
    )
    worth = int(pod["spec"].get("priority") or 0) >= LOWEST_PRIORITY
    settled = status.get("nominatedNodeName") or pod["metadata"].get("deletionTimestamp")
    return unschedulable and worth and not settled


def fits(pod: Json, group: Group) -> bool:
    """Whether a new node of the group would take the pod."""
    selector = pod["spec"].get("nodeSelector") or {}
    tolerated = any(
        each.get("key") in (None, GPU_TAINT["key"]) and each.get("effect") in (None, "", GPU_TAINT["effect"])
        for each in pod["spec"].get("tolerations") or ()
    )
    return selector.items() <= group.labels.items() and tolerated and gpus_asked(pod) > 0


def gpus_asked(pod: Json) -> int:
    """GPUs that a pod asks for: those of its containers together, sidecars included."""
    spec = pod["spec"]
    return sum(
        int(((each.get("resources") or {}).get("requests") or {}).get(GPU, 0))
        for each in (*spec["containers"], *(spec.get("initContainers") or ()))
    )
