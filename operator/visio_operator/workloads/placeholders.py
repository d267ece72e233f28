"""Placeholder pods: each asks for a GPU until a real pod comes, so that an autoscaler buys its node ahead of time."""

from __future__ import annotations

from visio_operator.api.spec import GROUP
from visio_operator.plan.plan import Plan, PoolPlan, Release

from .common import LONGEST_NAME, Manifest, Site, digest, object_name
from .containers import GPU, PLAIN, amounts, container
from .pods import Pod, deployment, service_account

NODES = f"{GROUP}/nodes"
"""Annotation of a Deployment of placeholders: how many nodes its pool shall have, those of real pods included."""
PRIORITY_CLASS = "visio-operator-placeholder"
"""Comes with the operator's chart: below every real pod, and not so low that autoscalers pass over it."""


def placeholders(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """One Deployment for each pool whose nodes follow pods."""
    return [
        manifest for pool in plan.pools if pool.placeholders is not None for manifest in _of_pool(site, pool, release)
    ]


def deployment_name(site: Site, pool: str) -> str:
    """The name of the Deployment of a pool's placeholders."""
    return object_name(site, _part(site, pool))


def _part(site: Site, pool: str) -> str:
    """A component of its own for each pool, since selectors of two Deployments must not meet."""
    part = f"placeholder-{pool}"
    return part if len(f"{site.name}-{part}") <= LONGEST_NAME else f"placeholder-{digest(pool, 8)}"


def _of_pool(site: Site, pool: PoolPlan, release: Release) -> list[Manifest]:
    part = _part(site, pool.name)
    pause = container(
        "placeholder",
        release.images["operator"],
        command=["sleep", "infinity"],
        resources=amounts({"cpu": "1m", "memory": "8Mi"}, {"memory": "16Mi", GPU: "1"}),
    )
    pod = Pod(
        part,
        PLAIN,
        0,
        (pause,),
        pool=pool.name,
        placed_like=_user(site, pool.name),
        priority_class=PRIORITY_CLASS,
    )
    made = deployment(site, pod, pool.placeholders or 0, surge=0)
    made["metadata"]["annotations"] = {NODES: str(pool.desired)}
    return [service_account(site, part), made]


def _user(site: Site, pool: str) -> str:
    """The part whose pods the placeholders stand in for; captions first where two share a pool."""
    spec = site.spec
    return "captions" if spec.captions.enabled and spec.captions.pool == pool else "transcription"
