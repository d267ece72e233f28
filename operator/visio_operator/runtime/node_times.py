"""The nodes of the pools, with when each GPU was first seen: no object says since when a GPU can be allocated."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from visio_operator.plan.observed import GpuNode

from .memory import Memory
from .projections import gpu_node


def gpu_nodes(nodes: Iterable[Mapping[str, Any]], memory: Memory, now: float) -> tuple[GpuNode, ...]:
    """The nodes as records. A GPU that was there at the first look of this process came at an unknown time."""
    before, seen = memory.gpus_seen, {}
    records = []
    for node in nodes:
        name, has_gpu = node["metadata"]["name"], gpu_node(node).gpus > 0
        at = before.get(name) if before is not None else 0.0 if has_gpu else None
        seen[name] = now if at is None and has_gpu else at
        records.append(gpu_node(node, seen[name] or 0.0))
    memory.gpus_seen = seen
    return tuple(records)
