"""Node pools that nobody sizes any more are given back: their deployment is gone, or its spec no longer names them."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

from visio_operator.api.spec import KIND
from visio_operator.plan.order import GPU_PARTS
from visio_operator.workloads.common import DEPLOYMENT_LABEL, POOL_LABEL

from . import log, pools
from .kube import Kube, KubeError
from .pool_adapter import Body
from .pools import PoolRef
from .projections import PART_LABEL

EVERY = 300.0


async def give_back(kube: Kube, owner: str) -> None:
    """Return the pools of one deployment (namespace/name) that is being deleted; the sweep does what fails here."""
    try:
        for ref, (of, body) in (await pools.owned(kube)).items():
            if of == owner:
                await _return(kube, ref, owner, body)
    except KubeError as error:
        log.warning("could not give node pools back yet", deployment=owner, error=error.message)


async def sweep(kube: Kube, namespaces: tuple[str, ...], woken: asyncio.Event) -> None:
    """For ever, every five minutes and when woken: return what a deployment left that ended while no operator ran.

    Only owners in `namespaces` are judged; none given means all.
    """
    while True:
        woken.clear()
        try:
            # Pools first: an owner that is written there exists by then, so the later list knows it.
            owned = await pools.owned(kube)
            alive = await _named_pools(kube, namespaces)
            for ref, (owner, body) in owned.items():
                if not namespaces or owner.partition("/")[0] in namespaces:
                    await _judge(kube, ref, owner, body, alive)
        except KubeError as error:
            log.warning("could not look for node pools without an owner", error=error.message)
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY):
                await woken.wait()


async def _judge(kube: Kube, ref: PoolRef, owner: str, body: Body, alive: Mapping[str, frozenset[PoolRef]]) -> None:
    named = alive.get(owner)
    if named is not None and (ref in named or await _serves_sessions(kube, ref.name, owner)):
        return
    await _return(kube, ref, owner, body)


async def _serves_sessions(kube: Kube, pool: str, owner: str) -> bool:
    """Whether GPU pods of the owner are still on nodes of a pool that its spec no longer names: they end first."""
    namespace, _, deployment = owner.partition("/")
    selector = f"{DEPLOYMENT_LABEL}={deployment},{PART_LABEL} in ({','.join(sorted(GPU_PARTS))})"
    nodes, pods = await asyncio.gather(
        kube.list("Node", selector=f"{POOL_LABEL}={pool}"), kube.list("Pod", namespace=namespace, selector=selector)
    )
    names = {node["metadata"]["name"] for node in nodes}
    return any((pod.get("spec") or {}).get("nodeName") in names for pod in pods)


async def _named_pools(kube: Kube, namespaces: tuple[str, ...]) -> dict[str, frozenset[PoolRef]]:
    """The pools that each living deployment names."""
    lists = await asyncio.gather(*(kube.list(KIND, namespace=namespace) for namespace in namespaces or (None,)))
    return {
        f"{body['metadata']['namespace']}/{body['metadata']['name']}": frozenset(
            pools.ref_of(pool["provider"], pool.get("name", ""), pool.get("namespace"), body["metadata"]["namespace"])
            for pool in (body.get("spec") or {}).get("gpuPools") or ()
            if pool.get("provider") in pools.ADAPTERS
        )
        for bodies in lists
        for body in bodies
        if not body["metadata"].get("deletionTimestamp")
    }


async def _return(kube: Kube, ref: PoolRef, owner: str, body: Body) -> None:
    await pools.give_back(kube, ref, body)
    log.info("gave a node pool back", pool=ref.name, provider=ref.provider, deployment=owner)
