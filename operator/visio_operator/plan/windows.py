"""Upgrade windows: when a rung may start, and whether it fits into what is left of the window that is open.

A window is a weekly event by the clock on the wall of its time zone and lasts as long as its duration says, also in the
nights in which that clock is set. One that crosses midnight belongs to the day on which it starts. A start that the
clock jumps over in March is as much later (02:30 is 03:30); one that it shows twice in October is the first of the two.
Windows that touch or overlap are one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from math import ceil, inf
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from visio_operator.api.fields import seconds
from visio_operator.api.upgrades import Window

from .words import in_hours

LOOK_AHEAD = 15
"""Days in which a start is looked for. Windows come back every week; a second week is for one in which the clocks are
set and two windows do not touch as they do else."""
_DAY = 86_400.0
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def unknown_zone(windows: Sequence[Window]) -> tuple[int, str] | None:
    """The first window whose time zone this machine does not know: its place and the name; None when all are known."""
    for index, window in enumerate(windows):
        if _zone(window.time_zone) is None:
            return index, window.time_zone
    return None


def is_open(windows: Sequence[Window], now: float) -> bool:
    """Whether `now` (unix seconds) lies in one of the windows; without any it is always open."""
    return left(windows, now) > 0


def left(windows: Sequence[Window], now: float) -> float:
    """Seconds for which it stays open from `now` on; 0 while it is closed, infinite without windows."""
    if not windows:
        return inf
    return max((end - now for start, end in spans(windows, now) if start <= now < end), default=0.0)


def fits(windows: Sequence[Window], length: float, now: float) -> bool:
    """Whether something of `length` seconds that starts now ends before the window closes."""
    return next_start(windows, length, now) == now


def next_start(windows: Sequence[Window], length: float, now: float) -> float | None:
    """The first time from `now` on at which a rung of `length` seconds may start, in unix seconds.

    None when it fits into no window: that is looked for through `LOOK_AHEAD` days.
    """
    if not windows:
        return now
    for start, end in spans(windows, now, length):
        first = max(start, now)
        # Compared as a length, since `first + length` would round away what is left of a second.
        if end > first and end - first >= length:
            return first
    return None


def too_short(windows: Sequence[Window], length: float, now: float) -> str:
    """Why a rung of `length` seconds can never start: field, problem and remedy. Empty when it can."""
    if next_start(windows, length, now) is not None:
        return ""
    index = max(range(len(windows)), key=lambda place: seconds(windows[place].duration))
    return (
        f"spec.upgrade.windows[{index}].duration: no window is long enough: a rung is expected to take"
        f" {in_hours(length)} and this one, the longest, lasts {windows[index].duration};"
        f" make it {in_hours(60 * ceil(length / 60))} or longer"
    )


def spans(windows: Sequence[Window], now: float, length: float = 0.0) -> list[tuple[float, float]]:
    """Start and end of the times that are open, joined where they touch, from the one that is open at `now` on.

    Those that begin within `LOOK_AHEAD` days are whole as far as `length` seconds need them.
    """
    joined: list[tuple[float, float]] = []
    for start, end in sorted(_occurrences(windows, now, LOOK_AHEAD + ceil(length / _DAY) + 1)):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return [(start, end) for start, end in joined if end > now and start <= now + LOOK_AHEAD * _DAY]


def _occurrences(windows: Sequence[Window], now: float, days: int) -> Iterator[tuple[float, float]]:
    for window in windows:
        zone = _zone(window.time_zone)
        if zone is None:
            continue
        hour, minute = map(int, window.start.split(":"))
        today = datetime.fromtimestamp(now, zone).date()
        # Two days back: a window lasts up to 24 hours, and one before it may touch it.
        for offset in range(-2, days + 1):
            day = today + timedelta(days=offset)
            if _DAYS[day.weekday()] in window.days:
                start = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).timestamp()
                yield start, start + seconds(window.duration)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
