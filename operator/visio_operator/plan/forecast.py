"""Demand ahead of time: the same time of other weeks, bent to today's level, with the error that this had lately.

need(t + h) = f(t + h) + beta x error(h), where f follows the conditional forecast of facts/scaling.md D5 (Whitt 1999):
what the weeks before had at t + h, moved by what is left of today's deviation. Durations of sessions are not known to
whoever only sees servers, so what is left of a deviation after a while, and how far off that is, are learned from the
forecasts of the last weeks. That the error is in proportion to the root of the load is the square-root rule for loss
systems with groups (D3, D4), its factor the root of the peakedness.
"""

from __future__ import annotations

import sys
from array import array
from base64 import b64decode, b64encode
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from math import sqrt
from typing import Any
from zlib import compress, decompressobj, error

BUCKET = 300
"""Seconds of one entry of the history, which is the highest load in that time."""
WEEK = 7 * 86_400 // BUCKET
DAY = 86_400 // BUCKET
WEEKS = 6
_UNKNOWN = -1.0
_NEVER = 65_535
"""What stands for unknown in the kept history, whose entries are whole numbers of two bytes."""
_SMALL = 16.0
"""Load below which a deviation is chance: two meetings of eight (facts/scaling.md C3)."""
_PEAKEDNESS = 9.0
"""Of meetings of eight on average, until errors were seen (facts/scaling.md D5)."""
_MOVED, _MOVED_BLIND = 0.4, 0.6
"""Share of that variance that a forecast over a lead time leaves, with and without other weeks to go by."""
_STAYS = 0.8
"""Share of a deviation that is left after a lead time, until it was seen: sessions of half an hour."""
_FORGET = 1.0 - 1.0 / (2 * WEEK)
_BINS = DAY // 6
"""Errors are kept by half hours of working days and weekends: ramps are harder to foresee than afternoons."""
_BIN_WEIGHT = 12.0
_STEEPEST = 4.0
"""Times the usual load that a whole day is taken to be; what goes beyond is a deviation of the moment."""
_NEAR = 12
"""Buckets around a quiet time that have to be quiet as well: an hour."""
_QUIET_DAYS = {False: 15, True: 8}
"""Days of a kind, working days and weekends, that have to have been quiet."""

_Part = tuple[float, float, float, int]
"""What the usual load is then, which share of a deviation is left, the error, and how many buckets ahead it is."""


