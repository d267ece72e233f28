"""Readable worlds with GPU nodes and captions servers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plan_world import LADDER, NOW, a_healthy_world, a_spec, with_captions

from visio_operator.plan.decide import decide
from visio_operator.plan.observed import CaptionsServer, GpuNode, Observed, Pool

LONG_AGO = NOW - 3600
HELD = {"captions.less": LONG_AGO, "pool.l40.less": LONG_AGO}


def a_server(name: str, used: int | None = 0, **changes: Any) -> CaptionsServer:
    server = CaptionsServer(
        pod=name, node=f"node-{name}", ready=True, serving=True, used=used, total=10, read_at=NOW - 5, created=LONG_AGO
    )
    return replace(server, **changes)


def a_node(name: str, **changes: Any) -> GpuNode:
    return replace(GpuNode(name, "l40", ready=True, gpus=1, cordoned=False, created=LONG_AGO), **changes)


def a_pool(desired: int, **changes: Any) -> Pool:
    return replace(Pool("l40", True, desired, 0, 4, owner="visio/main"), **changes)


def a_world(
    *servers: CaptionsServer, replicas: int | None = None, desired: int | None = None, **changes: Any
) -> Observed:
    """Servers on nodes of their own, all of them ordered by us."""
    world = a_healthy_world(a_spec(**with_captions()))
    count = len(servers) if replicas is None else replicas
    workload = replace(world.workloads["captions"], desired=count, ready=sum(s.ready for s in servers))
    nodes = changes.pop("nodes", tuple(a_node(s.node) for s in servers if s.node))
    changes.setdefault("pools", {"l40": a_pool(len(nodes) if desired is None else desired)})
    return replace(world, workloads={**world.workloads, "captions": workload}, captions=servers, nodes=nodes, **changes)


def decided(world: Observed, **captions: Any) -> Any:
    return decide(a_spec(**with_captions(**captions)), world, NOW, LADDER)


def drained(*pods: str) -> dict[str, float]:
    return {f"drain.{pod}": LONG_AGO for pod in pods}
