"""Karpenter: NodePool of `karpenter.sh/v1`, static or dynamic (facts/scaling.md A3). Pure.

A static NodePool has `spec.replicas`, a choice that its object keeps for ever; a dynamic one follows pods.
"""

from __future__ import annotations

from dataclasses import replace

from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool
from visio_operator.plan.plan import PoolPlan

from . import pool_placeholder
from .pool_adapter import (
    Adapter,
    Body,
    Patch,
    Seen,
    failures,
    not_found,
    owner_annotation,
    owner_of,
    without_label,
)

_CONDITIONS = ("ValidationSucceeded", "NodeClassReady", "NodeRegistrationHealthy", "Ready")


def read(pool: GpuPool, seen: Seen) -> Pool:
    """A NodePool; which of its conditions is False is told as an error."""
    if seen.body is None:
        return not_found(pool, seen.problem)
    if problem := without_label(pool, seen.body, "NodePool"):
        return not_found(pool, problem)
    error = next(iter(failures(seen.body, _CONDITIONS)), "")
    owner = owner_of(seen.body)
    if not _is_static(seen.body):
        return replace(pool_placeholder.read(pool, seen), error=error, owner=owner)
    desired = int(seen.body["spec"]["replicas"] or 0)
    return Pool(name=pool.name, found=True, desired=desired, error=error, owner=owner)


def patch(owner: str, plan: PoolPlan, pool: Pool) -> Patch:
    """Replicas of a static NodePool; of a dynamic one only whose it is."""
    if plan.placeholders is not None:
        return {} if pool.owner == owner else owner_annotation(owner)
    if (pool.desired, pool.owner) == (plan.desired, owner):
        return {}
    return {**owner_annotation(owner), "spec": {"replicas": plan.desired}}


def return_patch(body: Body) -> Patch:
    """No nodes wanted of a static NodePool."""
    return {**owner_annotation(None), **({"spec": {"replicas": 0}} if _is_static(body) else {})}


def _is_static(body: Body) -> bool:
    return (body.get("spec") or {}).get("replicas") is not None


KARPENTER = Adapter(kind="KarpenterNodePool", read=read, patch=patch, return_patch=return_patch)
