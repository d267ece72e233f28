"""The orders of one GPU part: when each was made, and which pod came of it, so that lead times can be learned.

A provider names no order, and a node shows up minutes later. So orders are kept in line: the oldest one is taken for
the first new pod on a node that is younger. Only the time from order to the first slot matters, not which is which.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Born:
    """A pod that is not on its way out. `born` is when its node was created, on the planner's clock."""

    pod: str
    born: float
    ready: bool


@dataclass
class Ledger:
    """Open orders, the oldest first, and the orders that pods came of."""

    open: dict[str, float] = field(default_factory=dict)
    """When each order was made that no pod has come of yet."""
    came: dict[str, str] = field(default_factory=dict)
    """By pod: its order; also once it serves, so that its name stays."""
    times: dict[str, float] = field(default_factory=dict)
    """By pod: when its order was made."""
    starting: set[str] = field(default_factory=set)
    """Pods of orders that were not ready yet."""
    made: int = 0

    def match(self, pods: Iterable[Born], slack: float = 1.0) -> None:
        """Take new pods for what was ordered; forget pods that are gone. Times are that many seconds exact."""
        there = {pod.pod: pod for pod in pods}
        for name in self.came.keys() - there.keys():
            del self.came[name]
            del self.times[name]
            self.starting.discard(name)
        for pod in sorted(there.values(), key=lambda pod: (pod.born, pod.pod)):
            if pod.pod in self.came:
                if pod.ready:
                    self.starting.discard(pod.pod)
            elif self.open:
                order, at = next(iter(self.open.items()))
                if pod.born + slack >= at:
                    del self.open[order]
                    self.came[pod.pod], self.times[pod.pod] = order, at
                    self.starting.add(pod.pod)

    def settle(self, wanted: int, now: float) -> tuple[str, ...]:
        """Bring the open orders to so many: new ones are of now, the newest are cancelled first; the cancelled ones."""
        while len(self.open) < wanted:
            self.made += 1
            self.open[f"order-{self.made}"] = now
        cancelled = tuple(list(self.open)[max(0, wanted) :])
        for name in cancelled:
            del self.open[name]
        return cancelled

    def waiting(self) -> dict[str, float]:
        """All orders that do not serve yet, by name: those without a pod, and those whose pod is starting."""
        return {**self.open, **{self.came[pod]: self.times[pod] for pod in sorted(self.starting)}}

    def state(self) -> dict[str, Any]:
        """The orders, as plain JSON."""
        came = [[pod, name, self.times[pod], pod in self.starting] for pod, name in self.came.items()]
        return {"open": self.open, "came": came, "made": self.made}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self.open = {str(name): float(at) for name, at in state["open"].items()}
        self.came = {str(pod): str(name) for pod, name, _, _ in state["came"]}
        self.times = {str(pod): float(at) for pod, _, at, _ in state["came"]}
        self.starting = {str(pod) for pod, _, _, starting in state["came"] if starting}
        self.made = int(state["made"])
