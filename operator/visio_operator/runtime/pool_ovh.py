"""OVHcloud MKS: NodePool of `kube.cloud.ovh.com/v1alpha1` (facts/scaling.md A5). Pure.

Its sizes are those of OKS; what differs is the switch of its autoscaler, the label in the template, and that the
object never says why a node does not come.
"""

from __future__ import annotations

from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool

from .pool_adapter import Adapter, Seen, not_found, owner_of, without_label
from .pool_oks import patch, return_patch


def read(pool: GpuPool, seen: Seen) -> Pool:
    """A NodePool; machines that are wanted and not available are on their way."""
    if seen.body is None:
        return not_found(pool, seen.problem)
    if problem := without_label(pool, seen.body, "NodePool"):
        return not_found(pool, problem)
    spec, status = seen.body.get("spec") or {}, seen.body.get("status") or {}
    desired = int(spec.get("desiredNodes") or 0)
    return Pool(
        name=pool.name,
        found=True,
        desired=desired,
        minimum=int(spec.get("minNodes") or 0),
        maximum=int(spec.get("maxNodes") or 0),
        autoscaling=bool(spec.get("autoscale")),
        owner=owner_of(seen.body),
        joining=max(0, desired - int(status.get("availableNodes") or 0)),
    )


OVH = Adapter(kind="OvhNodePool", read=read, patch=patch, return_patch=return_patch)
