"""How many more servers the limits carry: their highest number, and the budget of the day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .budget import Budget
from .servers import Limits


class Spending:
    """The hard limits on buying; without a price a budget limits nothing."""

    def __init__(self, limits: Limits) -> None:
        self._price, self._maximum = limits.price_per_hour, limits.maximum
        self._budget = Budget(limits.budget_per_day)

    def pay(self, now: float, servers: int) -> None:
        """Count the time since the last reading for so many servers."""
        if self._price is not None:
            self._budget.pay(now, servers * self._price)

    def state(self) -> dict[str, Any]:
        """What was spent today, as plain JSON."""
        return self._budget.state()

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self._budget.restore(state)

    def affordable(self, now: float, wanted: int, owned: int) -> int:
        """How many of the wanted servers may be bought."""
        if self._maximum is not None:
            wanted = min(wanted, self._maximum - owned)
        if not self._price or wanted <= 0:
            return max(0, wanted)
        return int(min(wanted, self._budget.room(now, owned * self._price) / self._price))
