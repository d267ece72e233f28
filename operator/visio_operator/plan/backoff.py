"""When a provider that does not deliver is asked for more again, and when its silence is said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from visio_operator.api.parts import GpuPool

from .observed import GpuNode, Observed, Pool
from .pace import Pace

LONGEST = 6.0
"""Times `pace.hold` between two tries at most: from 5 to 30 minutes on a real cloud (facts/scaling.md D13). For as long
a provider may say nothing.
"""


@dataclass(frozen=True)
class BackOff:
    """Whether nothing more is ordered from a pool for now, and what to remember."""

    blocked: bool
    memory: Mapping[str, float]
    stuck: int = 0
    """Nodes without a GPU, or none at all, for so long that something is wrong, though the provider tells nothing."""


def raised_at(pool: GpuPool) -> str:
    """The memory of when more was last ordered."""
    return f"pool.{pool.name}.raisedAt"


def back_off(
    pool: GpuPool, provider: Pool, nodes: Sequence[GpuNode], observed: Observed, now: float, pace: Pace
) -> BackOff:
    """Wait after an error with nodes missing, twice as long each time that it was in vain.

    An error from before the last order says nothing about it.
    """
    memory = observed.memory
    lacking = provider.desired - sum(node.ready and node.gpus > 0 for node in nodes)
    if lacking <= 0:
        return BackOff(False, {})
    missing_since = f"pool.{pool.name}.missingSince"
    raised = memory.get(raised_at(pool))
    kept = {missing_since: memory.get(missing_since, now)} | ({} if raised is None else {raised_at(pool): raised})
    silent = now - max(kept.values()) >= LONGEST * pace.hold
    missing = provider.desired - sum(node.ready for node in nodes)
    stale = raised is not None and 0 < provider.error_at < raised
    if missing <= 0 or not provider.error or stale:
        return BackOff(False, kept, lacking if silent else 0)
    since, wait = f"pool.{pool.name}.errorSince", f"pool.{pool.name}.backOff"
    began, length = memory.get(since, now), memory.get(wait, pace.hold)
    if now - began < length:
        return BackOff(True, {**kept, since: began, wait: length})
    return BackOff(False, {**kept, since: now, wait: min(2 * length, LONGEST * pace.hold)})
