"""Captions servers ahead of demand: bought before the streams come, closed and returned when they are gone.

A numbered cycle, one for each reading: compare, learn, foresee, supply, buy, close, return. The planner is a state and
a pure step: no clock, no chance, the same readings give the same orders.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, sqrt
from typing import Any, NamedTuple

from .calendar import Calendar
from .errors import BUCKET, SMALL
from .forecast import Demand
from .lead_time import LeadTimes
from .overflow import insured, margin, share
from .panic import PATIENCE, Panic, Rush
from .servers import ByState, Limits, Orders, Reading, Server, by_state
from .spending import Spending

RISK = 0.7
"""Expected share of the load that may find no slot at the worst moment ahead, of the share of streams that may."""
CAUTION = 4
"""Power of the tail by which that is divided. Once would do if the tail were known; but it is learned from few heaps,
which hit all who come in them at once. With once four of eight fortnights of meetings let more wait than may; where
people come one by one the tail is 1, and nothing changes. The runs are in tests/ranges.yaml."""
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


class Need(NamedTuple):
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
    panic: bool = False
    """Everything is opened, and nothing closed or returned."""
    panic_said: str = ""
    """What there is to say of a panic that begins, goes on or ends."""


class _Look(NamedTuple):
    """What one reading says by itself."""

    load: int
    """Streams that run, wait or gave up; unknown ones are the last known ones, before that those of a full server."""
    blind: bool
    """A reading is missing."""
    staying: int
    """Streams on closed servers."""
    idle: bool
    """All servers are open: none is closed and none on its way."""


@dataclass
class Foresight:
    """What the planner of one pool of captions servers knows."""

    limits: Limits

    def __post_init__(self) -> None:
        self._bound(self.limits)
        self.demand = Demand()
        self.leads = LeadTimes()
        self.calendar = Calendar()
        self.panic = Panic()
        self._less_since: float | None = None
        self._last_used: dict[str, int] = {}
        self._idle: tuple[Need, Orders] | None = None
        """What was answered when nothing was to be done, to be said again as long as nothing changes."""
        self._asked: tuple[tuple[float, ...], Need] | None = None
        self._ahead = 0.0
        """The lead time that forecasts are judged for."""

    def limit(self, limits: Limits) -> None:
        """Go on with other limits."""
        if limits != self.limits:
            self.limits, self._asked, self._idle = limits, None, None
            self._bound(limits)

    def _bound(self, limits: Limits) -> None:
        self.risk = RISK * limits.blocked_target
        self._spending = Spending(limits)
        # Where so many may wait that no margin is kept, none is for later either.
        self._again = min(LIKELY, margin(limits.blocked_target))

    def foresee(self, seen: Reading) -> Need:
        """Take in one reading and say how many servers it asks for; readings come in the order of time."""
        return self._need(seen, self._look(seen))

    def _need(self, seen: Reading, look: _Look) -> Need:
        asked = self._foresee(seen, look)
        if self.panic.since is None and not (seen.queued or seen.rejected):
            return asked
        return self._with_panic(asked, seen)

    def _with_panic(self, asked: Need, seen: Reading) -> Need:
        """The need while people wait or a panic lasts. Where so many may wait that no margin is kept, there is none."""
        if not self._again:
            self.panic = Panic()
            return asked
        fleet, lead = by_state(seen.servers), self.leads.median()
        in_time = sum(self.leads.chance(seen.now - server.ordered, lead) for server in fleet.coming)
        rush = Rush(
            now=seen.now,
            load=asked.load,
            waiting=seen.queued + seen.rejected,
            longest=None if seen.rejected else seen.longest_wait,
            surge=self.demand.surge(),
            slots=self.limits.slots,
            there=len(fleet.open) + len(fleet.closed) + seen.starting,
            in_time=in_time,
            chance=self.leads.chance(0.0, PATIENCE),
            lead=lead,
            blind=asked.blind,
        )
        said = self.panic.look(rush)
        if self.panic.since is None or asked.blind:
            return asked._replace(panic=self.panic.since is not None, panic_said=said)
        enough = self._servers(rush.servers * rush.slots)
        said += f"; {rush.slots_wanted:.0f} slots are wanted, {rush.there} servers there, {enough} to be ordered for"
        need, soon = max(asked.servers, enough), max(asked.soon, enough)
        return asked._replace(servers=need, soon=soon, panic=True, panic_said=said)

    def _foresee(self, seen: Reading, look: _Look) -> Need:
        now = seen.now
        load, blind, staying, _ = look
        self._spending.pay(now, len(seen.servers))
        lead = self.leads.p95() + STEP

        # 1. Nothing changed since the last reading, as in most of a year's: nothing to learn, and the same need.
        half = now // _HALF
        same = (half, lead, load, staying, blind, seen.rehome)
        if self._asked is not None and self._asked[0] == same and not seen.calendar:
            return self._asked[1]

        # 2. Learn from what happened since the last reading.
        if lead != self._ahead:
            self._ahead = lead
            self.demand.look_ahead(lead)
        usual = self.calendar.observe(now, load, seen.calendar, self.demand)
        if not blind:
            self.demand.observe(now, usual)

        # 3. Foresee: what must be there when an order of now is, and what probably must after a second one.
        announced = self.calendar.upper(now, lead)
        middle = (half + 0.5) * _HALF
        self.risk = RISK * self.limits.blocked_target / self.demand.tail() ** CAUTION
        whole = self.demand.outlook(middle, usual, 2 * lead)
        known = self.demand.usual(int(now // BUCKET)) >= 0
        outlook = _until(middle + lead, now, whole, known)
        far = _until(middle + 2 * lead, now, whole, known)
        again = self._again
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
        look = self._look(seen)
        asked = self._need(seen, look)
        need = asked.servers
        if look.idle and seen.rehome and not asked.panic_said and need == len(seen.servers):
            # What is needed is there, and nothing else.
            if self._idle is None or self._idle[0] is not asked:
                self._less_since = None
                self._idle = asked, Orders(why=f"{asked.why}; {need} open, 0 closed, 0 coming")
            return self._idle[1]

        # 4. Supply: open servers, and orders that may still come.
        fleet = by_state(seen.servers)
        coming = self.expected((server.ordered for server in fleet.coming), now, seen.queued)
        why = f"{asked.why}; {len(fleet.open)} open, {len(fleet.closed)} closed, {len(fleet.coming)} coming"
        if asked.panic_said:
            why += f"; {asked.panic_said}"

        # 5. Buy, after what is closed was opened again.
        # Where streams stay, closed servers are there until they are returned; in a panic all of them are opened.
        there = len(fleet.open) + (0 if seen.rehome and not asked.panic else len(fleet.closed))
        missing = self.missing(asked, there, coming)
        if asked.panic:
            self._less_since = None
            order = self._spending.affordable(now, missing, len(seen.servers))
            limited = f", {missing - order} more than the limits allow" if order < missing else ""
            return Orders(order, (), tuple(server.id for server in fleet.closed), (), f"{why}{limited}")
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
        return Orders(0, closing, (), self._returned(fleet.closed, set()), why)

    def _stay(self, asked: Need, fleet: ByState, missing: int, owned: int, now: float, why: str) -> Orders:
        """Where streams stay until their end: servers are closed early, since they can be opened again until they are
        returned, and an empty one is returned only when it is not needed within a lead time either.
        """
        order = self._spending.affordable(now, missing, owned)
        limited = f", {missing - order} more than the limits allow" if 0 < order < missing else ""
        lacking = max(0, asked.soon - len(fleet.open))
        back = [server.id for server in sorted(fleet.closed, key=lambda server: -server.used)[:lacking]]
        spare = 0 if asked.blind or lacking else len(fleet.open) - max(asked.soon, self.limits.minimum)
        by_use = sorted(fleet.open, key=lambda server: (server.used, -server.ordered))
        # Only what is open and closed counts: what is on its way is not there yet.
        unneeded = max(0, len(fleet.open) + len(fleet.closed) - asked.servers)
        if unneeded and not asked.blind:
            self._less_since = now if self._less_since is None else self._less_since
            lasting = now - self._less_since >= HOLD
        else:
            self._less_since, lasting = None, False
        returned = self._returned(fleet.closed, set(back))[:unneeded] if lasting else ()
        return Orders(order, tuple(s.id for s in by_use[: max(0, spare)]), tuple(back), returned, f"{why}{limited}")

    def state(self) -> dict[str, Any]:
        """What was learned, as plain JSON; `restore` takes it back after a restart."""
        return {
            "demand": self.demand.state(),
            "leads": self.leads.state(),
            "calendar": self.calendar.state(),
            "spending": self._spending.state(),
            "panic": self.panic.state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        self.demand.restore(state["demand"])
        self.leads.restore(state["leads"])
        self.calendar.restore(state["calendar"])
        self._spending.restore(state["spending"])
        # What was kept before there was any panic has none.
        self.panic.restore(state.get("panic", Panic().state()))

    def _look(self, seen: Reading) -> _Look:
        load, blind, staying, idle = seen.queued + seen.rejected, not seen.known, 0, True
        used: dict[str, int] = {}
        coming = bool(self.leads.coming)
        for server in seen.servers:
            if server.known:
                used[server.id] = count = server.used
                load += count
            else:
                blind, last = True, self._last_used.get(server.id)
                if last is not None:
                    used[server.id] = last
                    load += last
                elif server.ready:
                    load += self.limits.slots
            if not server.ready:
                coming, idle = True, False
            if server.cordoned:
                staying += server.used
                idle = False
        self._last_used = used
        if coming:
            self.leads.look(seen.now, seen.servers)
        return _Look(load, blind, staying, idle)

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


def _until(end: float, now: float, outlook: list[tuple[float, float]], known: bool) -> list[tuple[float, float]]:
    """The load of now and of the buckets until a time, of the last of them as much as lies before it, and all of it
    where nothing is known of such a time.
    """
    last = 1 + int(end // BUCKET) - int(now // BUCKET)
    if not 0 < last < len(outlook):
        return outlook
    if not known:
        return outlook[: last + 1]
    before, spread = outlook[last - 1]
    mean, deviation = outlook[last]
    part = end % BUCKET / BUCKET
    variance = spread * spread + part * (deviation * deviation - spread * spread)
    return [*outlook[:last], (before + part * (mean - before), sqrt(variance))]
