"""Announced meetings: their streams come all at once, on top of what comes every week."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .errors import BUCKET
from .forecast import Demand
from .servers import Meeting

EARLY = 120.0
"""Seconds before the start at which the first people join (facts/scaling.md D8)."""
COME = 600.0
"""Seconds after the start by which those who come have come: from then on they are counted."""
_MORE = 1.5
"""How many times the announced streams are taken for theirs; what goes beyond is demand like any other."""
_CHANCE = 16.0


class Calendar:
    """Keeps announced streams apart from the rest, so that a special day does not become the rule."""

    def __init__(self) -> None:
        self._meetings: Sequence[Meeting] = ()
        self._level = 1.0
        self._before = 0.0
        self._here = 0.0
        self._announced = 0.0

    def observe(self, now: float, load: float, meetings: Sequence[Meeting], demand: Demand) -> float:
        """Take in a reading; the part of the load that nobody announced."""
        self._meetings = meetings
        running = meetings and [one for one in meetings if one.start - EARLY <= now < one.end + COME]
        usual = demand.usual(int(now // BUCKET))
        if not running:
            self._level = (load + _CHANCE) / (usual + _CHANCE) if usual >= 0 else 1.0
            self._before, self._here, self._announced = load, 0.0, 0.0
            return load
        # Without announced meetings the load would have gone on as it was just before them.
        base = usual * min(2.0, max(0.5, self._level)) if usual >= 0 else self._before
        before, self._announced = self._announced, float(sum(one.streams for one in running))
        if any(now < one.start + COME for one in running):
            self._here = max(0.0, min(load - base, _MORE * self._announced))
        else:
            # Who has not come by now does not come; what the load grows by from here on is demand like any other.
            gone = min(1.0, self._announced / before) if before else 1.0
            self._here = min(self._here * gone, load)
        return load - self._here

    def state(self) -> dict[str, Any]:
        """What is known of the meetings that run, as plain JSON."""
        return {"level": self._level, "before": self._before, "here": self._here, "announced": self._announced}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self._level, self._before = float(state["level"]), float(state["before"])
        self._here, self._announced = float(state["here"]), float(state["announced"])

    def upper(self, now: float, ahead: float) -> float:
        """The most announced streams at any time until `now + ahead`: all that may still come, or those that came."""
        if not self._meetings:
            return 0.0
        starts = [one.start - EARLY for one in self._meetings if now < one.start - EARLY <= now + ahead]
        return max((self._at(now, moment) for moment in (now, *starts)), default=0.0)

    def _at(self, now: float, moment: float) -> float:
        total = 0.0
        for one in self._meetings:
            if not one.start - EARLY <= moment < one.end + COME:
                continue
            came = now >= one.start + COME and self._announced > 0
            total += one.streams * self._here / self._announced if came else one.streams
        return total
