"""The euros of a day: what was spent since midnight UTC, and how many more a running hour may cost."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

_DAY = 86_400.0
_HOUR = 3600.0


class Budget:
    """A hard limit on spending. `per_day` is in euros; None limits nothing."""

    def __init__(self, per_day: float | None) -> None:
        self.per_day = per_day
        self.spent = 0.0
        self._at: float | None = None

    def pay(self, now: float, per_hour: float) -> None:
        """Count the time since the last call at so many euros an hour."""
        if self._at is not None:
            if now // _DAY != self._at // _DAY:
                self.spent, self._at = 0.0, now // _DAY * _DAY
            self.spent += per_hour * max(0.0, now - self._at) / _HOUR
        self._at = now

    def room(self, now: float, per_hour: float) -> float:
        """Euros an hour that can be added to `per_hour`, all to be paid for an hour or what is left of the day."""
        if self.per_day is None:
            return inf
        hours = min(_HOUR, _DAY - now % _DAY) / _HOUR
        return max(0.0, (self.per_day - self.spent) / max(hours, 0.01) - per_hour)

    def state(self) -> dict[str, Any]:
        """What was spent today, as plain JSON."""
        return {"spent": self.spent, "at": self._at}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self.spent, self._at = float(state["spent"]), None if state["at"] is None else float(state["at"])
