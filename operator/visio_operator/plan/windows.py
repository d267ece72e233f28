"""Upgrade windows: whether an upgrade may start now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from visio_operator.api.fields import seconds
from visio_operator.api.rollout import Window

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def unknown_zone(windows: Sequence[Window]) -> tuple[int, str] | None:
    """The first window whose time zone this machine does not know: its place and the name; None when all are known."""
    for index, window in enumerate(windows):
        if _zone(window.time_zone) is None:
            return index, window.time_zone
    return None


def is_open(windows: Sequence[Window], now: float) -> bool:
    """Whether `now` (unix seconds) lies in one of the windows; without any it is always open.

    A window that crosses midnight belongs to the day on which it starts.
    """
    return not windows or any(_contains(window, now) for window in windows)


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def _contains(window: Window, now: float) -> bool:
    zone = _zone(window.time_zone)
    if zone is None:
        return False
    here = datetime.fromtimestamp(now, zone)
    hour, minute = map(int, window.start.split(":"))
    for back in (0, 1):
        day = here - timedelta(days=back)
        start = day.replace(hour=hour, minute=minute, second=0, microsecond=0)
        # Python subtracts times of one zone by the clock on the wall; in UTC an hour is an hour on every day.
        passed = (here.astimezone(UTC) - start.astimezone(UTC)).total_seconds()
        if _DAYS[start.weekday()] in window.days and 0 <= passed < seconds(window.duration):
            return True
    return False
