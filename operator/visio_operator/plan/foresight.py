"""Captions servers ahead of demand: bought before the streams come, closed and returned when they are gone.

A numbered cycle, one for each reading: learn, compare, foresee, supply, buy, close, return. The planner is a state and
a pure step: no clock, no chance, the same readings give the same orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from typing import Any

from .calendar import Calendar
from .errors import BUCKET, SMALL
from .forecast import Demand
from .lead_time import LeadTimes
from .overflow import insured, margin, share
from .servers import ByState, Limits, Orders, Reading, Server, by_state
from .spending import Spending

RISK = 0.7
"""Expected share of the load that may find no slot at the worst moment ahead, of the share of streams that may."""
INSURED = 0.7
"""How many times that is accepted because orders may fail or come late."""
LIKELY = 0.8
"""Times the usual error that is kept free for twice the lead time, in which a failed order can still be replaced."""
STEP = 30.0
"""Seconds until the next decision, which come on top of the lead time."""
_LATE = 0.05
"""Share of the orders that come after the lead time that is counted on, its 95th percentile."""
_HALF = BUCKET / 2
"""Seconds for which a forecast is that of their middle."""
HOLD = 150.0
"""Seconds for which less has to be enough before a server is closed."""


@dataclass(frozen=True, slots=True)
class Need:
    """What one reading asks for."""

    servers: int
    """Open servers that have to be there when an order of now is."""
    load: int
    """Streams that run, wait or gave up."""
    lead: float
    """Seconds until an order of now serves, and the next decision."""
    blind: bool
    """A reading is missing, so nothing may shrink."""
    why: str
    outlook: Sequence[tuple[float, float]] = ()
    """Mean and deviation of the load of each time until then."""
    soon: int = 0
    """Open servers for all that comes within the next minutes and is not on closed ones, which open again at once."""


@dataclass
class Foresight:
    """What the planner of one pool of captions servers knows."""

    limits: Limits

    def __post_init__(self) -> None:
        self.risk = RISK * self.limits.blocked_target
        self.demand = Demand()
        self.leads = LeadTimes()
        self.calendar = Calendar()
        self._less_since: float | None = None
        self._last_used: dict[str, int] = {}
        self._spending = Spending(self.limits)
        self._idle: tuple[Need, int, Orders] | None = None
        """What was answered when nothing was to be done, to be said again as long as nothing changes."""
        self._asked: tuple[tuple[float, ...], Need] | None = None

    def limit(self, limits: Limits) -> None:
        """Go on with other limits."""
        if limits != self.limits:
            self.limits, self._asked, self._idle = limits, None, None
            self._spending = Spending(limits)

    def foresee(self, seen: Reading) -> Need:
        """Take in one reading and say how many servers it asks for; readings come in the order of time."""
        now = seen.now
        load, blind, staying = self._look(seen)

        # 1. Learn from what happened since the last reading.
        self._spending.pay(now, len(seen.servers))
        lead = self.leads.p95() + STEP
        self.demand.look_ahead(lead)
        usual = self.calendar.observe(now, load, seen.calendar, self.demand)
        if not blind:
            self.demand.observe(now, usual)

        # 2. Nothing changed since the last reading, as in most of a year's: nor did the need.
        half = now // _HALF
        same = (half, lead, load, staying, blind, seen.rehome)
        if self._asked is not None and self._asked[0] == same and not seen.calendar:
            return self._asked[1]

        # 3. Foresee: what must be there when an order of now is, and what probably must after a second one.
        announced = self.calendar.upper(now, lead)
        middle = (half + 0.5) * _HALF
        self.risk = RISK * self.limits.blocked_target / self.demand.tail()
        # Where so many may wait that no margin is kept, none is for later either.
        again = min(LIKELY, margin(self.limits.blocked_target))
        far = self.demand.outlook(middle, usual, 2 * lead)
        # The load of now, and the buckets until then.
        outlook = far[: 2 + int((middle + lead) // BUCKET) - int(now // BUCKET)]
        sure = max(load, announced + self._enough(outlook))
        likely = self.calendar.upper(now, 2 * lead) + max([mean + again * off for mean, off in far], default=0.0)
        need = self._servers(max(sure, likely))
        soon = need
        if not seen.rehome:
            soon = self._servers(max(load, self.calendar.upper(now, BUCKET) + self._enough(outlook[:3])) - staying)
        why = (
            f"{load} streams, {sure:.0f} within {lead:.0f} s and {likely:.0f} within {2 * lead:.0f} s need {need}"
            f"{', frozen: a reading is missing' if blind else ''}"
        )
        if announced:
            outlook = [(mean + announced, deviation) for mean, deviation in outlook]
        found = Need(need, load, lead, blind, why, outlook, soon)
        self._asked = None if seen.calendar else (same, found)
        return found

    def expected(self, ordered: Iterable[float], now: float, queued: int) -> int:
        """How many of the orders that were made at these times are still counted on.

        While somebody waits nothing is left to luck: a late order is taken for a failed one, and one more is bought.
        """
        late = self.leads.p95() if queued else self.leads.p99()
        found = sum(now - each <= late for each in ordered)
        return found - 1 if queued and found else found

    def missing(self, asked: Need, there: int, coming: int) -> int:
        """Servers to order, with so many that serve or open again at once and so many orders counted on: what is
        needed, and more where orders may fail. Not above 0 when nothing is missing.
        """
        missing = asked.servers - there - coming
        if asked.servers <= there or (asked.servers == 1 and not asked.load):
            return missing
        return max(missing, self._insured(asked, there, coming, max(0, missing)))

    def step(self, seen: Reading) -> Orders:
        """Decide on one reading; readings come in the order of time."""
        now = seen.now
        fleet = by_state(seen.servers)
        asked = self.foresee(seen)
        need = asked.servers

        idle = not fleet.closed and not fleet.coming
        if idle and self._idle and self._idle[0] is asked and self._idle[1] == len(fleet.open):
            return self._idle[2]

        # 4. Supply: open servers, and orders that may still come.
        coming = self.expected((server.ordered for server in fleet.coming), now, seen.queued)
        why = f"{asked.why}; {len(fleet.open)} open, {len(fleet.closed)} closed, {len(fleet.coming)} coming"

        # 5. Buy, after what is closed was opened again.
        # Where streams stay, closed servers are there until they are returned.
        there = len(fleet.open) + (0 if seen.rehome else len(fleet.closed))
        missing = self.missing(asked, there, coming)
        if not seen.rehome:
            return self._stay(asked, fleet, missing, len(seen.servers), now, why)
        if missing > 0:
            self._less_since = None
            back = sorted(fleet.closed, key=lambda server: -server.used)[:missing]
            wanted = missing - len(back)
            order = self._spending.affordable(now, wanted, len(seen.servers))
            limited = f", {wanted - order} more than the limits allow" if order < wanted else ""
            returned = self._returned(fleet.closed, {server.id for server in back})
            return Orders(order, (), tuple(s.id for s in back), returned, f"{why}{limited}")

        # 6. Close what is not needed any more, the emptiest first.
        closing: tuple[str, ...] = ()
        # What is on its way is not there yet, so open servers are counted alone.
        spare = len(fleet.open) - need
        if spare > 0 and not asked.blind:
            self._less_since = now if self._less_since is None else self._less_since
            if now - self._less_since >= HOLD:
                by_use = sorted(fleet.open, key=lambda server: (server.used, -server.ordered))
                closing = tuple(server.id for server in by_use[:spare])
        else:
            self._less_since = None

        # 7. Return what is closed and empty.
        orders = Orders(0, closing, (), self._returned(fleet.closed, set()), why)
        self._idle = (asked, len(fleet.open), orders) if idle and not spare else None
        return orders

    def _stay(self, asked: Need, fleet: ByState, missing: int, owned: int, now: float, why: str) -> Orders:
        """Where streams stay until their end: servers are closed early, since they can be opened again until they are
        returned, and an empty one is returned only when it is not needed within a lead time either.
        """
        order = self._spending.affordable(now, missing, owned)
        limited = f", {missing - order} more than the limits allow" if 0 < order < missing else ""
        lacking = max(0, asked.soon - len(fleet.open))
        back = {server.id for server in sorted(fleet.closed, key=lambda server: -server.used)[:lacking]}
        spare = 0 if asked.blind or lacking else len(fleet.open) - max(asked.soon, self.limits.minimum)
        by_use = sorted(fleet.open, key=lambda server: (server.used, -server.ordered))
        # Only what is open and closed counts: what is on its way is not there yet.
        unneeded = max(0, len(fleet.open) + len(fleet.closed) - asked.servers)
        if unneeded and not asked.blind:
            self._less_since = now if self._less_since is None else self._less_since
            lasting = now - self._less_since >= HOLD
        else:
            self._less_since, lasting = None, False
        returned = self._returned(fleet.closed, back)[:unneeded] if lasting else ()
        return Orders(order, tuple(s.id for s in by_use[: max(0, spare)]), tuple(back), returned, f"{why}{limited}")

    def state(self) -> dict[str, Any]:
        """What was learned, as plain JSON; `restore` takes it back after a restart."""
        return {
            "demand": self.demand.state(),
            "leads": self.leads.state(),
            "calendar": self.calendar.state(),
            "spending": self._spending.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self.demand.restore(state["demand"])
        self.leads.restore(state["leads"])
        self.calendar.restore(state["calendar"])
        self._spending.restore(state["spending"])

    def _look(self, seen: Reading) -> tuple[int, bool, int]:
        """Streams that run, wait or gave up; whether a reading is missing; and the streams on closed servers.

        Unknown streams are the last known ones, and before that those of a full server.
        """
        load, blind, staying = seen.queued + seen.rejected, not seen.known, 0
        used: dict[str, int] = {}
        coming = bool(self.leads.coming)
        for server in seen.servers:
            count: int | None = server.used
            if not server.known:
                blind, count = True, self._last_used.get(server.id)
            if count is None:
                load += self.limits.slots if server.ready else 0
            else:
                used[server.id] = count
                load += count
            if not server.ready:
                coming = True
            if server.cordoned:
                staying += server.used
        self._last_used = used
        if coming:
            self.leads.look(seen.now, seen.servers)
        return load, blind, staying

    def _enough(self, outlook: Sequence[tuple[float, float]]) -> float:
        """Slots with which no more than the accepted share is expected to wait at any of these times."""
        risk, most = self.risk, 0.0
        for mean, deviation in outlook:
            slots = mean + deviation * margin(risk * (mean + SMALL) / deviation) if deviation else mean
            if slots > most:
                most = slots
        return most

    def _insured(self, asked: Need, ready: int, coming: int, wanted: int) -> int:
        """How many to order so that what is expected to wait stays accepted, though orders fail."""
        slots, fails = self.limits.slots, self.leads.failure_rate + _LATE
        shares = [share(asked.outlook, (ready + more) * slots, SMALL) for more in range(coming + wanted + 1)]
        while insured(shares, fails) > INSURED * self.risk and len(shares) <= coming + 2 * wanted + 2:
            shares.append(share(asked.outlook, (ready + len(shares)) * slots, SMALL))
        return len(shares) - 1 - coming

    def _servers(self, streams: float) -> int:
        need = max(ceil(streams / self.limits.slots - 1e-9), self.limits.minimum)
        return need if self.limits.maximum is None else min(need, max(self.limits.maximum, 0))

    def _returned(self, closed: list[Server], kept: set[str]) -> tuple[str, ...]:
        return tuple(server.id for server in closed if server.known and server.used == 0 and server.id not in kept)
