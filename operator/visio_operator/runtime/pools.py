"""The pools of GPU nodes of all providers: one table of adapters, and what reads and writes through it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool
from visio_operator.plan.plan import PoolPlan
from visio_operator.plan.providers import PROVIDERS
from visio_operator.workloads.common import POOL_LABEL, Site, object_name
from visio_operator.workloads.placeholders import deployment_name

from .kinds import BY_NAME
from .kube import Kube, KubeError
from .pool_adapter import Adapter, Body, Seen, Write, owner_of
from .pool_cluster_api import CLUSTER_API, DEPLOYMENT_NAME
from .pool_karpenter import KARPENTER
from .pool_oks import OKS
from .pool_ovh import OVH
from .pool_placeholder import PLACEHOLDER
from .projections import labels_of

ADAPTERS: dict[str, Adapter] = {
    "oks": OKS,
    "clusterAPI": CLUSTER_API,
    "ovh": OVH,
    "karpenter": KARPENTER,
    "clusterAutoscaler": PLACEHOLDER,
}
"""By `provider` in spec.gpuPools; `none` is not in it."""


@dataclass(frozen=True)
class PoolRef:
    """A pool object by place."""

    provider: str
    name: str
    namespace: str | None = None


def ref_of(provider: str, name: str, named: str | None, own: str) -> PoolRef:
    """Where the object of a pool is: `named` is its namespace in the spec, `own` that of the deployment."""
    kind = ADAPTERS[provider].kind
    return PoolRef(provider, name, (named or own) if kind and BY_NAME[kind].namespaced else None)


async def look_up(kube: Kube, site: Site) -> dict[str, Seen]:
    """The pool objects and machines of the pools that have a provider. Raises KubeError."""
    pools = [pool for pool in site.spec.gpu_pools if pool.provider in ADAPTERS]
    found = await asyncio.gather(*(_look_up(kube, site, pool) for pool in pools))
    return {pool.name: seen for pool, seen in zip(pools, found, strict=True)}


async def _look_up(kube: Kube, site: Site, pool: GpuPool) -> Seen:
    adapter = ADAPTERS[pool.provider]
    if not adapter.kind:
        return Seen()
    resource = PROVIDERS[pool.provider].resource
    try:
        if not await kube.serves(adapter.kind) and not await kube.serves(adapter.kind, refresh=True):
            return Seen(problem=f"the CRD {resource} is not installed in this cluster")
        ref = ref_of(pool.provider, pool.name, pool.namespace, site.namespace)
        body = await kube.get(adapter.kind, pool.name, ref.namespace)
        if body is None or not adapter.machine_kind:
            return Seen(body=body)
        selector = f"{DEPLOYMENT_NAME}={pool.name}"
        machines = await kube.list(adapter.machine_kind, namespace=ref.namespace, selector=selector)
    except KubeError as error:
        if error.status != 403:
            raise
        value = f"poolProviders of the operator's chart does not name {pool.provider}"
        return Seen(problem=f"the operator has no rights on {resource}: {value}")
    return Seen(body=body, machines=tuple(machines))


def with_cluster(
    seen: Mapping[str, Seen],
    site: Site,
    live: Mapping[tuple[str, str], Body],
    pods: Mapping[str, Body],
    nodes: Mapping[str, Body],
) -> dict[str, Seen]:
    """What was read of the pools, with their nodes, our pods and placeholders."""
    return {
        name: replace(
            one,
            nodes=tuple(node for node in nodes.values() if labels_of(node).get(POOL_LABEL) == name),
            pods=tuple(pod for pod in pods.values() if _pool_of(pod) == name),
            asked=sum(_replicas(site, part, live) for part in _users(site, name)),
            placeholders=live.get(("Deployment", deployment_name(site, name))),
        )
        for name, one in seen.items()
    }


def _users(site: Site, pool: str) -> list[str]:
    """The GPU parts whose pods run on a pool."""
    spec = site.spec
    named = (("captions", spec.captions.pool), ("transcription", spec.transcription.pool))
    return [part for part, name in named if name == pool]


def _replicas(site: Site, part: str, live: Mapping[tuple[str, str], Body]) -> int:
    deployment = live.get(("Deployment", object_name(site, part))) or {}
    return int((deployment.get("spec") or {}).get("replicas") or 0)


def _pool_of(pod: Body) -> str | None:
    selector: Mapping[str, str] = (pod.get("spec") or {}).get("nodeSelector") or {}
    return selector.get(POOL_LABEL)


def read(site: Site, seen: Mapping[str, Seen]) -> dict[str, Pool]:
    """The pools as the plan sees them."""
    return {
        pool.name: ADAPTERS[pool.provider].read(pool, seen[pool.name])
        for pool in site.spec.gpu_pools
        if pool.name in seen
    }


def writes(owner: str, site: Site, plan: PoolPlan, pool: Pool | None, seen: Seen | None) -> Iterator[Write]:
    """What has to be written so that a pool is what the plan says; nothing when it is, or is not there."""
    if pool is None or not pool.found or seen is None:
        return
    adapter = ADAPTERS[plan.provider]
    named = next((one.namespace for one in site.spec.gpu_pools if one.name == plan.name), None)
    ref = ref_of(plan.provider, plan.name, named, site.namespace)
    yield from adapter.besides(owner, plan, seen)
    if patch := adapter.patch(owner, plan, pool):
        yield Write(adapter.kind, plan.name, ref.namespace, patch)


async def owned(kube: Kube) -> dict[PoolRef, tuple[str, Body]]:
    """All pool objects that somebody of ours sizes, with their owner (namespace/name). Raises KubeError.

    Those of a provider whose CRD is not installed, or that the operator has no rights on, cannot be ours.
    """
    found: dict[PoolRef, tuple[str, Body]] = {}
    for provider, adapter in ADAPTERS.items():
        for body in await _all(kube, adapter.kind):
            if owner := owner_of(body):
                meta: dict[str, Any] = body["metadata"]
                found[PoolRef(provider, meta["name"], meta.get("namespace"))] = (owner, body)
    return found


async def _all(kube: Kube, kind: str) -> list[dict[str, Any]]:
    if not kind or not await kube.serves(kind):
        return []
    try:
        return await kube.list(kind)
    except KubeError as error:
        if error.status not in (403, 404):
            raise
        return []


async def give_back(kube: Kube, ref: PoolRef, body: Body) -> None:
    """Return one pool. Raises KubeError."""
    adapter = ADAPTERS[ref.provider]
    await kube.merge(adapter.kind, ref.name, ref.namespace, adapter.return_patch(body))
