"""What others would do with the same readings."""

from __future__ import annotations

from collections import deque
from math import ceil

from visio_operator.plan.servers import Limits, Orders, Reading, by_state

from .world import Policy

_WINDOW = 300.0
_TOLERANCE = 0.1


def utilization(limits: Limits, target: float) -> Policy:
    """A HorizontalPodAutoscaler on used slots: 10 % tolerance, 300 s before it shrinks (facts/scaling.md C1).

    It knows no orders on their way but counts what it asked for, and takes servers away only when they are empty.
    """
    wanted: deque[tuple[float, int]] = deque()

    def decide(seen: Reading) -> Orders:
        fleet = by_state(seen.servers)
        load = sum(server.used for server in seen.servers) + seen.queued
        owned = len(fleet.open) + len(fleet.coming)
        ready = max(1, len(fleet.open))
        ratio = load / (ready * limits.slots) / target
        desired = owned if abs(ratio - 1) <= _TOLERANCE and fleet.open else ceil(load / limits.slots / target)
        desired = _bounded(max(desired, limits.minimum, 1), limits)
        wanted.append((seen.now, desired))
        while wanted[0][0] < seen.now - _WINDOW:
            wanted.popleft()
        desired = max(desired, min(owned, max(each for _, each in wanted)))
        release = tuple(server.id for server in fleet.closed if server.used == 0)
        if desired > owned:
            back = sorted(fleet.closed, key=lambda server: -server.used)[: desired - owned]
            kept = {server.id for server in back}
            return Orders(
                desired - owned - len(back), (), tuple(kept), tuple(name for name in release if name not in kept)
            )
        emptiest = sorted(fleet.open, key=lambda server: server.used)[: max(0, owned - desired)]
        return Orders(0, tuple(server.id for server in emptiest), (), release)

    return decide


def static_peak(limits: Limits, peak: int) -> Policy:
    """As many servers as the highest load of the whole trace needs, all the time."""
    wanted = _bounded(max(1, ceil(peak / limits.slots)), limits)

    def decide(seen: Reading) -> Orders:
        return Orders(max(0, wanted - len(seen.servers)))

    return decide


def _bounded(servers: int, limits: Limits) -> int:
    return servers if limits.maximum is None else min(servers, limits.maximum)
