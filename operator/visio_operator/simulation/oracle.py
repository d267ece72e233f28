"""What a buyer who knows the future would pay: a floor that nobody can reach, and a policy that runs in the same world.

The floor packs perfectly, moves at once and has no order that fails. The policy knows the streams to come and nothing
else: its orders are late or fail by the same chance, and its servers fill and drain as everybody's do.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from math import ceil

from visio_operator.plan.servers import Orders, Reading, by_state

from .cloud import Cloud
from .trace import STEP, Streams
from .world import Figures, Policy, World

_LATE = 2.2
"""Median lead times after which an order that has not come is taken for a failed one: 99 of 100 are there by then."""


@dataclass(frozen=True)
class Insight:
    """How a buyer who knows the demand deals with orders that he does not know; times in median lead times."""

    ahead: float = 2.0
    """How long before it is needed a server is ordered."""
    spare: int = 0
    """Orders beyond what is needed, as long as some that are needed may still fail."""
    keep: float = 1.0
    """How long a server that is not needed is kept when it is needed again: a new one costs one lead time."""
    stays: float = 0.3
    """Share of the streams on closed servers that need no slot elsewhere; nothing where streams move."""


def oracle_seconds(offered: Sequence[int], slots: int, lead: float, warm_up: int = 0) -> float:
    """Server seconds of a plan without a single stream that waits.

    The k-th server is needed whenever more than (k - 1) x `slots` streams are there. Between two such times it is kept
    where that is cheaper than a new order, which costs its lead time. Each server is a problem of its own, so the sum
    is the optimum of all plans that pack perfectly and move at once.
    """
    total = 0.0
    open_until: list[int] = []
    """For each level the first step in which it was not needed any more; -1 while it never was."""
    highest = 0
    for step in range(warm_up, len(offered)):
        needed = -(-offered[step] // slots)
        total += needed * STEP
        if needed > highest:
            for level in range(highest, needed):
                if level == len(open_until):
                    open_until.append(-1)
                gap = (step - open_until[level]) * STEP if open_until[level] >= 0 else lead
                total += min(gap, lead)
        elif needed < highest:
            for level in range(needed, highest):
                open_until[level] = step
        highest = needed
    return total


def clairvoyant(trace: Streams, slots: int, cloud: Cloud, insight: Insight) -> Policy:
    """A policy that knows how many streams there will be, but not which orders are late or fail."""
    offered = trace.offered()
    bought_for = highest_ahead(offered, round(insight.ahead * cloud.median / STEP))
    kept_for = highest_ahead(offered, 1 + round(insight.keep * cloud.median / STEP))
    soon = highest_ahead(offered, 2)

    def decide(seen: Reading) -> Orders:
        step = min(len(offered) - 1, round((seen.now - trace.start) / STEP))
        fleet = by_state(seen.servers)
        staying = 0.0 if seen.rehome else insight.stays * sum(server.used for server in fleet.closed)
        coming = sum(seen.now - server.ordered <= _LATE * cloud.median for server in fleet.coming)
        supply = len(fleet.open) + len(fleet.closed) + coming
        now_needed = max(ceil((soon[step] + seen.queued - staying) / slots), 0)
        wanted = max(ceil((bought_for[step] - staying) / slots), 0)
        if wanted > len(fleet.open) + len(fleet.closed):
            # Orders may fail, and one alone as likely as any; what comes beyond the need is returned at once.
            wanted += insight.spare + round(cloud.fails * (wanted - supply))
        keep = max(ceil((kept_for[step] - staying) / slots), 0)
        back = sorted(fleet.closed, key=lambda server: -server.used)[: max(0, now_needed - len(fleet.open))]
        # Where streams stay, whoever is closed can be opened again at once, so closing costs nothing.
        enough = keep if seen.rehome else now_needed
        spare = len(fleet.open) - enough
        closing = sorted(fleet.open, key=lambda server: server.used)[: max(0, spare)]
        opened = {server.id for server in back}
        empty = [server.id for server in fleet.closed if not server.used and server.id not in opened]
        surplus = max(0, len(fleet.open) + len(fleet.closed) - keep)
        return Orders(
            max(0, wanted - supply), tuple(server.id for server in closing), tuple(opened), tuple(empty[:surplus])
        )

    return decide


def cheapest_clairvoyant(
    trace: Streams, slots: int, cloud: Cloud, seed: int, rehome: bool, target: float, warm_up: int = 0
) -> Figures:
    """The cheapest of the settings of `clairvoyant` with which no more than the target waits; else what waits least."""
    runs = [
        World(trace, slots, cloud, seed, rehome).run(clairvoyant(trace, slots, cloud, insight), warm_up)
        for insight in insights(rehome)
    ]
    able = [figures for figures in runs if figures.waited_share <= target and not figures.lost]
    if able:
        return min(able, key=lambda figures: figures.server_seconds)
    return min(runs, key=lambda figures: figures.waited_share)


def usual_insight(rehome: bool) -> Insight:
    """One of the middle of those that are tried."""
    return Insight(ahead=1.8, spare=1, keep=1.0, stays=0.0 if rehome else Insight.stays)


def insights(rehome: bool) -> list[Insight]:
    """The settings that are tried."""
    stays = 0.0 if rehome else Insight.stays
    return [Insight(*each, stays) for each in product((1.4, 1.8, 2.2), (1, 2), (1.0, 1.5))]


def highest_ahead(values: Sequence[int], ahead: int) -> list[int]:
    """For each place the highest value from there on to so many places ahead."""
    found = [0] * len(values)
    best: deque[int] = deque()
    for place in range(len(values) - 1, -1, -1):
        while best and values[best[-1]] <= values[place]:
            best.pop()
        best.append(place)
        while best[0] > place + ahead:
            best.popleft()
        found[place] = values[best[0]]
    return found
