"""Panic: what holds while reality runs away from the forecast, so that people wait and nothing on order is for them.

After Knative's autoscaler (knative/serving, pkg/autoscaler/scaling/autoscaler.go; facts/scaling.md C1, D13): beside the
steady rule there is a second one that sees the last moments only. Once it finds a load far beyond what is there, it
decides alone, nothing shrinks, each moment of that kind makes it last longer, and it ends when a whole window of the
steady rule passed without one. Two things are different here. Knative has to guess overload from a load of twice the
pods in six seconds; our proxies hold streams in line, so who waits is known, and what counts is whether that is for
want of servers. And pods come in seconds, servers in minutes: the window is two lead times.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

WAIT = 8.0
"""Seconds that a stream may wait without anybody noticing much (the project's target counts those above)."""
MORE = 1.25
"""Slots that are wanted, of those that would just hold what runs and waits: a rush is not over while somebody waits.
Knative fills pods to 70 %, so that it wants 1.43 times as many (C1). Our steady rule goes on beside this one and knows
how far a load strays, so less is enough."""
PATIENCE = 300.0
"""Seconds after which who waits has given up (facts/visio.md 4)."""
RACE = 2.0
"""Most servers that are ordered for one that is missing. An order comes in five minutes or in eight, so of more of them
as many as are missing come earlier: what hedged requests do against slow answers (Dean and Barroso, The Tail at Scale,
Communications of the ACM 56(2), 2013). Of 24 surges to the fourfold, with a lead of five minutes, 715 streams were lost
without any panic, 432 with one order for each that is missing, and 10 with two (tests/unit/simulation/test_surges.py).
They cost 204, 217 and 275 server hours in the first hour, and 304, 305 and 307 in the three after it."""
CALM = 600.0
"""Seconds without a long wait after which a panic may end, if two lead times are not longer."""


@dataclass(frozen=True)
class Rush:
    """One reading as far as panic is concerned."""

    now: float
    load: int
    """Streams that run, wait or gave up."""
    waiting: int
    """Those of them that wait or gave up."""
    longest: float | None
    """Seconds that the longest of them waits; None where it is not told, then each of them counts."""
    slots: int
    """Of one server."""
    surge: float
    """Streams that came in the last minutes and that no week before foretold; as many may come again."""
    there: int
    """Servers that are open, or are again at once."""
    in_time: float
    """Servers that serve within a median lead, of those on order."""
    chance: float
    """How likely an order of now serves before who waits has given up."""
    lead: float
    """Median seconds from an order to its first slot."""
    blind: bool
    """A reading is missing."""

    @property
    def pressing(self) -> bool:
        """Somebody waits for too long, or more wait than one server holds."""
        if not self.waiting:
            return False
        return self.longest is None or self.longest > WAIT or self.waiting > self.slots

    @property
    def beyond(self) -> float:
        """Streams for which there is no server, not even on order, if as many come again."""
        return max(0.0, self.load + self.surge - (self.there + self.in_time) * self.slots)

    @property
    def slots_wanted(self) -> float:
        """Slots that shall be there."""
        return max(MORE * self.load, self.load + self.surge)

    @property
    def servers(self) -> int:
        """Servers that shall be there or on order, so that as many as are missing are expected in time."""
        wanted = ceil(self.slots_wanted / self.slots - 1e-9)
        missing = wanted - self.there
        return wanted if missing <= 0 else self.there + ceil(missing / max(self.chance, 1 / RACE) - 1e-9)


@dataclass
class Panic:
    """Whether there is one. It changes twice only, so that a restart loses little; times are unix seconds."""

    since: float | None = None
    """When it began; None while there is none."""
    calm_since: float | None = None
    """Since when nobody waits for too long; None while somebody does, or while it is not known."""

    def look(self, rush: Rush) -> str:
        """Begin, go on or end, and say so with the numbers; empty where there is nothing to say.

        A missing reading is no reason for a panic, and none to end one.
        """
        if self.since is None:
            if rush.blind or not rush.pressing or not rush.beyond:
                return ""
            self.since, self.calm_since = rush.now, None
            beyond = f"{rush.beyond:.0f} more than what is there and on order holds"
            return f"panic begins: {_line(rush)}, {rush.surge:.0f} came unforeseen, with as many again {beyond}"
        if rush.blind:
            self.calm_since = None
            return "panic adds nothing while a reading is missing"
        if rush.pressing:
            self.calm_since = None
            return f"panic goes on: {_line(rush)}"
        if self.calm_since is None:
            self.calm_since = rush.now
        enough = max(2 * rush.lead, CALM)
        if rush.now - self.calm_since < enough:
            # No seconds left in the words: they would change the status at every look.
            return f"panic goes on: {_line(rush)}, which has to last for {enough:.0f} s"
        self.since = self.calm_since = None
        return f"panic ends: {_line(rush)} and has not for {enough:.0f} s"

    def state(self) -> dict[str, Any]:
        """What is remembered, as plain JSON."""
        return {"since": self.since, "calmSince": self.calm_since}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self.since, self.calm_since = _moment(state["since"]), _moment(state["calmSince"])


def _moment(value: Any) -> float | None:
    return None if value is None else float(value)


def _line(rush: Rush) -> str:
    if not rush.waiting:
        return "nobody waits"
    longest = "" if rush.longest is None else f", the longest for {rush.longest:.0f} s"
    if not rush.pressing:
        return f"nobody waits for {WAIT:.0f} s"
    return f"{rush.waiting} wait{longest}"
