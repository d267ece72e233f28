"""Where the time goes from the order of a GPU node to its first slot: learned from what the objects themselves say.

A shorter lead saves more than a better forecast (facts/scaling.md D12), and each stage is shortened by somebody else:
the provider's queue, the boot, the driver, the image, the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import exp, log, sqrt
from typing import Any

from .observed import CaptionsServer, GpuNode, Observed, PodTimes, TranscriptionWorker

STAGES = ("order", "boot", "driver", "placement", "image", "weights")
"""From the order to the Node object, to Ready, to the GPU being allocatable, to our pod on it, to its running
containers, to its first slot."""
_LONGEST = 7200.0
"""Seconds after which a node tells nothing of the lead any more."""
_IDLE = 300.0
"""Seconds after which a GPU that got its first pod was waiting for work, and not the work for it."""
_SHORTEST = 0.5
"""Kubernetes writes whole seconds; the logarithm wants more than none."""
_WINDOW = 100
"""Servers that count; older ones fade, since providers change their ways within months."""
_NODES = 200
"""Nodes of two hours that are remembered as counted; more in that time are not counted at all."""
_NORMAL_95 = 1.645


@dataclass(frozen=True)
class Spread:
    """A log-normal distribution of seconds, by how many it was learned from and the moments of the logarithm."""

    count: int = 0
    mean: float = 0.0
    variance: float = 0.0

    def seen(self, seconds: float) -> Spread:
        """With one more duration (Welford's recurrence, its weight never under that of the window)."""
        value, weight = log(max(_SHORTEST, seconds)), min(self.count + 1, _WINDOW)
        off = value - self.mean
        mean = self.mean + off / weight
        return Spread(self.count + 1, mean, (self.variance * (weight - 1) + off * (value - mean)) / weight)

    def median(self) -> float:
        """Seconds within which half were done."""
        return exp(self.mean)

    def p95(self) -> float:
        """Seconds within which 95 of 100 were done."""
        return exp(self.mean + _NORMAL_95 * sqrt(max(0.0, self.variance)))


@dataclass(frozen=True)
class Stages:
    """What was learned of the lead of one pool."""

    whole: Spread = field(default_factory=Spread)
    """From the order to the first slot; from the Node object on where the order is not known."""
    stages: Mapping[str, Spread] = field(default_factory=dict)
    """By name in STAGES; a stage of which nothing is known is missing."""
    nodes: tuple[str, ...] = ()
    """Nodes that are counted already, each as name@second of its creation, while they are young enough to count."""

    def state(self) -> dict[str, Any]:
        """As JSON, in the form of `status.pools[].lead`; it changes only when a server has come."""
        return {
            "orders": self.whole.count,
            "medianSeconds": round(self.whole.median(), 1),
            "p95Seconds": round(self.whole.p95(), 1),
            "stages": [
                {
                    "name": name,
                    "orders": spread.count,
                    "medianSeconds": round(spread.median(), 1),
                    "p95Seconds": round(spread.p95(), 1),
                }
                for name in STAGES
                if (spread := self.stages.get(name)) is not None
            ],
            "nodes": list(self.nodes),
        }


def restore_stages(state: Mapping[str, Any] | None) -> Stages:
    """The value of a state; an empty one when there is none, or none that makes sense: it is learned anew."""
    try:
        return _restored(state) if state else Stages()
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return Stages()


def _restored(state: Mapping[str, Any]) -> Stages:
    return Stages(
        whole=_spread(state),
        stages={str(one["name"]): _spread(one) for one in state.get("stages") or () if one["name"] in STAGES},
        nodes=tuple(f"{name}@{float(at):.0f}" for name, _, at in (m.rpartition("@") for m in state.get("nodes") or ())),
    )


def _spread(state: Mapping[str, Any]) -> Spread:
    mean, high = log(float(state["medianSeconds"])), log(float(state["p95Seconds"]))
    spread = Spread(max(0, int(state["orders"])), mean, (max(0.0, high - mean) / _NORMAL_95) ** 2)
    # What is no number would never leave the sums again.
    if not (abs(spread.mean) < 100 and spread.variance < 100):
        raise ValueError("no duration")
    return spread


def learn_stages(
    stages: Stages, pool: str, observed: Observed, now: float, ordered: Mapping[str, float] | None = None
) -> Stages:
    """Take in one look at the nodes of a pool; each is counted once, when its first server serves.

    `ordered` is when each node was ordered, by name, as far as it is known. Looks may be repeated and lost.
    """
    first, counted = _first_servers(observed), set(stages.nodes)
    new = [
        node
        for node in observed.nodes
        if node.pool == pool
        and 0.0 <= now - node.created <= _LONGEST
        and node.name in first
        and first[node.name].ready <= now
        and _mark(node) not in counted
    ]
    if not new:
        return stages
    kept = [mark for mark in stages.nodes if now - float(mark.rpartition("@")[2]) <= _LONGEST]
    new = sorted(new, key=lambda node: (node.created, node.name))[: max(0, _NODES - len(kept))]
    for node in new:
        stages = _with(stages, node, first[node.name], (ordered or {}).get(node.name))
    return replace(stages, nodes=(*kept, *map(_mark, new)))


def _mark(node: GpuNode) -> str:
    return f"{node.name}@{node.created:.0f}"


def _first_servers(observed: Observed) -> dict[str, PodTimes]:
    """The times of the pod that served first on each node, of those that are there."""
    first: dict[str, PodTimes] = {}
    pods: tuple[CaptionsServer | TranscriptionWorker, ...] = (*observed.captions, *observed.transcribers)
    for pod in pods:
        if pod.node and pod.ready and pod.times.ready:
            best = first.get(pod.node)
            if best is None or pod.times.ready < best.ready:
                first[pod.node] = pod.times
    return first


def _with(stages: Stages, node: GpuNode, times: PodTimes, ordered: float | None) -> Stages:
    """With one more server; one that says nothing of the lead only counts as seen."""
    whole = times.ready - (ordered or node.created)
    idle = bool(node.gpu_at and times.scheduled) and times.scheduled - node.gpu_at > _IDLE
    if idle or not 0.0 <= whole <= _LONGEST:
        return stages
    moments = (ordered or 0.0, node.created, node.ready_at, node.gpu_at, times.scheduled, times.started, times.ready)
    # A condition that went and came back has a later time than the server's first slot.
    known = [moment if 0.0 < moment <= times.ready else 0.0 for moment in moments]
    learned = dict(stages.stages)
    for name, start, end in zip(STAGES, known, known[1:], strict=False):
        if start and end:
            learned[name] = learned.get(name, Spread()).seen(max(0.0, end - start))
    return replace(stages, whole=stages.whole.seen(whole), stages=learned)