class Demand:
    """The history of one load and its forecast. `observe` is called with every reading, in the order of time."""

    def __init__(self) -> None:
        self._weeks = [array("f", [_UNKNOWN] * WEEK) for _ in range(WEEKS + 1)]
        self._bucket = -1
        self._peak = 0.0
        self._recent: deque[float] = deque(maxlen=3)
        self._ahead = 2
        self._made: deque[tuple[int, float, bool]] = deque(maxlen=64)
        self._errors = _Errors(_PEAKEDNESS * _MOVED)
        self._blind = _Errors(_PEAKEDNESS * _MOVED_BLIND)
        self._both, self._own = _STAYS * 50.0, 50.0
        self._means: dict[int, float] = {}
        self._quiet: dict[int, bool] = {}
        self._parts: dict[tuple[int, int, float], list[_Part]] = {}

    def observe(self, now: float, load: float) -> None:
        """Take in a reading of the load at unix time `now`."""
        bucket = int(now // BUCKET)
        if bucket == self._bucket:
            self._peak = max(self._peak, load)
            return
        if self._bucket >= 0:
            self._close(bucket)
        self._bucket, self._peak = bucket, load
        self._means = {}
        if bucket % _NEAR == 0:
            self._quiet = {}

    def look_ahead(self, seconds: float) -> None:
        """Judge forecasts by how well they did so far ahead: the lead time of an order."""
        ahead = max(1, min(40, -int(-seconds // BUCKET)))
        if ahead != self._ahead:
            self._ahead, self._parts = ahead, {}

    def usual(self, bucket: int) -> float:
        """What the same time of other weeks had; negative when it was never seen."""
        found = self._means.get(bucket)
        if found is None:
            found = self._means[bucket] = self._usual(bucket)
        return found

    def upper(self, now: float, load: float, ahead: float, beta: float) -> float:
        """The load that is not exceeded until `now + ahead` seconds, at `beta` times the usual error."""
        first, last = int(now // BUCKET), int((now + ahead) // BUCKET)
        if load == 0 and all(self._is_quiet(bucket) for bucket in range(first, last + 2)):
            return 0.0
        usual = self.usual(first)
        level = min((load + _SMALL) / (usual + _SMALL), _STEEPEST) - 1.0
        most = load
        for then, left, error, steps in self._parts.get((first, last, beta)) or self._part(first, last, beta):
            if then < 0:
                expected = load + self._slope() * steps
            else:
                expected = then * max(0.0, 1.0 + left * level)
                if load > usual:
                    expected = max(expected, then + left * (load - usual))
            most = max(most, expected + error * sqrt(expected + _SMALL))
        return most

    def _part(self, first: int, last: int, beta: float) -> list[_Part]:
        """What does not depend on the load of now, for each bucket from the first to the last."""
        usual, span = self.usual(first), max(1, last - first)
        found: list[_Part] = []
        for bucket in range(first, last + 1):
            then = self.usual(bucket)
            known = usual >= 0 and then >= 0
            errors = self._errors if known else self._blind
            share = (bucket - first + 0.5) / self._ahead if bucket < last else max(0.5, span) / self._ahead
            error = beta * sqrt(errors.variance(bucket) * min(3.0, share))
            left = self._stays() ** ((bucket - first) / self._ahead)
            found.append((then if known else _UNKNOWN, left, error, bucket - first))
        self._parts[first, last, beta] = found
        return found

    def state(self) -> dict[str, Any]:
        """The history and what was learned from it, as plain JSON: about 15 kB for seven weeks of a busy service."""
        whole = array("H", [_NEVER if value < 0 else min(_NEVER - 1, round(value)) for value in _chained(self._weeks)])
        if sys.byteorder == "big":
            whole.byteswap()
        return {
            "weeks": b64encode(compress(whole.tobytes(), 9)).decode(),
            "bucket": self._bucket,
            "peak": self._peak,
            "recent": list(self._recent),
            "ahead": self._ahead,
            "made": [list(each) for each in self._made],
            "errors": self._errors.state(),
            "blind": self._blind.state(),
            "stays": [self._both, self._own],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take back what `state` gave. Raises ValueError, KeyError or TypeError for anything else."""
        whole = array("H")
        size = 2 * (WEEKS + 1) * WEEK
        try:
            # Bounded, whatever somebody wrote there.
            whole.frombytes(decompressobj().decompress(b64decode(state["weeks"], validate=True), size + 2))
        except error as problem:
            raise ValueError(f"the history cannot be unpacked: {problem}") from None
        if sys.byteorder == "big":
            whole.byteswap()
        if len(whole) != (WEEKS + 1) * WEEK:
            raise ValueError(f"the history has {len(whole)} entries")
        values = [_UNKNOWN if value == _NEVER else float(value) for value in whole]
        self._weeks = [array("f", values[week * WEEK : (week + 1) * WEEK]) for week in range(WEEKS + 1)]
        self._bucket, self._peak, self._ahead = int(state["bucket"]), float(state["peak"]), int(state["ahead"])
        self._recent = deque(map(float, state["recent"]), maxlen=3)
        made = ((int(bucket), float(load), bool(known)) for bucket, load, known in state["made"])
        self._made = deque(made, maxlen=64)
        self._errors.restore(state["errors"])
        self._blind.restore(state["blind"])
        self._both, self._own = map(float, state["stays"])
        self._means, self._quiet, self._parts = {}, {}, {}

    def _expected(self, load: float, usual: float, then: float, share: float, steps: int) -> float:
        if usual < 0 or then < 0:
            return load + self._slope() * steps
        left: float = self._stays() ** share
        level = (load + _SMALL) / (usual + _SMALL)
        bent = then * max(0.0, 1.0 + left * (min(level, _STEEPEST) - 1.0))
        return max(bent, then + left * (load - usual)) if load > usual else bent

    def _is_quiet(self, bucket: int) -> bool:
        """Whether nobody ever came within two hours of this time on a day of this kind, in weeks enough to say so."""
        place = bucket // _NEAR
        found = self._quiet.get(place)
        if found is None:
            found = self._quiet[place] = self._seen_quiet(bucket)
        return found

    def _seen_quiet(self, bucket: int) -> bool:
        first = bucket // _NEAR * _NEAR - _NEAR
        days = 0
        for back in range(1, WEEKS * 7):
            start = first - back * DAY
            if _is_weekend(start + _NEAR) != _is_weekend(bucket):
                continue
            values = [self._at(each) for each in range(start, start + 3 * _NEAR)]
            if any(value > 0 for value in values):
                return False
            days += all(value == 0 for value in values)
        return days >= _QUIET_DAYS[_is_weekend(bucket)]

    def _stays(self) -> float:
        """Share of a deviation that is left after the time looked ahead."""
        return max(0.05, min(1.0, self._both / self._own))

    def _slope(self) -> float:
        """Growth per bucket lately, never negative: with no history nobody knows when a ramp ends."""
        if len(self._recent) < 2:
            return 0.0
        return max(0.0, (max(self._peak, self._recent[-1]) - self._recent[0]) / len(self._recent))

    def _close(self, following: int) -> None:
        """Put the finished bucket into the history, judge the forecast that was made for it, and make the next one."""
        self._parts = {}
        bucket, peak = self._bucket, self._peak
        self._judge(bucket, peak)
        usual = self.usual(bucket)
        ahead = bucket + self._ahead
        then = self.usual(ahead)
        known = usual >= 0 and then >= 0
        self._recent.append(peak)
        self._made.append((ahead, self._expected(peak, usual, then, 1.0, self._ahead), known))
        if known:
            self._learn(bucket, peak)
        for missed in range(bucket, following):
            self._weeks[missed // WEEK % (WEEKS + 1)][missed % WEEK] = peak if missed == bucket else _UNKNOWN
        if following // WEEK != bucket // WEEK:
            for week in range(bucket // WEEK + 1, min(following // WEEK, bucket // WEEK + WEEKS) + 1):
                self._weeks[week % (WEEKS + 1)] = array("f", [_UNKNOWN] * WEEK)

    def _judge(self, bucket: int, peak: float) -> None:
        while self._made and self._made[0][0] < bucket:
            self._made.popleft()
        if self._made and self._made[0][0] == bucket:
            _, expected, known = self._made.popleft()
            (self._errors if known else self._blind).add(bucket, peak - expected, expected)

    def _learn(self, bucket: int, peak: float) -> None:
        """How much of a deviation stays, from pairs of deviations that far apart."""
        before = bucket - self._ahead
        then, usual = self._at(before), self.usual(bucket)
        old = self._usual(before)
        if then < 0 or old < 0 or usual < 0:
            return
        scale_then, scale_now = sqrt(old + _SMALL), sqrt(usual + _SMALL)
        deviation, now = (then - old) / scale_then, (peak - usual) / scale_now
        self._both = self._both * _FORGET + max(-9.0, min(9.0, deviation)) * max(-9.0, min(9.0, now))
        self._own = self._own * _FORGET + max(-9.0, min(9.0, deviation)) ** 2

    def _at(self, bucket: int) -> float:
        value: float = self._weeks[bucket // WEEK % (WEEKS + 1)][bucket % WEEK]
        return value

    def _usual(self, bucket: int) -> float:
        """The mean of the same time of other weeks, without the lowest and the highest where there are four; else that
        of other days of the same kind.
        """
        week, place = divmod(bucket, WEEK)
        seen = [
            value
            for back in range(1, WEEKS + 1)
            if (value := self._weeks[(week - back) % (WEEKS + 1)][place]) >= 0 and back <= week
        ]
        if len(seen) >= 4:
            seen.sort()
            seen = seen[1:-1]
        if seen:
            return sum(seen) / len(seen)
        return self._other_days(bucket)

    def _other_days(self, bucket: int) -> float:
        kind = _is_weekend(bucket)
        for back in range(1, 7):
            before = bucket - back * DAY
            if before <= self._bucket - DAY * 7 or before >= self._bucket:
                continue
            value = self._at(before)
            if value >= 0 and _is_weekend(before) == kind:
                return value
        return _UNKNOWN


class _Errors:
    """How far upwards forecasts were off, as a share of the root of the load: by half hour, leaning on the whole."""

    def __init__(self, prior: float) -> None:
        self._sum, self._weight = prior * 100.0, 100.0
        self._sums = [0.0] * (2 * _BINS)
        self._weights = [0.0] * (2 * _BINS)

    def add(self, bucket: int, error: float, expected: float) -> None:
        """The load was `error` above what was expected."""
        scale = expected + _SMALL
        # Twice the square of errors upwards is the variance where both sides are alike.
        square = min(2.0 * max(0.0, error) ** 2 / scale, 400.0)
        weight = min(1.0, scale / 64.0)
        self._sum = self._sum * _FORGET + weight * square
        self._weight = self._weight * _FORGET + weight
        place = _bin(bucket)
        keep = 1.0 - 1.0 / 120.0
        self._sums[place] = self._sums[place] * keep + weight * square
        self._weights[place] = self._weights[place] * keep + weight

    def state(self) -> list[float]:
        """The sums and weights of the whole and of each half hour."""
        return [round(each, 4) for each in (self._sum, self._weight, *self._sums, *self._weights)]

    def restore(self, state: Sequence[float]) -> None:
        """Take back what `state` gave."""
        self._sum, self._weight, *bins = map(float, state)
        if len(bins) != 4 * _BINS:
            raise ValueError(f"the errors have {len(bins)} entries")
        self._sums, self._weights = bins[: 2 * _BINS], bins[2 * _BINS :]

    def variance(self, bucket: int) -> float:
        """Of the time that a bucket belongs to."""
        place = _bin(bucket)
        whole = self._sum / self._weight
        return (self._sums[place] + _BIN_WEIGHT * whole) / (self._weights[place] + _BIN_WEIGHT)


def _chained(weeks: Iterable[array[float]]) -> Iterable[float]:
    return (value for week in weeks for value in week)


def _bin(bucket: int) -> int:
    return bucket % DAY // 6 + (_BINS if _is_weekend(bucket) else 0)


def _is_weekend(bucket: int) -> bool:
    # Day 0 of unix time was a Thursday.
    return (bucket // DAY + 4) % 7 in (0, 6)
