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
from collections.abc import Iterable, Mapping
from math import sqrt
from typing import Any
from zlib import compress, decompressobj, error

from .errors import BUCKET, DAY, FARTHEST, SMALL, WEEK, Errors, is_weekend

WEEKS = 6
_UNKNOWN = -1.0
_NEVER = 65_535
"""What stands for unknown in the kept history, whose entries are whole numbers of two bytes."""
_BLIND = 5.4
"""Variance of an error, in roots of the load, a lead time ahead and without other weeks to go by: three fifths of the
peakedness of meetings of eight (facts/scaling.md D5)."""
_FORGET = 1.0 - 1.0 / (2 * WEEK)
_SHAPED = 8
"""Days of a kind from which on they say what a day looks like."""
_AROUND = 6
"""Buckets before and after that say how a day of the week compares with the others: half an hour."""
_CHANCE = 27.0
"""Three times the peakedness of meetings of eight (facts/scaling.md D5): what is within it may be chance."""
_STEEPEST = 4.0
"""Times the usual load that a whole day is taken to be; what goes beyond is a deviation of the moment."""
_NEAR = 12
"""Buckets around a quiet time that have to be quiet as well: an hour."""
_AROUND_WEEKENDS = 6 * _NEAR
"""The same of weekends, of which a month has eight days only: where few people come, a gap of hours is chance."""
_QUIET_DAYS = {False: 15, True: 8}
"""Days of a kind, working days and weekends, that have to have been quiet."""

_Part = tuple[float, float, float, float, int]
"""What the usual load is then, which share of a deviation is left, how far forecasts were off on average and around
that, in roots of the load, and how many buckets ahead it is."""


