"""Traces from CSV: a row for each stream with its length, or the streams that join in a stretch of time."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from visio_operator.plan.servers import Job

from .trace import STEP, Streams

LONGEST = 40_000_000
"""Steps of the longest trace: forty years."""
_WEEK = 7 * 86_400
"""The longest recording, in seconds."""


class TraceError(Exception):
    """A trace cannot be used; the message names the row, counted from 1 with the header, and the field."""


def read_streams(lines: Iterable[str], mean_minutes: float, seed: int) -> Streams:
    """Read streams. The header is `time,duration` or `time,arrivals`.

    `time` is in unix seconds or ISO 8601, `duration` in seconds; `arrivals` join evenly until the time of the next row,
    each for an exponential time of `mean_minutes`. Rows are in the order of time. Raises TraceError.
    """
    rows = _rows(lines)
    head = _head(rows)
    if head == ["time", "duration"]:
        joins = list(_lasting(rows))
    elif head == ["time", "arrivals"]:
        joins = list(_arriving(rows, mean_minutes, random.Random(seed)))  # noqa: S311 - drawn lengths, no secret
    else:
        raise TraceError(f"row 1: the header is {','.join(head)[:60] or 'empty'}; use time,duration or time,arrivals")
    if not joins:
        raise TraceError("there are no streams in it; give at least one row with some")
    start = joins[0][0] // 86_400 * 86_400
    steps = int((max(at + length for at, length in joins) - start) // STEP) + 2
    _check_length(steps)
    found: list[list[int]] = [[] for _ in range(steps)]
    for at, length in joins:
        found[int((at - start) // STEP)].append(max(1, math.ceil(length / STEP)))
    return Streams(float(start), found, drawn=head[1] == "arrivals")


def read_jobs(lines: Iterable[str]) -> list[Job]:
    """Read recordings that are to be transcribed. The header is `time,audio`.

    `time` is when a recording is complete, in unix seconds or ISO 8601, `audio` its length in seconds, at most a week.
    Rows are in the order of time. Raises TraceError.
    """
    rows = _rows(lines)
    head = _head(rows)
    if head != ["time", "audio"]:
        raise TraceError(f"row 1: the header is {','.join(head)[:60] or 'empty'}; use time,audio")
    jobs = []
    for time, audio, number in _values(rows, "audio"):
        if not 0 < audio <= _WEEK:
            raise TraceError(f"row {number}: audio is {audio:g}; give seconds above 0, and a week at most")
        jobs.append(Job(f"j{number}", time, audio))
    if not jobs:
        raise TraceError("there are no recordings in it; give at least one row")
    _check_length(int((jobs[-1].since - jobs[0].since) // STEP))
    return jobs


def _check_length(steps: int) -> None:
    if steps > LONGEST:
        raise TraceError(f"it is {steps * STEP / 86_400:.0f} days long; times are unix seconds or ISO 8601")


def _lasting(rows: Iterator[list[str]]) -> Iterator[tuple[float, float]]:
    for time, value, number in _values(rows, "duration"):
        if value <= 0:
            raise TraceError(f"row {number}: duration is {value:g}; give seconds above 0")
        yield time, value


def _arriving(rows: Iterator[list[str]], mean_minutes: float, chance: random.Random) -> Iterator[tuple[float, float]]:
    before: tuple[float, int] | None = None
    stretch = 300.0
    for time, value, number in _values(rows, "arrivals"):
        if value != int(value):
            raise TraceError(f"row {number}: arrivals is {value:g}; give a whole number")
        if before is not None:
            # A gap, such as a night, is no long stretch of few arrivals.
            stretch = min(time - before[0], stretch) if time > before[0] else stretch
            yield from _spread(before, stretch, mean_minutes, chance)
        before = (time, int(value))
    if before is not None:
        yield from _spread(before, stretch, mean_minutes, chance)


def _spread(
    row: tuple[float, int], stretch: float, mean_minutes: float, chance: random.Random
) -> Iterator[tuple[float, float]]:
    at, count = row
    moments = sorted(chance.random() * stretch for _ in range(count))
    return ((at + moment, chance.expovariate(1.0 / (mean_minutes * 60.0))) for moment in moments)


def _rows(lines: Iterable[str]) -> Iterator[list[str]]:
    rows = csv.reader(lines)
    try:
        yield from rows
    except csv.Error as error:
        raise TraceError(f"row {rows.line_num}: this is no CSV: {error}") from None


def _head(rows: Iterator[list[str]]) -> list[str]:
    return [name.strip().lower() for name in next(rows, [])]


def _values(rows: Iterator[list[str]], name: str) -> Iterator[tuple[float, float, int]]:
    last = -math.inf
    for number, row in enumerate(rows, 2):
        if not row:
            continue
        if len(row) != 2 or not all(field.strip() for field in row):
            raise TraceError(f"row {number}: it has to have time and {name}, and has {len(row)} fields: {row!r:.60}")
        time = _time(row[0].strip(), number)
        if time < last:
            raise TraceError(f"row {number}: its time is before that of the row before; sort the rows by time")
        last = time
        yield time, _number(row[1].strip(), name, number), number


def _time(text: str, number: int) -> float:
    try:
        time = float(text)
    except ValueError:
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise TraceError(f"row {number}: time {text[:40]!r} is neither unix seconds nor ISO 8601") from None
        time = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if not 0 <= time < 1e11:
        raise TraceError(f"row {number}: time {text[:40]} is negative, or not in seconds")
    return time


def _number(text: str, name: str, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        raise TraceError(f"row {number}: {name} {text[:40]!r} is no number") from None
    if not 0 <= value < 1e9:
        raise TraceError(f"row {number}: {name} is {text[:40]}; it cannot be negative or endless")
    return value
