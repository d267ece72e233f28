"""How long an ordered GPU server takes until it serves, and how often it never does: learned from every order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import erfc, exp, log, sqrt
from typing import Any

from .servers import Server

PRIOR_MEDIAN = 300.0
PRIOR_SPREAD = 0.2857
"""Median 5 minutes and 95th percentile 8 minutes, as long as nothing was observed: facts/scaling.md A6 expects 5 to 15
minutes and knows no public figure."""
_PRIOR_ORDERS = 4.0
_PRIOR_FAILURES = 0.4
_MEMORY = 400.0
"""Orders after which older ones hardly count: providers change their ways within months."""
_NORMAL_95 = 1.645
_NORMAL_99 = 2.326
_LEARNED = ("weight", "total", "squares", "orders", "failures")


@dataclass
class LeadTimes:
    """Lead times of one pool as a log-normal distribution, with the share of orders that fail.

    Sums of logarithms rather than samples: the state is five numbers, whatever the number of orders.
    """

    weight: float = _PRIOR_ORDERS
    total: float = _PRIOR_ORDERS * log(PRIOR_MEDIAN)
    squares: float = _PRIOR_ORDERS * (log(PRIOR_MEDIAN) ** 2 + PRIOR_SPREAD**2)
    orders: float = _PRIOR_ORDERS
    failures: float = _PRIOR_FAILURES
    coming: dict[str, float] = field(default_factory=dict)
    """When each order was made that has not come yet, by server."""
    _found: dict[float, float] = field(default_factory=dict, repr=False, compare=False)
    """Quantiles since the last order that came."""

    def look(self, now: float, servers: Iterable[Server]) -> None:
        """Take in one look at all servers: an order that is gone without ever having been ready has failed."""
        there = {server.id: server for server in servers}
        for name, ordered in list(self.coming.items()):
            server = there.get(name)
            if server is None:
                self.failed()
            elif server.ready:
                self.arrived(now - ordered)
            else:
                continue
            del self.coming[name]
        for server in there.values():
            if not server.ready:
                self.coming.setdefault(server.id, server.ordered)

    def state(self) -> dict[str, Any]:
        """What was learned, as plain JSON."""
        learned = {key: round(getattr(self, key), 6) for key in _LEARNED}
        return {**learned, "coming": self.coming}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        for key in _LEARNED:
            setattr(self, key, float(state[key]))
        self.coming = {str(name): float(at) for name, at in state["coming"].items()}
        self._found = {}

    def arrived(self, seconds: float) -> None:
        """An order serves after so many seconds."""
        value = log(max(1.0, seconds))
        keep = 1.0 - 1.0 / _MEMORY
        self.weight = self.weight * keep + 1.0
        self.total = self.total * keep + value
        self.squares = self.squares * keep + value * value
        self._found = {}
        self._counted(failed=False)

    def failed(self) -> None:
        """An order is gone without ever having served."""
        self._counted(failed=True)

    def _counted(self, failed: bool) -> None:
        keep = 1.0 - 1.0 / _MEMORY
        self.orders = self.orders * keep + 1.0
        self.failures = self.failures * keep + failed

    @property
    def failure_rate(self) -> float:
        """Share of the orders that fail."""
        return self.failures / self.orders

    def median(self) -> float:
        """Seconds within which half of the orders serve."""
        return exp(self.total / self.weight)

    def p95(self) -> float:
        """Seconds within which 95 of 100 orders serve, of those that ever do."""
        return self._quantile(_NORMAL_95)

    def p99(self) -> float:
        """Seconds after which an order that does not serve yet is not counted on any more."""
        return self._quantile(_NORMAL_99)

    def chance(self, age: float, within: float) -> float:
        """How likely an order of that age serves within so many seconds."""
        return (1.0 - self.failure_rate) * (1.0 - self._later(age + within) / self._later(age))

    def _later(self, seconds: float) -> float:
        """Share of the orders that take longer, of those that ever serve; never quite none."""
        normal = (log(max(1.0, seconds)) - self.total / self.weight) / self._spread()
        return max(1e-9, erfc(normal / sqrt(2)) / 2)

    def _spread(self) -> float:
        mean = self.total / self.weight
        return sqrt(max(1e-6, self.squares / self.weight - mean * mean))

    def _quantile(self, normal: float) -> float:
        found = self._found.get(normal)
        if found is None:
            found = self._found[normal] = exp(self.total / self.weight + normal * self._spread())
        return found
