"""Cluster API in the lab: Machines for each MachineDeployment, a node for each Machine.

It does what a customer of Cluster API meets (source: kubernetes-sigs/cluster-api, core/reconcilers): Machines pass
through phases and get a nodeRef; of a Machine's labels only three domains reach its node; when replicas are lowered,
Machines marked for deletion go first and any others after them; what the infrastructure says is repeated in the
condition InfrastructureReady. A MachineDeployment with the annotation ERROR gets no machines: its text is what the
infrastructure answers, as when a quota is used up. The infrastructure's templates are not played: the name of the
`infrastructureRef` is the machine type.
"""

import asyncio
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from visio_lab.api import MERGE, Api, ApiError, Json
from visio_lab.cloud_delivery import Due, end, give_gpus, join, note, remove_node
from visio_lab.cloud_nodes import REGION, SEED, gpus_of, machine_node
from visio_lab.context import LeadTime

ROOT = "/apis/cluster.x-k8s.io/v1beta2"
DEPLOYMENTS = f"{ROOT}/machinedeployments"
DELETE_MACHINE = "cluster.x-k8s.io/delete-machine"
DEPLOYMENT_NAME = "cluster.x-k8s.io/deployment-name"
CLUSTER_NAME = "cluster.x-k8s.io/cluster-name"
ERROR = "lab.visio-operator.dev/error"
PASSED_ON = ("node-role.kubernetes.io", "node-restriction.kubernetes.io", "node.cluster.x-k8s.io")
"""Domains of the labels that Cluster API copies from a Machine to its node."""


@dataclass
class Machine:
    """One Machine and what brings it to life."""

    name: str
    due: Due
    life: asyncio.Task[None] | None = None


@dataclass
class Fleet:
    """A MachineDeployment and its machines, from the oldest to the newest."""

    object: Json
    machines: list[Machine] = field(default_factory=list)
    ordered: int = 0

    @property
    def name(self) -> str:
        """The name of the MachineDeployment."""
        return str(self.object["metadata"]["name"])

    @property
    def path(self) -> str:
        """Where its Machines are."""
        return f"{ROOT}/namespaces/{self.object['metadata']['namespace']}/machines"

    @property
    def error(self) -> str:
        """What the infrastructure answers to an order; empty when it sells."""
        return str((self.object["metadata"].get("annotations") or {}).get(ERROR, ""))


def passed_on(labels: dict[str, str]) -> dict[str, str]:
    """The labels of a Machine that its node gets, too."""
    domains = {key: key.partition("/")[0] for key in labels if "/" in key}
    return {
        key: labels[key]
        for key, domain in domains.items()
        if any(domain == one or domain.endswith(f".{one}") for one in PASSED_ON)
    }


async def serve(api: Api, lead: LeadTime, bill: Path) -> None:
    """Follow the MachineDeployments for ever."""
    fleets: dict[str, Fleet] = {}
    async for event in api.watch(DEPLOYMENTS):
        if event.kind == "SYNCED":
            continue
        uid = event.object["metadata"]["uid"]
        if event.kind == "DELETED":
            if fleet := fleets.pop(uid, None):
                await _shrink(api, bill, fleet, 0)
            continue
        fleet = fleets.setdefault(uid, Fleet(event.object))
        fleet.object = event.object
        replicas = int(event.object["spec"].get("replicas", 1))
        while len(fleet.machines) < replicas:
            await _order(api, lead, bill, fleet)
        await _shrink(api, bill, fleet, replicas)
        await _report(api, fleet)


async def _order(api: Api, lead: LeadTime, bill: Path, fleet: Fleet) -> None:
    name = f"{fleet.name}-{fleet.ordered}"
    machine = Machine(name, Due(fleet.name, fleet.ordered, lead))
    fleet.ordered += 1
    fleet.machines.append(machine)
    template = fleet.object["spec"]["template"]
    meta = template.get("metadata") or {}
    own = {DEPLOYMENT_NAME: fleet.name, CLUSTER_NAME: template["spec"]["clusterName"]}
    body = {
        "apiVersion": "cluster.x-k8s.io/v1beta2",
        "kind": "Machine",
        "metadata": {
            "name": name,
            "labels": {**(meta.get("labels") or {}), **own},
            "annotations": meta.get("annotations") or {},
        },
        "spec": template["spec"],
    }
    await api.create(fleet.path, body)
    note(bill, fleet.name, name, "ordered")
    machine.life = asyncio.create_task(_deliver(api, bill, fleet, machine))


async def _deliver(api: Api, bill: Path, fleet: Fleet, machine: Machine) -> None:
    """One Machine from its order to its GPU."""
    await _say(api, fleet, machine, "Provisioning", fleet.error or "the VM is pending")
    while fleet.error:
        await asyncio.sleep(0.5)
    template = fleet.object["spec"]["template"]
    node_type = template["spec"]["infrastructureRef"]["name"]
    labels = passed_on((template.get("metadata") or {}).get("labels") or {})
    node = machine_node(machine.name, node_type, f"{REGION}a", labels, tainted=False)
    await join(api, node, machine.due.node)
    note(bill, fleet.name, machine.name, "ready")
    await _say(api, fleet, machine, "Running", "")
    await _report(api, fleet)
    if count := gpus_of(node_type):
        await give_gpus(api, machine.name, count, machine.due.gpu)
        note(bill, fleet.name, machine.name, "gpu")


async def _say(api: Api, fleet: Fleet, machine: Machine, phase: str, waiting: str) -> None:
    """Write a Machine's status; `waiting` is what the infrastructure says while there is no node."""
    condition = {
        "type": "InfrastructureReady",
        "status": "False" if waiting else "True",
        "reason": "NotReady" if waiting else "Ready",
        "message": waiting,
        "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    status: Json = {"phase": phase, "conditions": [condition]}
    if not waiting:
        status["nodeRef"] = {"name": machine.name}
    await api.patch(f"{fleet.path}/{machine.name}/status", {"status": status}, content=MERGE)


async def _shrink(api: Api, bill: Path, fleet: Fleet, replicas: int) -> None:
    """Take machines until `replicas` are left: marked ones first, the others in no order that one could rely on."""
    surplus = len(fleet.machines) - replicas
    if surplus <= 0:
        return
    selector = f"{DEPLOYMENT_NAME}={fleet.name}"
    listed = (await api.request("GET", fleet.path, labelSelector=selector))["items"]
    marked = {
        each["metadata"]["name"] for each in listed if DELETE_MACHINE in (each["metadata"].get("annotations") or {})
    }
    order = sorted(fleet.machines, key=lambda machine: machine.name)
    random.Random(f"{SEED}/{fleet.name}/{fleet.ordered}").shuffle(order)  # noqa: S311
    order.sort(key=lambda machine: machine.name not in marked)
    for machine in order[:surplus]:
        fleet.machines.remove(machine)
        await end(machine.life)
        await remove_node(api, machine.name)
        await api.delete(f"{fleet.path}/{machine.name}")
        note(bill, fleet.name, machine.name, "returned")


async def _report(api: Api, fleet: Fleet) -> None:
    meta, running = fleet.object["metadata"], sum(machine.life is not None for machine in fleet.machines)
    path = f"{ROOT}/namespaces/{meta['namespace']}/machinedeployments/{meta['name']}/status"
    status = {"replicas": running, "selector": f"{DEPLOYMENT_NAME}={meta['name']}"}
    current = fleet.object.get("status") or {}
    if {key: current.get(key) for key in status} == status:
        return
    try:
        fleet.object = await api.patch(path, {"status": status}, content=MERGE)
    except ApiError as error:
        if error.status != 404:
            raise
