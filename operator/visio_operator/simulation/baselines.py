"""What others would do with the same readings.

All take servers away only when they are empty: first closed, then returned when the last stream has left. None knows
budgets; bounds hold for all. Each keeps one server at least, as an autoscaler without scaling to zero does.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from math import ceil
from statistics import median

from visio_operator.plan.servers import ByState, Limits, Orders, Reading, by_state

from .trace import STEP
from .world import Policy

_WINDOW = 300.0
_TOLERANCE = 0.1
_HOUR, _DAY = 3600, 86_400


def utilization(limits: Limits, target: float) -> Policy:
    """A HorizontalPodAutoscaler on used slots: 10 % tolerance, 300 s before it shrinks (facts/scaling.md C1).

    It knows no orders on their way but counts what it asked for.
    """
    return office_hours(limits, target, None)


@dataclass(frozen=True)
class Office:
    """A cron window as somebody writes it: the same hours on some weekdays, and servers that shall be there then."""

    weekdays: frozenset[int]
    """Monday is 0."""
    opens: float
    """Hour of the day in UTC, with its fraction."""
    closes: float
    servers: int

    def wants(self, now: float) -> int:
        """The servers of the window at a time, 0 outside of it."""
        day, second = divmod(now, _DAY)
        inside = (int(day) + 3) % 7 in self.weekdays and self.opens * _HOUR <= second < self.closes * _HOUR
        return self.servers if inside else 0


def learn_office(offered: Sequence[int], start: float, limits: Limits, target: float) -> Office | None:
    """The window that a careful user would write after a look at some weeks; None without a whole day.

    The weekdays whose usual peak is at least half of that of the busiest one; on those, from half an hour before the
    first hour that usually reaches a quarter of the busiest one until the end of the last such hour; servers for what
    an hour between them usually needs. Usually is the median over the days.
    """
    per_hour = _HOUR // STEP
    peaks = [
        max(offered[at : at + per_hour]) for at in range(0, len(offered) // (24 * per_hour) * 24 * per_hour, per_hour)
    ]
    days = [peaks[at : at + 24] for at in range(0, len(peaks), 24)]
    first = datetime.fromtimestamp(start, UTC).weekday()
    by_weekday = {day: [max(hours) for hours in days[(day - first) % 7 :: 7]] for day in range(7)}
    usual = {day: median(found) for day, found in by_weekday.items() if found}
    if not usual or max(usual.values()) == 0:
        return None
    weekdays = frozenset(day for day, peak in usual.items() if peak >= 0.5 * max(usual.values()))
    working = [hours for number, hours in enumerate(days) if (first + number) % 7 in weekdays]
    typical = [median(hours[hour] for hours in working) for hour in range(24)]
    busy = [hour for hour in range(24) if typical[hour] >= 0.25 * max(typical)]
    load = median(typical[busy[0] : busy[-1] + 1])
    return Office(weekdays, max(0.0, busy[0] - 0.5), busy[-1] + 1.0, max(1, ceil(load / limits.slots / target)))


def office_hours(limits: Limits, target: float, office: Office | None) -> Policy:
    """KEDA with a cron trigger and one on used slots: the HPA that KEDA makes takes the higher of the two.

    keda.sh cron scaler: `desiredReplicas` between `start` and `end`, the minimum outside; what shrinks waits for the
    HPA's 300 s, since KEDA's own cooldown counts for zero only (facts/scaling.md C1).
    """
    wanted: deque[tuple[float, int]] = deque()

    def decide(seen: Reading) -> Orders:
        fleet = by_state(seen.servers)
        load = _load(seen)
        owned = len(fleet.open) + len(fleet.coming)
        ratio = load / (max(1, len(fleet.open)) * limits.slots) / target
        desired = owned if abs(ratio - 1) <= _TOLERANCE and fleet.open else ceil(load / limits.slots / target)
        desired = _bounded(max(desired, office.wants(seen.now) if office else 0), limits)
        wanted.append((seen.now, desired))
        while wanted[0][0] < seen.now - _WINDOW:
            wanted.popleft()
        return _reach(max(desired, min(owned, max(each for _, each in wanted))), fleet)

    return decide


_TARGET, _STABLE, _PANIC = 0.7, 60.0, 2.0


def two_windows(limits: Limits) -> Policy:
    """Knative's autoscaler: 70 % of the slots over a stable window of 60 s, and a panic window of 6 s.

    knative/serving `config/core/configmaps/autoscaler.yaml` (facts/scaling.md C1): at 200 % of what is ready it panics,
    then follows the short window, never shrinks, and calms down a stable window after the last such look. At one look
    each 30 s the short window is the newest look. Its limit of halving each 2 s is none at that pace.
    """
    loads: deque[tuple[float, int]] = deque()
    panics_until, most = -1.0, 0

    def decide(seen: Reading) -> Orders:
        nonlocal panics_until, most
        fleet = by_state(seen.servers)
        loads.append((seen.now, _load(seen)))
        while loads[0][0] <= seen.now - _STABLE:
            loads.popleft()
        per_server = _TARGET * limits.slots
        stable = ceil(sum(load for _, load in loads) / len(loads) / per_server)
        newest = ceil(loads[-1][1] / per_server)
        if newest >= _PANIC * max(1, len(fleet.open)):
            panics_until = seen.now + _STABLE
        if seen.now <= panics_until:
            most = max(most, stable, newest)
            return _reach(_bounded(most, limits), fleet)
        most = 0
        return _reach(_bounded(stable, limits), fleet)

    return decide


_PERIOD, _UP_PERIODS, _DOWN_PERIODS, _GRACE = 60.0, 2, 4, 480.0
_UP, _DOWN = 0.8, 0.3


def steps(limits: Limits) -> Policy:
    """Jitsi's autoscaler: one server more or less after some periods over or under a threshold of the mean stress.

    jitsi/jitsi-autoscaler (facts/scaling.md C1): periods of 60 s, 2 of them at 80 % or more for one up, 4 below 30 %
    for one down (the thresholds of its documented example), 480 s of grace after each change, and no change while the
    number of servers, with those on their way, is not the desired one; servers that never came are ordered again.
    Streams in line count as stress, which is kinder than its own measure. Its scheduled periods are not played; the
    cron window of KEDA is.
    """
    looks: list[float] = []
    periods: deque[float] = deque(maxlen=_DOWN_PERIODS)
    desired, changed = 0, -_GRACE

    def decide(seen: Reading) -> Orders:
        nonlocal desired, changed
        fleet = by_state(seen.servers)
        if fleet.open:
            looks.append(_load(seen) / (len(fleet.open) * limits.slots))
        if len(looks) * STEP >= _PERIOD:
            periods.appendleft(sum(looks) / len(looks))
            looks.clear()
        desired = _bounded(desired, limits)
        settled = len(fleet.open) + len(fleet.coming) == desired and seen.now - changed >= _GRACE
        if settled and len(periods) >= _UP_PERIODS and min(list(periods)[:_UP_PERIODS]) >= _UP:
            change = 1
        elif settled and len(periods) == _DOWN_PERIODS and max(periods) < _DOWN:
            change = -1
        else:
            return _reach(desired, fleet)
        if (after := _bounded(desired + change, limits)) != desired:
            desired, changed = after, seen.now
        return _reach(desired, fleet)

    return decide


def static_peak(limits: Limits, peak: int) -> Policy:
    """As many servers as the highest load of the whole trace needs, all the time."""
    wanted = _bounded(ceil(peak / limits.slots), limits)

    def decide(seen: Reading) -> Orders:
        return Orders(max(0, wanted - len(seen.servers)))

    return decide


_UNNEEDED = 600.0


def worker_per_job(limits: Limits) -> Policy:
    """KEDA's ScaledJob on the length of the queue: a worker for each waiting recording at once.

    keda.sh ScaledJob, default strategy with a queue length of 1 for each: those that are on their way count. Behind it
    a cluster-autoscaler, which takes an idle node after 600 s (facts/scaling.md A4); until then it takes other work.
    """
    idle_since: dict[str, float] = {}

    def decide(seen: Reading) -> Orders:
        fleet = by_state(seen.servers)
        idle = {server.id for server in fleet.open if not server.used}
        for name in idle_since.keys() - idle:
            del idle_since[name]
        for server in fleet.open:
            if server.id in idle:
                idle_since.setdefault(server.id, seen.now)
        owned = len(fleet.open) + len(fleet.coming)
        busy = len(fleet.open) - len(idle)
        needed = max(busy + len(seen.jobs), limits.minimum)
        needed = needed if limits.maximum is None else min(needed, limits.maximum)
        if needed >= owned:
            return _reach(needed, fleet)
        unneeded = [
            server.id for server in fleet.open if server.id in idle and seen.now - idle_since[server.id] >= _UNNEEDED
        ]
        return Orders(0, tuple(unneeded[: owned - needed]), (), _empty(fleet, ()))

    return decide


def _load(seen: Reading) -> int:
    return sum(server.used for server in seen.servers) + seen.queued


def _bounded(servers: int, limits: Limits) -> int:
    servers = max(servers, limits.minimum, 1)
    return servers if limits.maximum is None else min(servers, limits.maximum)


def _reach(desired: int, fleet: ByState) -> Orders:
    """Own so many servers: closed ones are opened again before others are bought, the emptiest are closed first."""
    owned = len(fleet.open) + len(fleet.coming)
    if desired > owned:
        back = sorted(fleet.closed, key=lambda server: -server.used)[: desired - owned]
        kept = tuple(server.id for server in back)
        return Orders(desired - owned - len(back), (), kept, _empty(fleet, kept))
    emptiest = sorted(fleet.open, key=lambda server: server.used)[: owned - desired]
    return Orders(0, tuple(server.id for server in emptiest), (), _empty(fleet, ()))


def _empty(fleet: ByState, kept: Sequence[str]) -> tuple[str, ...]:
    return tuple(server.id for server in fleet.closed if server.used == 0 and server.id not in kept)
