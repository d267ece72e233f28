"""How many nodes each pool of a group shall have.

Pools of one group serve the same parts. Where a provider chooses itself which node it takes, many small pools make
single nodes returnable (facts/scaling.md A1), and where one is out of stock another one sells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from visio_operator.api.parts import GpuPool


@dataclass(frozen=True)
class View:
    """One pool in what matters to its share."""

    pool: GpuPool
    current: int
    """Nodes that the provider was told to have."""
    occupied: int
    """Nodes with pods of ours."""
    blocked: bool = False
    """The provider has just failed to deliver, so nothing more is ordered from it for a while."""

    @property
    def price(self) -> float | None:
        """Euros for a node and hour; None where it is not known."""
        return None if self.pool.price_per_hour is None else float(self.pool.price_per_hour)


@dataclass(frozen=True)
class Shares:
    """What came of it."""

    nodes: dict[str, int]
    """By pool."""
    beyond_max: int = 0
    """Nodes that no pool may have."""
    beyond_budget: int = 0
    """Nodes that the budget of the day does not carry."""


def share(need: int, views: Sequence[View], room: float) -> Shares:
    """Share out `need` nodes; `room` is in euros an hour for those that are not there yet.

    First what carries pods, then what is there or on order, then new nodes, each in the order of the spec: users put
    the pools first that they like best. Nodes with pods are kept even where fewer are needed.
    """
    alone = len(views) == 1
    nodes = {
        view.pool.name: min(need, view.current) if alone else min(max(view.occupied, view.pool.min), view.current)
        for view in views
    }
    left = max(0, need - sum(nodes.values()))
    for view in views:
        more = min(left, max(0, view.current - nodes[view.pool.name]))
        nodes[view.pool.name] += more
        left -= more
    poor = 0
    for view in views:
        if left <= 0 or view.blocked:
            continue
        able = min(left, max(0, view.pool.max - nodes[view.pool.name]))
        paid = able if not view.price else int(min(able, room / view.price))
        room -= paid * (view.price or 0.0)
        poor += able - paid
        nodes[view.pool.name] += paid
        left -= paid
    if any(view.blocked for view in views):
        # Whether there would have been room elsewhere is a question for when the provider sells again.
        left = min(left, max(0, need - sum(max(view.pool.max, view.current) for view in views)))
    return Shares(nodes, beyond_max=max(0, left - poor), beyond_budget=min(poor, left))
