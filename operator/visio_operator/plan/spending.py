"""How many more servers the limits carry: their highest number, and the budget of the day."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .servers import Limits

_DAY = 86_400.0
_HOUR = 3600.0


class Spending:
    """The hard limits on buying. Money is counted from midnight UTC; without a price a budget limits nothing."""

    def __init__(self, limits: Limits) -> None:
        self._price, self._budget = limits.price_per_hour, limits.budget_per_day
        self._maximum = limits.maximum
        self._spent = 0.0
        self._at: float | None = None

    def pay(self, now: float, servers: int) -> None:
        """Count the time since the last reading for so many servers."""
        if self._price is None:
            return
        if self._at is not None:
            if now // _DAY != self._at // _DAY:
                self._spent, self._at = 0.0, now // _DAY * _DAY
            self._spent += servers * self._price * (now - self._at) / _HOUR
        self._at = now

    def state(self) -> dict[str, Any]:
        """What was spent today, as plain JSON."""
        return {"spent": self._spent, "at": self._at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self._spent, self._at = float(state["spent"]), None if state["at"] is None else float(state["at"])

    def affordable(self, now: float, wanted: int, owned: int) -> int:
        """How many of the wanted servers may be bought; all have to be paid for an hour, or what is left of the day."""
        if self._maximum is not None:
            wanted = min(wanted, self._maximum - owned)
        if self._price is None or self._budget is None or wanted <= 0:
            return max(0, wanted)
        hours = min(_HOUR, _DAY - now % _DAY) / _HOUR
        left = (self._budget - self._spent) / (self._price * max(hours, 0.01)) - owned
        return max(0, min(wanted, int(left)))
