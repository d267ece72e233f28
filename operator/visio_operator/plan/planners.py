"""What the planners of one deployment have learned; it is carried from decision to decision and kept in the cluster.

A decision works on a copy and hands it back in the plan, so that the same arguments give the same plan.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .batch import Batch
from .budget import Budget
from .foresight import Foresight
from .ledger import Ledger
from .servers import Limits

GPU_PART_NAMES = ("captions", "transcription")
_JOBS = 500
"""Waiting recordings whose time is kept."""


@dataclass
class Planners:
    """The memory of all planners. Times are on the planners' clock (`Pace.clock`)."""

    captions: Foresight = field(default_factory=lambda: Foresight(Limits()))
    transcription: Batch = field(default_factory=lambda: Batch(Limits()))
    orders: dict[str, Ledger] = field(default_factory=lambda: {part: Ledger() for part in GPU_PART_NAMES})
    budget: Budget = field(default_factory=lambda: Budget(None))
    untold: list[tuple[int, float]] = field(default_factory=list)
    """Of recordings in the queue whose messages tell nothing, the oldest first: a number and since when it waits."""
    arrivals: int = 0
    grown_until: float = 0.0
    """Up to when the waves of users are in the history."""

    def copy(self) -> Planners:
        """One of its own."""
        return copy.deepcopy(self)

    def wait_for(self, count: int, now: float) -> None:
        """Take in that so many recordings wait of which nothing is told; the oldest ones are taken first."""
        count = min(count, _JOBS)
        del self.untold[: max(0, len(self.untold) - count)]
        while len(self.untold) < count:
            self.arrivals += 1
            self.untold.append((self.arrivals, now))

    def state(self) -> dict[str, Any]:
        """What a restart must not lose, as plain JSON: some 20 kB."""
        return {
            "captions": self.captions.state(),
            "leads": self.transcription.leads.state(),
            "orders": {part: ledger.state() for part, ledger in self.orders.items()},
            "budget": self.budget.state(),
            "grownUntil": self.grown_until,
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self.captions.restore(state["captions"])
        self.transcription.leads.restore(state["leads"])
        for part, ledger in self.orders.items():
            ledger.restore(state["orders"][part])
        self.budget.restore(state["budget"])
        self.grown_until = float(state["grownUntil"])
