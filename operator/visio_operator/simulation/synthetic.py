"""Synthetic months of captioned meetings: weekday curves, joins on the hour and half hour, groups, single joiners."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass

from .trace import STEP, Streams

MONDAY = 1_767_571_200
"""2026-01-05, a Monday, 00:00 UTC."""
_DAY_STEPS = 86_400 // STEP
_WEEKDAYS = (1.15, 1.0, 1.0, 1.02, 0.85, 0.03, 0.02)


@dataclass(frozen=True)
class Shape:
    """What a month looks like."""

    weeks: int = 8
    peak: float = 400.0
    """Streams in the middle of a usual morning."""
    group: float = 8.0
    """Captioned participants of a meeting (facts/scaling.md C3); 1 for single joiners."""
    minutes: float = 40.0
    on_the_hour: float = 0.6
    """Share of the meetings that begin at a full or half hour."""


def curve(hour: float) -> float:
    """How busy an hour of a working day is, from 0 to 1: morning, lunch, afternoon."""
    morning = math.exp(-(((hour - 10.2) / 1.5) ** 2))
    afternoon = 0.85 * math.exp(-(((hour - 15.0) / 1.7) ** 2))
    night = 0.01
    return min(1.0, morning + afternoon) + night


def generate(shape: Shape, seed: int, days: dict[int, float] | None = None) -> Streams:
    """A trace; `days` scales single days by number, such as a holiday (0.03) or a doubled Monday (2)."""
    chance = random.Random(seed)  # noqa: S311 - made-up meetings, no secret
    joins: list[list[int]] = [[] for _ in range(shape.weeks * 7 * _DAY_STEPS)]
    per_step = shape.peak / (shape.minutes * 60 / STEP) / shape.group
    for day in range(shape.weeks * 7):
        level = _WEEKDAYS[day % 7] * chance.gauss(1.0, 0.05) * (days or {}).get(day, 1.0)
        for step in range(_DAY_STEPS):
            rate = per_step * max(0.0, level) * curve(step * STEP / 3600)
            for _ in range(_poisson(chance, rate)):
                _meet(chance, shape, day * _DAY_STEPS + step, joins)
    return Streams(float(MONDAY), joins)


def _meet(chance: random.Random, shape: Shape, step: int, joins: list[list[int]]) -> None:
    planned = chance.random() < shape.on_the_hour
    if planned:
        step = round(step * STEP / 1800) * 1800 // STEP
    minutes = chance.choice((30, 30, 60)) if planned else chance.expovariate(1 / shape.minutes)
    end = step + max(2, round(minutes * 60 / STEP))
    people = 1 + _poisson(chance, shape.group - 1)
    for _ in range(people):
        join = step + (round(chance.gauss(1, 3)) if planned else round(chance.expovariate(1 / 2)))
        leave = end + round(chance.gauss(0, 3))
        if 0 <= join < len(joins):
            joins[join].append(max(1, leave - join))


def _poisson(chance: random.Random, mean: float) -> int:
    if mean <= 0:
        return 0
    if mean > 30:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    limit, count, product = math.exp(-mean), 0, chance.random()
    while product > limit:
        count += 1
        product *= chance.random()
    return count
