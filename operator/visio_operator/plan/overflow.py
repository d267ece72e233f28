"""How many streams are expected to find no slot: the loss function of the normal distribution, and its inverse.

E[max(0, X - c)] = sd x (phi(z) - z x Q(z)) with z = (c - mean) / sd, as newsvendors have it (facts/scaling.md D2).
Where a quantile counts moments in which anybody waits, this counts those who do.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from math import erfc, exp, pi, sqrt

_HIGHEST = 6.0
_GRID = 600


def standard_loss(z: float) -> float:
    """What a standard normal variable exceeds z by on average."""
    if z > _HIGHEST:
        return 0.0
    return exp(-z * z / 2) / sqrt(2 * pi) - z * erfc(z / sqrt(2)) / 2


_ZS = [_HIGHEST - _HIGHEST * place / _GRID for place in range(_GRID + 1)]
_LOSSES = [standard_loss(z) for z in _ZS]


def margin(loss: float) -> float:
    """How many standard deviations above the mean are exceeded by no more than so much on average; from 0 to 6."""
    return _ZS[bisect_right(_LOSSES, loss, 1) - 1]


def share(outlook: Sequence[tuple[float, float]], slots: float, small: float) -> float:
    """The highest share of the load of any of these times that finds no slot; each has a mean and a deviation."""
    worst = 0.0
    for mean, deviation in outlook:
        lost = deviation * standard_loss((slots - mean) / deviation) if deviation else max(0.0, mean - slots)
        worst = max(worst, lost / (mean + small))
    return worst


def insured(shares: Sequence[float], fails: float) -> float:
    """The expected share when each order fails by chance; `shares[j]` is that with j orders that come."""
    total, chance, orders = 0.0, (1.0 - fails) ** (len(shares) - 1), len(shares) - 1
    for missing in range(orders + 1):
        total += chance * shares[orders - missing]
        chance *= (orders - missing) / (missing + 1) * fails / (1.0 - fails)
    return total
