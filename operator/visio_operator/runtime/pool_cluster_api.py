"""Cluster API: MachineDeployment of `cluster.x-k8s.io/v1beta2` and its Machines (facts/scaling.md A2). Pure.

A Machine with the annotation `cluster.x-k8s.io/delete-machine` goes first when replicas are lowered. Labels of a
Machine reach its node in three domains only, and ours is none of them, so the operator puts the pool's label on the
nodes itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool
from visio_operator.plan.plan import PoolPlan
from visio_operator.plan.pool_errors import is_failure
from visio_operator.workloads.common import POOL_LABEL

from .pool_adapter import (
    Adapter,
    Body,
    Patch,
    Seen,
    Write,
    failures,
    not_found,
    owner_annotation,
    owner_of,
    without_label,
)
from .projections import annotations_of, terminating

DELETE_MACHINE = "cluster.x-k8s.io/delete-machine"
DEPLOYMENT_NAME = "cluster.x-k8s.io/deployment-name"
"""Label of Machines: the MachineDeployment that they belong to."""
_AUTOSCALED = tuple(f"cluster.x-k8s.io/cluster-api-autoscaler-node-group-{size}-size" for size in ("min", "max"))
"""With both annotations cluster-autoscaler sizes the MachineDeployment."""
_PAUSED = "cluster.x-k8s.io/paused"
_CONDITIONS = ("BootstrapConfigReady", "InfrastructureReady", "NodeReady", "Ready")
"""Of a Machine; InfrastructureReady repeats what the infrastructure's own object says, such as an OscMachine."""


def read(pool: GpuPool, seen: Seen) -> Pool:
    """A MachineDeployment with its Machines.

    A Machine that carries somebody else's delete mark would go before those that we mark: then none of ours is relied
    on.
    """
    if seen.body is None:
        return not_found(pool, seen.problem)
    if problem := without_label(pool, seen.body, "MachineDeployment"):
        return not_found(pool, problem)
    spec, annotations = seen.body.get("spec") or {}, annotations_of(seen.body)
    owner = owner_of(seen.body)
    marked = [machine for machine in seen.machines if _mark(machine) is not None]
    ours = [machine for machine in marked if _mark(machine) == owner]
    paused = bool(spec.get("paused")) or _PAUSED in annotations
    return Pool(
        name=pool.name,
        found=True,
        desired=int(spec.get("replicas") or 0),
        autoscaling=all(size in annotations for size in _AUTOSCALED),
        error=f"MachineDeployment {pool.name} is paused" if paused else _error(seen.machines),
        owner=owner,
        obeys_marks=len(ours) == len(marked),
        marked=frozenset(filter(None, map(_node, ours))),
        joining=sum(not _node(machine) and not terminating(machine) for machine in seen.machines),
    )


def patch(owner: str, plan: PoolPlan, pool: Pool) -> Patch:
    """Replicas and whose it is; its bounds are the plan's alone, since a MachineDeployment has none."""
    if (pool.desired, pool.owner) == (plan.desired, owner):
        return {}
    return {**owner_annotation(owner), "spec": {"replicas": plan.desired}}


def return_patch(body: Body) -> Patch:
    """No nodes wanted."""
    del body
    return {**owner_annotation(None), "spec": {"replicas": 0}}


def besides(owner: str, plan: PoolPlan, seen: Seen) -> Iterator[Write]:
    """Delete marks on the Machines of the victims and on no others of ours, and the pool's label on their nodes."""
    labelled = {node["metadata"]["name"] for node in seen.nodes}
    for machine in seen.machines:
        meta, node, mark = machine["metadata"], _node(machine), _mark(machine)
        wanted = bool(node) and node in plan.victims
        if wanted != (mark is not None) and (wanted or mark == owner):
            change = {"metadata": {"annotations": {DELETE_MACHINE: owner if wanted else None}}}
            yield Write("Machine", meta["name"], meta["namespace"], change)
        if node and node not in labelled and not terminating(machine):
            yield Write("Node", node, None, {"metadata": {"labels": {POOL_LABEL: plan.name}}})


def _node(machine: Body) -> str:
    return str(((machine.get("status") or {}).get("nodeRef") or {}).get("name") or "")


def _mark(machine: Body) -> str | None:
    return annotations_of(machine).get(DELETE_MACHINE)


def _error(machines: tuple[Body, ...]) -> str:
    """Why a Machine does not become a node: what it says itself, and not that it is on its way."""
    for machine in machines:
        failed = (machine.get("status") or {}).get("phase") == "Failed"
        if _node(machine) and not failed:
            continue
        said = failures(machine, _CONDITIONS)
        told = next((text for text in said if is_failure(text)), "")
        if told or failed:
            return f"Machine {machine['metadata']['name']}: {told or next(iter(said), 'it has failed')}"
    return ""


CLUSTER_API = Adapter(
    kind="MachineDeployment",
    read=read,
    patch=patch,
    return_patch=return_patch,
    machine_kind="Machine",
    besides=besides,
)
