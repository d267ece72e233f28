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
from collections.abc import Mapping
from copy import copy, deepcopy
from itertools import chain, islice, pairwise
from math import inf, sqrt
from typing import Any
from zlib import compress, decompressobj, error

from .errors import BUCKET, DAY, FARTHEST, SMALL, STEEPEST, WEEK, Errors, is_weekend

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
_NEAR = 12
"""Buckets before a quiet half hour that have to be quiet as well: an hour."""
_HALF_HOUR = 6
"""The same of those after it, which are known better: days begin more punctually than they end."""
_AROUND_WEEKENDS = 6 * _NEAR
"""Both of weekends, of which a month has eight days only: where few people come, a gap of hours is chance."""
_QUIET_DAYS = {False: 15, True: 8}
"""Days of a kind, working days and weekends, that have to have been quiet."""
_STEADY = 24
"""Buckets for which a deviation has to last until it may be one of the whole day: two hours."""
_LIKE_OTHERS = 0.1  # Of the chance of groups: no reason to think of another day.

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
        self._ends: deque[tuple[int, float, float, float]] = deque(maxlen=FARTHEST)
        """Of the last buckets their number, the load at their end, the usual one, and `_special` of then."""
        self._special = 0.0
        """How sure it is that this whole day is another one than usual, from 0 to 1."""
        self._errors = Errors()
        self._blind = [_BLIND * 100.0, 100.0]
        self._means: dict[int, float] = {}
        self._own: dict[int, tuple[float, int]] = {}
        self._shapes: dict[int, tuple[float, int]] = {}
        self._quiet: dict[int, bool] = {}
        self._ever = False
        """Whether there ever was any load; before the first person nothing is kept ready."""
        self._parts: dict[tuple[int, int, bool], tuple[float, list[_Part]]] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> Demand:
        """One of its own: a decision works on a copy, which took most of its time where it was made value by value."""
        other = copy(self)
        other._weeks, other._blind = [week[:] for week in self._weeks], self._blind[:]
        other._errors = deepcopy(self._errors)
        for name in ("_recent", "_made", "_ends", "_means", "_own", "_shapes", "_quiet", "_parts"):
            setattr(other, name, getattr(self, name).copy())
        return other

    def observe(self, now: float, load: float) -> None:
        """Take in a reading of the load at unix time `now`."""
        self._ever = self._ever or load > 0
        bucket = int(now // BUCKET)
        if bucket == self._bucket:
            self._load = load
            if load > self._peak:
                self._peak = load
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
        means, curves = 0.0, 0.0
        for each in range(bucket - _AROUND, bucket + _AROUND + 1):
            mean = (self._own.get(each) or self._seen(each))[0]
            if mean >= 0:
                means += mean
                curves += (self._shapes.get(each) or self._shape(each))[0]
        level = (means + SMALL) / (curves + SMALL)
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
            kind, weeks, values = is_weekend(bucket), self._weeks * 2, []
            first, last = bucket - WEEKS * WEEK, min(bucket, self._bucket)
            for day in range(first, first + WEEK, DAY):
                if is_weekend(day) == kind:
                    # The same place of the weeks that follow.
                    week, place = day // WEEK % (WEEKS + 1), day % WEEK
                    rows = weeks[week : week + len(range(day, last, WEEK))]
                    values += [value for row in rows if (value := row[place]) >= 0]
            values.sort()
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
        if load <= SMALL and all(self._is_quiet(bucket) for bucket in range(first, last + 2)):
            # Those who are there stay or leave.
            return [(max(load, self._peak), 0.0)] if load else []
        key = (first, last, late)
        usual, part = self._parts.get(key) or self._part(*key)
        level = min((load + SMALL) / (usual + SMALL), STEEPEST) - 1.0
        over, found = load - usual, [(load, 0.0)]
        for then, left, bias, deviation, steps in part:
            if then < 0:
                expected = load + self._slope() * steps
            else:
                # As `bend` does it; this is the innermost loop of all.
                factor = 1.0 + left * level
                expected = then * factor if factor > 0.0 else 0.0
                if over > 0 and then + left * over > expected:
                    expected = then + left * over
            root = sqrt(expected + SMALL)
            found.append((expected + bias * root, deviation * root))
        return found

    def _part(self, first: int, last: int, late: bool) -> tuple[float, list[_Part]]:
        """What does not depend on the load of now: the usual one, and the parts of each bucket until the last."""
        before, here = self.usual(first - 1), self.usual(first)
        known = before >= 0 and here >= 0
        usual = (0.25 * before + 0.75 * here if late else 0.75 * before + 0.25 * here) if known else _UNKNOWN
        errors, special, found = self._errors, self._special, []
        blind = self._blind[0] / self._blind[1]
        for bucket in range(first, last + 1):
            then, steps = self.usual(bucket), bucket - first
            if not known or then < 0:
                share = (steps + 0.5) / self._ahead if bucket < last else max(0.5, steps) / self._ahead
                found.append((_UNKNOWN, 1.0, 0.0, sqrt(blind * min(3.0, share)), steps))
                continue
            # Between the ends of two buckets the forecast is between those that were judged.
            variance, bias, left = errors.known(bucket, min(FARTHEST, steps + 1))
            if late and steps < FARTHEST:
                other = errors.known(bucket, steps)
                variance, bias, left = (variance + other[0]) / 2, (bias + other[1]) / 2, (left + other[2]) / 2
            left += (1.0 - left) * special
            found.append((then, left, bias, sqrt(variance), steps))
        self._parts[first, last, late] = usual, found
        return usual, found

    def surge(self) -> float:
        """By how much more the load grew since the five minutes before than it does then in other weeks."""
        before, here = self.usual(self._bucket - 1), self.usual(self._bucket)
        foretold = max(0.0, here - before) if before >= 0 else 0.0
        return max(0.0, self._load - self._recent[-1] - foretold) if self._recent else 0.0

    def tail(self) -> float:
        """How many times more streams than of a normal distribution come when many come."""
        return self._errors.tail()

    def state(self) -> dict[str, Any]:
        """The history and what was learned from it, as plain JSON: about 15 kB for seven weeks of a busy service."""
        whole = array("H", [_NEVER if value < 0 else min(_NEVER - 1, round(value)) for value in chain(*self._weeks)])
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
        ends = (
            (int(bucket), float(load), float(usual), float(special)) for bucket, load, usual, special in state["ends"]
        )
        self._load, self._ends = float(state["load"]), deque(ends, maxlen=FARTHEST)
        self._special = self._ends[-1][-1] if self._ends else 0.0
        self._errors.restore(state["errors"])
        total, weight = map(float, state["blind"])
        self._blind = [total, weight]
        self._means, self._own, self._shapes, self._quiet, self._parts = {}, {}, {}, {}, {}

    def _is_quiet(self, bucket: int) -> bool:
        """Whether nobody ever came around this time on a day of this kind, in weeks enough to say so; the last few who
        came before may still have been there and left.
        """
        place = bucket // _HALF_HOUR
        found = self._quiet.get(place)
        if found is None:
            found = self._quiet[place] = self._seen_quiet(bucket)
        return found

    def _seen_quiet(self, bucket: int) -> bool:
        around, after = (_AROUND_WEEKENDS,) * 2 if is_weekend(bucket) else (_NEAR, _HALF_HOUR)
        first = bucket // _HALF_HOUR * _HALF_HOUR - around
        days = 0
        for back in range(1, WEEKS * 7):
            start = first - back * DAY
            if is_weekend(start + around) != is_weekend(bucket):
                continue
            week, place = divmod(start, WEEK)
            length = around + _HALF_HOUR + after
            values = self._weeks[week % (WEEKS + 1)][place : place + length]
            values += self._weeks[(week + 1) % (WEEKS + 1)][: length - len(values)]
            if max(values) > SMALL or any(value > max(before, 0.0) for before, value in pairwise(values)):
                return False
            days += min(values) == 0
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
        self._ends.append((bucket, self._load, usual, 0.0))
        self._special = self._is_special(bucket)
        self._ends[-1] = (bucket, self._load, usual, self._special)
        if usual < 0 or self.usual(bucket + self._ahead) < 0:
            self._made.append((bucket + self._ahead, peak + self._slope() * self._ahead))
        for missed in range(bucket, following):
            self._weeks[missed // WEEK % (WEEKS + 1)][missed % WEEK] = peak if missed == bucket else _UNKNOWN
        if following // WEEK != bucket // WEEK:
            for week in range(bucket // WEEK + 1, min(following // WEEK, bucket // WEEK + WEEKS) + 1):
                self._weeks[week % (WEEKS + 1)] = array("f", [_UNKNOWN] * WEEK)

    def _is_special(self, bucket: int) -> float:
        """How sure it is that the whole day is another one than usual, such as a holiday: by how far the load was off
        for two hours, beside the chance of groups, and by how steadily. Those of a moment fade, those of a day stay.
        """
        least, lowest, highest = inf, inf, 0.0
        if len(self._ends) < _STEADY or self._ends[-_STEADY][0] != bucket - _STEADY + 1:
            return 0.0
        above = self._ends[-1][1] > self._ends[-1][2]
        for _, load, usual, _ in islice(reversed(self._ends), _STEADY):
            scale, off = usual + SMALL, load - usual
            apart = off * off / (_CHANCE * scale)
            if usual < 0 or (off > 0) != above or apart < _LIKE_OTHERS:
                return 0.0
            least = min(least, apart)
            ratio = (load + SMALL) / scale
            lowest, highest = min(lowest, ratio), max(highest, ratio)
        return least / (1.0 + least) * lowest / highest

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
        self._errors.learn(bucket, peak, usual, reversed(self._ends), 2 * self._ahead + 2)

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
