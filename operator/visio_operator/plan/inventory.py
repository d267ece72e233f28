"""GPU nodes by pool and the pods of GPU parts on them, sorted once for a whole decision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .observed import GpuNode, Observed


@dataclass(frozen=True)
class GpuPod:
    """A pod of a GPU part, in what matters to its node."""

    pod: str
    part: str
    node: str
    terminating: bool
    over: bool = False
    """It was out of service before it went and carries nothing any more, so that it may go with its node."""


@dataclass(frozen=True)
class Inventory:
    """What there is. Nodes and pods are by the pool that they belong to."""

    nodes: Mapping[str, Sequence[GpuNode]]
    placed: Mapping[str, Sequence[GpuPod]]
    """Pods on nodes of a pool, those on their way out too."""
    unplaced: Sequence[GpuPod]
    """Pods without a node."""

    def nodes_of(self, pool: str) -> Sequence[GpuNode]:
        """The nodes of a pool."""
        return self.nodes.get(pool, ())

    def pods_of(self, pool: str) -> Sequence[GpuPod]:
        """The pods on the nodes of a pool."""
        return self.placed.get(pool, ())


def take_inventory(observed: Observed) -> Inventory:
    """Sort what was seen."""
    nodes: dict[str, list[GpuNode]] = {}
    for node in observed.nodes:
        nodes.setdefault(node.pool, []).append(node)
    pool_of = {node.name: node.pool for node in observed.nodes}
    placed: dict[str, list[GpuPod]] = {}
    unplaced = []
    for pod in _pods(observed):
        if not pod.node:
            unplaced.append(pod)
        elif (pool := pool_of.get(pod.node)) is not None:
            placed.setdefault(pool, []).append(pod)
    return Inventory(nodes, placed, unplaced)


def _pods(observed: Observed) -> list[GpuPod]:
    # One that somebody else deleted may get streams until all proxies know; one that we emptied has been closed before.
    servers = [
        GpuPod(s.pod, "captions", s.node, s.terminating, over=s.terminating and not s.serving and s.used == 0)
        for s in observed.captions
    ]
    return [*servers, *(GpuPod(w.pod, "transcription", w.node, w.terminating) for w in observed.transcribers)]
