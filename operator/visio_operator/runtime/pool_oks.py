"""Outscale OKS: NodePool of `oks.dev/v1beta2` (facts/scaling.md A1). Pure."""

from __future__ import annotations

from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool
from visio_operator.plan.plan import PoolPlan

from .pool_adapter import Adapter, Body, Patch, Seen, not_found, owner_annotation, owner_of, told_at

_JOINING = ("pending", "running", "attached")
"""Counters of status.progress for machines that are no node with a GPU yet."""


def read(pool: GpuPool, seen: Seen) -> Pool:
    """A NodePool; its last error is reported as the provider wrote it."""
    if seen.body is None:
        return not_found(pool, seen.problem)
    spec, status = seen.body.get("spec") or {}, seen.body.get("status") or {}
    progress = status.get("progress") or {}
    return Pool(
        name=pool.name,
        found=True,
        desired=int(spec.get("desiredNodes") or 0),
        minimum=int(spec.get("minNodes") or 0),
        maximum=int(spec.get("maxNodes") or 0),
        autoscaling=bool(spec.get("autoscaling")),
        error=str((status.get("last_error") or {}).get("message") or ""),
        error_at=told_at((status.get("last_error") or {}).get("posted")),
        owner=owner_of(seen.body),
        joining=sum(int(progress.get(step) or 0) for step in _JOINING),
    )


def patch(owner: str, plan: PoolPlan, pool: Pool) -> Patch:
    """One patch for all three sizes, since the provider's admission compares them with each other."""
    if (pool.desired, pool.minimum, pool.maximum, pool.owner) == (plan.desired, plan.minimum, plan.maximum, owner):
        return {}
    sizes = {"desiredNodes": plan.desired, "minNodes": plan.minimum, "maxNodes": plan.maximum}
    return {**owner_annotation(owner), "spec": sizes}


def return_patch(body: Body) -> Patch:
    """No nodes wanted; the largest size stays as it was."""
    del body
    return {**owner_annotation(None), "spec": {"desiredNodes": 0, "minNodes": 0}}


OKS = Adapter(kind="NodePool", read=read, patch=patch, return_patch=return_patch)
