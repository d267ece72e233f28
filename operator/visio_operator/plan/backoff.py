"""When a provider that does not deliver is asked for more again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from visio_operator.api.parts import GpuPool

from .observed import Observed, Pool
from .pace import Pace

_LONGEST = 6.0
"""Times `pace.hold` between two tries at most: from 5 to 30 minutes on a real cloud (facts/scaling.md D13)."""


@dataclass(frozen=True)
class BackOff:
    """Whether nothing more is ordered from a pool for now, and what to remember."""

    blocked: bool
    memory: Mapping[str, float]


def raised_at(pool: GpuPool) -> str:
    """The memory of when more was last ordered."""
    return f"pool.{pool.name}.raisedAt"


def back_off(pool: GpuPool, provider: Pool, observed: Observed, now: float, pace: Pace) -> BackOff:
    """Wait after an error with nodes missing, twice as long each time that it was in vain.

    An error from before the last order says nothing about it.
    """
    memory = observed.memory
    raised = memory.get(raised_at(pool))
    kept = {} if raised is None else {raised_at(pool): raised}
    missing = provider.desired - sum(node.ready for node in observed.nodes if node.pool == pool.name)
    if missing <= 0:
        return BackOff(False, {})
    stale = raised is not None and 0 < provider.error_at < raised
    if not provider.error or stale:
        return BackOff(False, kept)
    since, wait = f"pool.{pool.name}.errorSince", f"pool.{pool.name}.backOff"
    began, length = memory.get(since, now), memory.get(wait, pace.hold)
    if now - began < length:
        return BackOff(True, {**kept, since: began, wait: length})
    return BackOff(False, {**kept, since: now, wait: min(2 * length, _LONGEST * pace.hold)})