class Demand:
    """The history of one load and its forecast. `observe` is called with every reading, in the order of time."""

    def __init__(self) -> None:
        self._weeks = [array("f", [_UNKNOWN] * WEEK) for _ in range(WEEKS + 1)]
        self._bucket = -1
        self._peak = 0.0
        self._recent: deque[float] = deque(maxlen=3)
        self._ahead = 2
        self._made: deque[tuple[int, float]] = deque(maxlen=64)
        self._load = 0.0
        self._ends: deque[tuple[int, float, float]] = deque(maxlen=FARTHEST)
        """Of the last buckets their number, the load at their end, and the usual one."""
        self._errors = Errors()
        self._blind = [_BLIND * 100.0, 100.0]
        self._means: dict[int, float] = {}
        self._own: dict[int, tuple[float, int]] = {}
        self._shapes: dict[int, tuple[float, int]] = {}
        self._quiet: dict[int, bool] = {}
        self._ever = False
        """Whether there ever was any load; before the first person nothing is kept ready."""
        self._parts: dict[tuple[int, int, bool], tuple[float, list[_Part]]] = {}

    def observe(self, now: float, load: float) -> None:
        """Take in a reading of the load at unix time `now`."""
        self._ever = self._ever or load > 0
        bucket = int(now // BUCKET)
        if bucket == self._bucket:
            self._load = load
            self._peak = max(self._peak, load)
            return
        if self._bucket >= 0:
            self._close(bucket)
        self._bucket, self._peak, self._load = bucket, load, load
        if bucket % DAY == 0:
            self._shapes, self._own, self._means = {}, {}, {}
        if bucket % _NEAR == 0:
            self._quiet = {}
            self._errors.refresh()

    def grow(self, factor: float) -> None:
        """So many times the people are expected from now on: the history becomes what it would have been with them."""
        for week in self._weeks:
            for place, value in enumerate(week):
                if value > 0:
                    week[place] = value * factor
        self._means, self._own, self._shapes, self._parts = {}, {}, {}, {}

    def look_ahead(self, seconds: float) -> None:
        """Judge forecasts up to twice so far ahead: the lead time of an order."""
        self._ahead = max(1, min(FARTHEST // 2, -int(-seconds // BUCKET)))

    def usual(self, bucket: int) -> float:
        """What the same time of other weeks had; negative when it was never seen."""
        found = self._means.get(bucket)
        if found is None:
            found = self._means[bucket] = self._smooth(bucket)
        return found

    def _smooth(self, bucket: int) -> float:
        """The mean of few weeks is off by chance; what all days of the kind have at that time says most of its shape.

        A time that is its own is left so: the more it stands out from the chance of groups the more it is believed.
        """
        own, weeks = self._seen(bucket)
        shape, days = self._shape(bucket)
        if own < 0 or not weeks or days < _SHAPED:
            return own
        around = range(bucket - _AROUND, bucket + _AROUND + 1)
        pairs = [(mean, self._shape(each)[0]) for each in around if (mean := self._seen(each)[0]) >= 0]
        level = (sum(mean for mean, _ in pairs) + SMALL) / (sum(curve for _, curve in pairs) + SMALL)
        shared = shape * level
        apart = (own - shared) ** 2
        return shared + (own - shared) * apart / (apart + _CHANCE * (shared + SMALL) / weeks)

    def _seen(self, bucket: int) -> tuple[float, int]:
        """The mean of the same time of other weeks, and of how many; of other days where there are none."""
        found = self._own.get(bucket)
        if found is None:
            found = self._own[bucket] = self._usual(bucket)
        return found

    def _shape(self, bucket: int) -> tuple[float, int]:
        """The middle half of what all days of this kind had at this time, and how many days they are."""
        found = self._shapes.get(bucket)
        if found is None:
            kind = is_weekend(bucket)
            values = sorted(
                value
                for before in range(bucket - WEEKS * WEEK, min(bucket, self._bucket), DAY)
                if is_weekend(before) == kind and (value := self._at(before)) >= 0
            )
            quarter = len(values) // 4
            middle = values[quarter : len(values) - quarter]
            found = self._shapes[bucket] = (sum(middle) / len(middle) if middle else 0.0, len(values))
        return found

    def upper(self, now: float, load: float, ahead: float, beta: float) -> float:
        """The load that is not exceeded until `now + ahead` seconds, at `beta` times the usual error."""
        return max((mean + beta * deviation for mean, deviation in self.outlook(now, load, ahead)), default=0.0)

    def outlook(self, now: float, load: float, ahead: float) -> list[tuple[float, float]]:
        """Mean and standard deviation of the load of now and of each bucket until `now + ahead` seconds.

        Empty where nobody is there and nobody ever came at such a time.
        """
        first, last = int(now // BUCKET), int((now + ahead) // BUCKET)
        late = now % BUCKET >= BUCKET / 2
        if load == 0 and not self._ever:
            return []
        if load == 0 and all(self._is_quiet(bucket) for bucket in range(first, last + 2)):
            return []
        key = (first, last, late)
        usual, part = self._parts.get(key) or self._part(*key)
        level = min((load + SMALL) / (usual + SMALL), _STEEPEST) - 1.0
        found = [(load, 0.0)]
        for then, left, bias, deviation, steps in part:
            if then < 0:
                expected = load + self._slope() * steps
            else:
                # As `bend` does it; this is the innermost loop of all.
                expected = then * max(0.0, 1.0 + left * level)
                if load > usual:
                    expected = max(expected, then + left * (load - usual))
            root = sqrt(expected + SMALL)
            found.append((expected + bias * root, deviation * root))
        return found

    def _part(self, first: int, last: int, late: bool) -> tuple[float, list[_Part]]:
        """What does not depend on the load of now: the usual one, and the parts of each bucket until the last."""
        before, here = self.usual(first - 1), self.usual(first)
        known = before >= 0 and here >= 0
        usual = (0.25 * before + 0.75 * here if late else 0.75 * before + 0.25 * here) if known else _UNKNOWN
        errors, found = self._errors, []
        blind = self._blind[0] / self._blind[1]
        for bucket in range(first, last + 1):
            then, steps = self.usual(bucket), bucket - first
            if not known or then < 0:
                share = (steps + 0.5) / self._ahead if bucket < last else max(0.5, steps) / self._ahead
                found.append((_UNKNOWN, 1.0, 0.0, sqrt(blind * min(3.0, share)), steps))
                continue
            # Between the ends of two buckets the forecast is between those that were judged.
            far, near = min(FARTHEST, steps + 1), min(FARTHEST, steps if late else steps + 1)
            variance, bias, left = errors.known(bucket, far)
            if near != far:
                other = errors.known(bucket, near)
                variance, bias, left = (variance + other[0]) / 2, (bias + other[1]) / 2, (left + other[2]) / 2
            found.append((then, left, bias, sqrt(variance), steps))
        self._parts[first, last, late] = usual, found
        return usual, found

    def tail(self) -> float:
        """How many times more streams than of a normal distribution come when many come."""
        return self._errors.tail()

    def state(self) -> dict[str, Any]:
        """The history and what was learned from it, as plain JSON: about 15 kB for seven weeks of a busy service."""
        whole = array("H", [_NEVER if value < 0 else min(_NEVER - 1, round(value)) for value in _chained(self._weeks)])
        if sys.byteorder == "big":
            whole.byteswap()
        return {
            "weeks": b64encode(compress(whole.tobytes(), 9)).decode(),
            "ever": self._ever,
            "bucket": self._bucket,
            "peak": self._peak,
            "recent": list(self._recent),
            "ahead": self._ahead,
            "made": [list(each) for each in self._made],
            "load": self._load,
            "ends": [list(each) for each in self._ends],
            "errors": self._errors.state(),
            "blind": self._blind,
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
        self._ever = bool(state["ever"])
        self._bucket, self._peak, self._ahead = int(state["bucket"]), float(state["peak"]), int(state["ahead"])
        self._recent = deque(map(float, state["recent"]), maxlen=3)
        self._made = deque(((int(bucket), float(load)) for bucket, load in state["made"]), maxlen=64)
        ends = ((int(bucket), float(load), float(usual)) for bucket, load, usual in state["ends"])
        self._load, self._ends = float(state["load"]), deque(ends, maxlen=FARTHEST)
        self._errors.restore(state["errors"])
        total, weight = map(float, state["blind"])
        self._blind = [total, weight]
        self._means, self._own, self._shapes, self._quiet, self._parts = {}, {}, {}, {}, {}

    def _is_quiet(self, bucket: int) -> bool:
        """Whether nobody ever came around this time on a day of this kind, in weeks enough to say so."""
        place = bucket // _NEAR
        found = self._quiet.get(place)
        if found is None:
            found = self._quiet[place] = self._seen_quiet(bucket)
        return found

    def _seen_quiet(self, bucket: int) -> bool:
        around = _AROUND_WEEKENDS if is_weekend(bucket) else _NEAR
        first = bucket // _NEAR * _NEAR - around
        days = 0
        for back in range(1, WEEKS * 7):
            start = first - back * DAY
            if is_weekend(start + around) != is_weekend(bucket):
                continue
            values = [self._at(each) for each in range(start, start + 2 * around + _NEAR)]
            if any(value > 0 for value in values):
                return False
            days += all(value == 0 for value in values)
        return days >= _QUIET_DAYS[is_weekend(bucket)]

    def _slope(self) -> float:
        """Growth per bucket lately, never negative: with no history nobody knows when a ramp ends."""
        if len(self._recent) < 2:
            return 0.0
        return max(0.0, (max(self._peak, self._recent[-1]) - self._recent[0]) / len(self._recent))

    def _close(self, following: int) -> None:
        """Put the finished bucket into the history, judge the forecast that was made for it, and make the next one."""
        self._parts = {}
        bucket, peak = self._bucket, self._peak
        usual = self.usual(bucket)
        self._judge(bucket, peak, usual)
        self._recent.append(peak)
        self._ends.append((bucket, self._load, usual))
        if usual < 0 or self.usual(bucket + self._ahead) < 0:
            self._made.append((bucket + self._ahead, peak + self._slope() * self._ahead))
        for missed in range(bucket, following):
            self._weeks[missed // WEEK % (WEEKS + 1)][missed % WEEK] = peak if missed == bucket else _UNKNOWN
        if following // WEEK != bucket // WEEK:
            for week in range(bucket // WEEK + 1, min(following // WEEK, bucket // WEEK + WEEKS) + 1):
                self._weeks[week % (WEEKS + 1)] = array("f", [_UNKNOWN] * WEEK)

    def _judge(self, bucket: int, peak: float, usual: float) -> None:
        """Learn from the forecasts that were made for a bucket."""
        while self._made and self._made[0][0] < bucket:
            self._made.popleft()
        if self._made and self._made[0][0] == bucket:
            expected = self._made.popleft()[1]
            scale = expected + SMALL
            weight = min(1.0, scale / 64.0)
            square = min(2.0 * max(0.0, peak - expected) ** 2 / scale, 400.0)
            self._blind = [self._blind[0] * _FORGET + weight * square, self._blind[1] * _FORGET + weight]
        if usual < 0:
            return
        judged = 2 * self._ahead + 2
        deviation = (peak - usual) / sqrt(usual + SMALL)
        for before, load, then in reversed(self._ends):
            steps = bucket - before
            if steps > min(judged, FARTHEST):
                break
            if then < 0 or (peak == 0 and load == 0):
                continue
            left = self._errors.stays(bucket, steps)
            expected = bend(load, then, usual, left)
            self._errors.judge(bucket, steps, peak - expected, expected, 1.0 / judged)
            self._errors.deviated(bucket, steps, (load - then) / sqrt(then + SMALL), deviation)

    def _at(self, bucket: int) -> float:
        value: float = self._weeks[bucket // WEEK % (WEEKS + 1)][bucket % WEEK]
        return value

    def _usual(self, bucket: int) -> tuple[float, int]:
        """The mean of the same time of other weeks, without the lowest and the highest where there are four, and of
        how many weeks it is; else, and of none, that of other days of the same kind.
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
            return sum(seen) / len(seen), len(seen)
        return self._other_days(bucket), 0

    def _other_days(self, bucket: int) -> float:
        kind = is_weekend(bucket)
        for back in range(1, 7):
            before = bucket - back * DAY
            if before <= self._bucket - DAY * 7 or before >= self._bucket:
                continue
            value = self._at(before)
            if value >= 0 and is_weekend(before) == kind:
                return value
        return _UNKNOWN


def bend(load: float, usual: float, then: float, left: float) -> float:
    """The usual load of later, bent to the deviation of now of which some is left."""
    level = min((load + SMALL) / (usual + SMALL), _STEEPEST) - 1.0
    expected = then * max(0.0, 1.0 + left * level)
    return max(expected, then + left * (load - usual)) if load > usual else expected


def _chained(weeks: Iterable[array[float]]) -> Iterable[float]:
    return (value for week in weeks for value in week)
