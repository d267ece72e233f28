"""The cheapest that a buyer who knows the future could pay, with the same lead time, packing and moving."""

from __future__ import annotations

from collections.abc import Sequence

from .trace import STEP


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
