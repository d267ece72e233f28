"""How far off forecasts were, and how much of a deviation stayed: by how far ahead, and by the minutes of the hour.

Meetings begin and end at the full and the half hour (facts/scaling.md D8). What is there at ten past says nearly all
about twenty past, and little about the next half hour, so both are learned for each twelfth of the hour apart. All
of it leans on what was seen so far ahead at any minute, and that on the square-root rule for groups (D3, D4).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import copy
from math import exp, sqrt
from typing import Any

BUCKET = 300
"""Seconds of one entry of the history, which is the highest load in that time."""
DAY = 86_400 // BUCKET
WEEK = 7 * DAY
SMALL = 16.0
"""Load below which a deviation is chance: two meetings of eight (facts/scaling.md C3)."""
FARTHEST = 40
"""Buckets ahead that are judged at most."""
PHASES = 3600 // BUCKET
_PEAKEDNESS = 9.0
"""Of meetings of eight on average, until errors were seen (facts/scaling.md D5)."""
_SESSION = 6.0
"""Buckets of a session until deviations were seen: half an hour."""
_FORGET = 1.0 - 1.0 / (2 * WEEK)
_FORGET_CELL = 1.0 - 1.0 / 480.0
"""A minute of the hour comes 24 times a day: 20 days."""
_FORGET_PART = 1.0 - 1.0 / 480.0
"""Ten days or so of a half hour: one day out of the ordinary is no rule for the next ones."""
_PRIOR, _LEAN, _LEAN_STAYS = 100.0, 24.0, 60.0
_PARTS = DAY // 6
_LEAN_PART = 12.0
_WORST = 20.0
"""What one error counts for at most, in roots of the load."""
_MOST = 9.0
"""The same of a deviation from the usual load."""
STEEPEST = 4.0
"""Times the usual load that a whole day is taken to be; what goes beyond is a deviation of the moment."""
_FIELDS = 5
_FARTHEST_OUT, _FARTHEST_OF_PART = 4.0, 3.0
"""Deviations that an error counts for at most: who joins twice as many on one day says little of other days, and what
comes again and again makes the deviation grow until it is within them."""
_FAR_OUT, _NORMAL_TAIL, _MOST_TAIL = 2.0, 0.00849, 8.0
"""Deviations from which on the tail is judged, and what is beyond of a normal distribution on average."""
_PRIOR_TAIL, _FORGET_TAIL = 500.0, 1.0 - 1.0 / 20_000.0


class Errors:
    """Learns from every forecast that came due. Errors are in roots of the load that was expected."""

    def __init__(self) -> None:
        self._whole = [_prior(steps) for steps in range(FARTHEST + 1)]
        """For each number of buckets ahead: weight, sum of errors, of squares upwards, and what stays of deviations."""
        self._cells: dict[tuple[int, int], list[float]] = {}
        self._parts = [[0.0, 0.0] for _ in range(2 * _PARTS)]
        """Weight and squares of each half hour of working days and of weekends, of what is usual."""
        self._tail = [_PRIOR_TAIL * _NORMAL_TAIL, _PRIOR_TAIL]
        """By how much forecasts were off beyond twice the deviation, and how many there were."""
        self._known: dict[tuple[int, int], tuple[float, float, float]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Errors:
        """One of its own, made in lists and not value by value."""
        other = copy(self)
        other._whole, other._parts = [each[:] for each in self._whole], [each[:] for each in self._parts]
        other._cells = {place: cell[:] for place, cell in self._cells.items()}
        other._tail, other._known = self._tail[:], self._known.copy()
        return other

    def learn(
        self, bucket: int, peak: float, usual: float, ends: Iterable[tuple[int, float, float, float]], judged: int
    ) -> None:
        """Judge what was foreseen for a bucket from so many before. Its load was `peak`; `ends` has those before with
        the last one first: their number, the load at their end, what was usual then, and how sure it was that the
        whole day was another one.

        Chance in small loads counts for little.
        """
        part, place = 1.0 / judged, self._parts[_part(bucket)]
        now = _within((peak - usual) / sqrt(usual + SMALL), _MOST)
        for before, load, then, special in ends:
            steps = bucket - before
            if steps > judged or steps > FARTHEST:
                break
            if then < 0 or (peak == 0 and load == 0):
                continue
            whole, cell = self._whole[steps], self._cell(bucket, steps)
            left = _stays(whole, cell)
            expected = bend(load, then, usual, left + (1.0 - left) * special)
            scale = expected + SMALL
            weight = scale / 64.0 if scale < 64.0 else 1.0
            off = _within((peak - expected) / scale**0.5, _WORST)
            bias, spread = _bias(whole, cell), _spread(whole, cell)
            deviation = _at_that_time(spread, place) ** 0.5
            above = _within(off - bias, _FARTHEST_OUT * deviation)
            off = bias + above
            # Twice the square of errors upwards is the variance where both sides are alike.
            square = 2.0 * above * above if above > 0 else 0.0
            if 2.0 * part * steps <= 1.2:
                over = above / deviation - _FAR_OUT
                self._tail[0] = self._tail[0] * _FORGET_TAIL + (weight * over if over > 0.0 else 0.0)
                self._tail[1] = self._tail[1] * _FORGET_TAIL + weight
            place[0] = place[0] * _FORGET_PART + weight * part
            farthest = 2.0 * (_FARTHEST_OF_PART * deviation) ** 2
            place[1] = place[1] * _FORGET_PART + weight * part * (square if square < farthest else farthest) / spread
            was = _within((load - then) / sqrt(then + SMALL), _MOST)
            for found, keep in ((whole, _FORGET), (cell, _FORGET_CELL)):
                found[0] = found[0] * keep + weight
                found[1] = found[1] * keep + weight * off
                found[2] = found[2] * keep + weight * square
                found[3] = found[3] * keep + was * now
                found[4] = found[4] * keep + was * was

    def tail(self) -> float:
        """How many times more is beyond twice the deviation than of a normal distribution: meetings come in heaps."""
        return max(1.0, min(_MOST_TAIL, self._tail[0] / self._tail[1] / _NORMAL_TAIL))

    def known(self, bucket: int, steps: int) -> tuple[float, float, float]:
        """Variance, bias and what stays of a deviation, as they were learned an hour ago at the latest."""
        if not steps:
            return 0.0, 0.0, 1.0
        place = (bucket, steps)
        found = self._known.get(place)
        if found is None:
            whole, cell = self._whole[steps], self._cell(bucket, steps)
            variance = _at_that_time(_spread(whole, cell), self._parts[_part(bucket)])
            found = self._known[place] = variance, _bias(whole, cell), _stays(whole, cell)
        return found

    def refresh(self) -> None:
        """Use what was learned since the last time."""
        self._known = {}

    def _cell(self, bucket: int, steps: int) -> list[float]:
        place = (steps, bucket % PHASES)
        found = self._cells.get(place)
        if found is None:
            found = self._cells[place] = [0.0] * _FIELDS
        return found

    def state(self) -> dict[str, list[list[float]]]:
        """What was learned, as plain JSON."""
        cells = [[*place, *_rounded(values)] for place, values in sorted(self._cells.items()) if values[0]]
        return {
            "whole": [_rounded(each) for each in self._whole],
            "cells": cells,
            "parts": [_rounded(each) for each in self._parts],
            "tail": [self._tail],
        }

    def restore(self, state: dict[str, Sequence[Sequence[float]]]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        ((beyond, judged),) = state["tail"]
        whole = [list(map(float, each)) for each in state["whole"]]
        parts = [list(map(float, each)) for each in state["parts"]]
        cells = {}
        for steps, phase, *values in state["cells"]:
            if not (1 <= steps <= FARTHEST and 0 <= phase < PHASES and len(values) == _FIELDS):
                raise ValueError("the errors are not those of this planner")
            cells[int(steps), int(phase)] = list(map(float, values))
        if {len(each) for each in whole} != {_FIELDS} or {len(each) for each in parts} != {2}:
            raise ValueError("the errors are not those of this planner")
        if (len(whole), len(parts)) != (FARTHEST + 1, 2 * _PARTS) or any(
            each[0] <= 0 or each[4] <= 0 for each in whole
        ):
            raise ValueError("the errors are not those of this planner")
        self._tail = [float(beyond), float(judged)]
        self._whole, self._parts, self._cells, self._known = whole, parts, cells, {}


def is_weekend(bucket: int) -> bool:
    """Whether a bucket is of a Saturday or a Sunday; day 0 of unix time was a Thursday."""
    return (bucket // DAY + 4) % 7 in (0, 6)


def bend(load: float, usual: float, then: float, left: float) -> float:
    """The usual load of later, bent to the deviation of now of which some is left."""
    level = min((load + SMALL) / (usual + SMALL), STEEPEST) - 1.0
    factor = 1.0 + left * level
    expected = then * factor if factor > 0.0 else 0.0
    return max(expected, then + left * (load - usual)) if load > usual else expected


def _within(value: float, most: float) -> float:
    """The value, or the bound on its side. Said as a comparison, which costs a fraction of what min and max do."""
    return most if value > most else value if value > -most else -most


def _prior(steps: int) -> list[float]:
    """As if sessions were half an hour long (facts/scaling.md D5)."""
    square = _PEAKEDNESS * (1.0 - exp(-2.0 * max(steps, 1) / _SESSION))
    return [_PRIOR, 0.0, _PRIOR * square, 50.0 * exp(-steps / _SESSION), 50.0]


def _stays(whole: Sequence[float], cell: Sequence[float]) -> float:
    """Share of a deviation that is left: that of this minute of the hour, which leans on that of all minutes."""
    usual = whole[3] / whole[4]
    left = (cell[3] + _LEAN_STAYS * usual) / (cell[4] + _LEAN_STAYS)
    return 1.0 if left > 1.0 else left if left > 0.0 else 0.0


def _bias(whole: Sequence[float], cell: Sequence[float]) -> float:
    """What loads were above the forecast on average."""
    return (cell[1] + _LEAN * whole[1] / whole[0]) / (cell[0] + _LEAN)


def _spread(whole: Sequence[float], cell: Sequence[float]) -> float:
    """Variance of the error of a forecast, whatever the time of day."""
    spread = (cell[2] + _LEAN * whole[2] / whole[0]) / (cell[0] + _LEAN)
    return spread if spread > 0.05 else 0.05


def _at_that_time(spread: float, part: Sequence[float]) -> float:
    """The variance in a half hour of the day."""
    weight, total = part
    return spread * (total + _LEAN_PART) / (weight + _LEAN_PART)


def _part(bucket: int) -> int:
    return bucket % DAY // 6 + (_PARTS if is_weekend(bucket) else 0)


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(each, 3) for each in values]
