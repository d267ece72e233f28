"""What the adapters of all providers of GPU nodes have in common. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool
from visio_operator.plan.plan import PoolPlan
from visio_operator.workloads.common import POOL_LABEL

from .projections import OWNER, annotations_of, seconds

Body = Mapping[str, Any]
Patch = dict[str, Any]


@dataclass(frozen=True)
class Seen:
    """What one pass read of one pool."""

    body: Body | None = None
    """The provider's pool object."""
    machines: tuple[Body, ...] = ()
    """The machines of the pool, where the provider shows them."""
    problem: str = ""
    """Why the pool object could not be looked up."""
    nodes: tuple[Body, ...] = ()
    """Nodes with the pool's label."""
    pods: tuple[Body, ...] = ()
    """Our GPU pods that run on the pool's nodes or ask for one."""
    asked: int = 0
    """GPU pods on the pool's nodes that our Deployments ask for."""
    placeholders: Body | None = None
    """The Deployment of placeholder pods."""


@dataclass(frozen=True)
class Write:
    """One merge patch of one object."""

    kind: str
    name: str
    namespace: str | None
    patch: Patch


def nothing_besides(owner: str, plan: PoolPlan, seen: Seen) -> Iterable[Write]:
    """No writes besides that of the pool object."""
    del owner, plan, seen
    return ()


@dataclass(frozen=True)
class Adapter:
    """How the pools of one provider are read and written."""

    kind: str
    """The pool object, by its name in the table of kinds; empty where there is none."""
    read: Callable[[GpuPool, Seen], Pool]
    """What the plan has to know of a pool."""
    patch: Callable[[str, PoolPlan, Pool], Patch]
    """The patch of the pool object by which it says what the plan says and whose it is; empty when it does already."""
    return_patch: Callable[[Body], Patch]
    """The patch that gives a pool back: no nodes wanted, our annotation off."""
    machine_kind: str = ""
    """The machines of a pool, where they are shown and can be marked."""
    besides: Callable[[str, PoolPlan, Seen], Iterable[Write]] = nothing_besides
    """Writes of other objects than the pool's own."""


def not_found(pool: GpuPool, problem: str = "") -> Pool:
    """A pool that is not there, or not fit to be sized; without a problem there simply is no such object."""
    return Pool(name=pool.name, found=False, error=problem)


def owner_annotation(owner: str | None) -> Patch:
    """The part of a patch that says whose a pool is; None takes it off."""
    return {"metadata": {"annotations": {OWNER: owner}}}


def owner_of(body: Body) -> str:
    """Who sizes a pool; empty when nobody does."""
    return annotations_of(body).get(OWNER, "")


def without_label(pool: GpuPool, body: Body, kind: str) -> str:
    """What is wrong with a pool whose template does not give our label to its nodes; empty when nothing is.

    The label is also the consent of whoever owns the pool: without it none is ever sized.
    """
    template = ((body.get("spec") or {}).get("template") or {}).get("metadata") or {}
    if (template.get("labels") or {}).get(POOL_LABEL) == pool.name:
        return ""
    return f"{kind} {pool.name} does not say {POOL_LABEL}: {pool.name} in spec.template.metadata.labels"


def failures(body: Body, conditions: Iterable[str]) -> list[str]:
    """The messages of those conditions of an object that are False."""
    found = {entry.get("type"): entry for entry in (body.get("status") or {}).get("conditions") or ()}
    return [
        str(found[kind].get("message") or found[kind].get("reason") or kind)
        for kind in conditions
        if kind in found and found[kind].get("status") == "False"
    ]


def told_at(text: object) -> float:
    """A time that somebody else wrote as unix seconds; 0 when it is none."""
    try:
        return seconds(str(text)) if text else 0.0
    except ValueError:
        return 0.0
