"""cluster-autoscaler, and Karpenter's dynamic NodePools: nodes follow pods (facts/scaling.md A3, A4). Pure.

Placeholder pods order nodes. What was ordered stands in an annotation of their Deployment, since nodes with
placeholders, with real pods and without either are all part of it. An autoscaler takes a closed node when it likes:
what was ordered and is neither held nor asked for any more has been taken back.
"""

from __future__ import annotations

from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool
from visio_operator.plan.plan import PoolPlan
from visio_operator.workloads.placeholders import NODES

from .pool_adapter import Adapter, Body, Patch, Seen
from .projections import annotations_of, terminating


def read(pool: GpuPool, seen: Seen) -> Pool:
    """A pool that is there as soon as its nodes can be bought.

    An autoscaler takes no node with a pod that forbids it, as ours do. So closed nodes without such pods are those
    that go: nothing new can come to them.
    """
    busy = {(pod.get("spec") or {}).get("nodeName") for pod in seen.pods}
    closed = {
        node["metadata"]["name"]
        for node in seen.nodes
        if (node.get("spec") or {}).get("unschedulable") and node["metadata"]["name"] not in busy
    }
    deployment = seen.placeholders or {"metadata": {}}
    placeholders = int((deployment.get("spec") or {}).get("replicas") or 0)
    there = placeholders + _held(seen) + len(closed)
    ordered = annotations_of(deployment).get(NODES, "")
    return Pool(
        name=pool.name,
        found=True,
        desired=min(int(ordered), there) if ordered.isdigit() else there,
        maximum=pool.max,
        obeys_marks=True,
        marked=frozenset(closed),
        placeholders=placeholders,
    )


def _held(seen: Seen) -> int:
    """GPUs that real pods hold or ask for; one on its way out holds its GPU to the end."""
    going = [bool((pod.get("spec") or {}).get("nodeName")) for pod in seen.pods if terminating(pod)]
    return max(seen.asked, sum(not terminating(pod) for pod in seen.pods)) + sum(going)


def patch(owner: str, plan: PoolPlan, pool: Pool) -> Patch:
    """Nothing: the number of placeholders is in the manifest of their Deployment."""
    del owner, plan, pool
    return {}


def return_patch(body: Body) -> Patch:
    """Nothing: the placeholders end with their deployment."""
    del body
    return {}


PLACEHOLDER = Adapter(kind="", read=read, patch=patch, return_patch=return_patch)
