"""How many placeholder pods stand in for pods that are to come, where nodes are bought by pods that find none.

A placeholder asks for one GPU at the lowest priority that still makes an autoscaler buy a node; a real pod takes its
place at once (facts/scaling.md A4).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from visio_operator.api.spec import VisioDeploymentSpec

from .observed import CaptionsServer, Observed, TranscriptionWorker
from .plan import NodeMark, PoolPlan


def with_placeholders(
    pools: tuple[PoolPlan, ...],
    spec: VisioDeploymentSpec,
    observed: Observed,
    replicas: Mapping[str, int],
    marks: tuple[NodeMark, ...],
) -> tuple[PoolPlan, ...]:
    """The pools, those of autoscalers with their number of placeholders.

    `replicas` are the new sizes of the GPU parts, `marks` what becomes of nodes by the same plan: what it closes takes
    no placeholder, and what it opens takes one once it is open.
    """
    closing = {mark.node for mark in marks if mark.cordon}
    return tuple(
        replace(pool, placeholders=_placeholders(pool, spec, observed, replicas, closing))
        if _by_pods(pool, observed)
        else pool
        for pool in pools
    )


def _by_pods(pool: PoolPlan, observed: Observed) -> bool:
    found = observed.pools.get(pool.name)
    return found is not None and found.placeholders is not None


def _placeholders(
    pool: PoolPlan,
    spec: VisioDeploymentSpec,
    observed: Observed,
    replicas: Mapping[str, int],
    closing: set[str],
) -> int:
    """Nodes that shall be there less those that something else stands on, or that nothing can be put on.

    A closed node without our pods counts as taken: a placeholder for it would find no place, and one more would be
    bought. Of the closed ones, those beyond the pool's size are on their way out and count for nothing.
    """
    nodes = [node for node in observed.nodes if node.pool == pool.name]
    names = {node.name for node in nodes}
    pods = {
        part: live
        for part, name, live in (
            ("captions", spec.captions.pool, observed.captions),
            ("transcription", spec.transcription.pool, observed.transcribers),
        )
        if name == pool.name
    }
    held = sum(_held(part, live, names, observed, replicas) for part, live in pods.items())
    busy = {pod.node for live in pods.values() for pod in live}
    closed = sum((node.cordoned or node.name in closing) and node.name not in busy for node in nodes)
    leaving = max(0, len(nodes) - pool.desired)
    return max(0, pool.desired - held - max(0, closed - leaving))


def _held(
    part: str,
    pods: tuple[CaptionsServer, ...] | tuple[TranscriptionWorker, ...],
    nodes: set[str],
    observed: Observed,
    replicas: Mapping[str, int],
) -> int:
    """GPUs that the pods of a part hold or ask for; one on its way out holds its GPU to the end."""
    workload = observed.workloads.get(part)
    asked = max(workload.desired if workload else 0, replicas.get(part, 0), sum(not pod.terminating for pod in pods))
    return asked + sum(pod.terminating and pod.node in nodes for pod in pods)
