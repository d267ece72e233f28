"""What the sizing of GPU parts and pools hands back, and the rule that all of them shrink by."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .plan import NodeMark, PodMark, PoolPlan
from .reasons import Reason

EMPTIED = -100
"""The deletion cost of a pod that carries nothing, so that its ReplicaSet takes it and no other
(`controller.kubernetes.io/pod-deletion-cost`, facts/scaling.md D11)."""


@dataclass(frozen=True)
class Limit:
    """Why there is less capacity than wanted."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Fleet:
    """The pods of one GPU part that are not on their way out, and how many its Deployment asks for."""

    pods: int
    desired: int

    @property
    def missing(self) -> int:
        """Pods that are asked for and not seen yet."""
        return max(0, self.desired - self.pods)

    @property
    def leaving(self) -> int:
        """Pods too many: their ReplicaSet is about to take them."""
        return max(0, self.pods - self.desired)


@dataclass(frozen=True)
class PartSize:
    """The size of one GPU part."""

    part: str
    replicas: int
    """What its Deployment shall have now; pods are only added where a GPU is free."""
    wanted: int
    """Servers or workers that shall run, the hold before shrinking counted in; nodes are bought for these."""
    target: int
    """Servers or workers that the load alone asks for."""
    late: int = 0
    """Nodes that were ordered so long ago that others are bought in their place."""
    pods: tuple[PodMark, ...] = ()
    limits: tuple[Limit, ...] = ()
    frozen: str = ""
    """Which signal is missing; while one is, nothing shrinks."""
    memory: Mapping[str, float] = field(default_factory=dict)
    trace: tuple[str, ...] = ()


@dataclass(frozen=True)
class PoolSize:
    """The size of one pool of GPU nodes."""

    plan: PoolPlan | None = None
    """None when the pool is not ours to write."""
    nodes: tuple[NodeMark, ...] = ()
    limits: tuple[Limit, ...] = ()
    memory: Mapping[str, float] = field(default_factory=dict)
    trace: tuple[str, ...] = ()


@dataclass(frozen=True)
class GpuSize:
    """All GPU parts and pools of one deployment."""

    replicas: Mapping[str, int] = field(default_factory=dict)
    pools: tuple[PoolPlan, ...] = ()
    pods: tuple[PodMark, ...] = ()
    nodes: tuple[NodeMark, ...] = ()
    limits: tuple[Limit, ...] = ()
    frozen: tuple[str, ...] = ()
    paused: frozenset[str] = frozenset()
    """Parts whose minimum does not run for the moment, so that their pool can be lowered."""
    memory: Mapping[str, float] = field(default_factory=dict)
    trace: tuple[str, ...] = ()


@dataclass(frozen=True)
class Held:
    """The outcome of the hold: the size that applies now, and since when less would do."""

    size: int
    memory: Mapping[str, float]
    note: str = ""


def hold_before_shrinking(
    key: str, current: int, target: int, memory: Mapping[str, float], now: float, hold: float
) -> Held:
    """Apply `target` at once when it grows, and only after it stayed below `current` for `hold` seconds else.

    `key` names the memory of since when less would do; it is dropped as soon as it is not less.
    """
    if target >= current:
        return Held(target, {})
    since = min(memory.get(key, now), now)
    left = since + hold - now
    if left > 0:
        # No seconds left in the words: they would change the status at every look.
        return Held(current, {key: since}, f", kept {current} until less was enough for {hold:.0f} s")
    return Held(target, {key: since})
