"""Upgrade windows: when they are open, when a rung fits, in nights of any length."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from math import inf
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visio_operator.api.upgrades import Window
from visio_operator.plan.windows import LOOK_AHEAD, fits, is_open, left, next_start, spans, too_short

HOUR, DAY = 3600.0, 86_400.0
EVERY_DAY = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]
ZONES = ["Europe/Paris", "UTC", "America/Martinique", "Pacific/Auckland", "Asia/Kolkata"]


def a_window(days: str, start: str, duration: str, zone: str = "Europe/Paris") -> Window:
    fields: dict[str, Any] = {"days": days.split(), "start": start, "duration": duration, "timeZone": zone}
    return Window.model_validate(fields)


def utc(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "window, opens, closes",
    [
        pytest.param(a_window("Sat", "23:00", "3h"), "2026-06-06 21:00", "2026-06-07 00:00", id="over midnight"),
        pytest.param(a_window("Sat", "23:00", "3h"), "2026-03-28 22:00", "2026-03-29 01:00", id="into March's change"),
        pytest.param(a_window("Sun", "01:30", "2h"), "2026-03-29 00:30", "2026-03-29 02:30", id="over March's change"),
        pytest.param(a_window("Sun", "02:30", "1h"), "2026-03-29 01:30", "2026-03-29 02:30", id="a time that is not"),
        pytest.param(a_window("Sun", "03:00", "1h"), "2026-03-29 01:00", "2026-03-29 02:00", id="after March's change"),
        pytest.param(a_window("Sun", "01:30", "2h"), "2026-10-24 23:30", "2026-10-25 01:30", id="over October's"),
        pytest.param(a_window("Sun", "02:30", "1h"), "2026-10-25 00:30", "2026-10-25 01:30", id="a time that is twice"),
        pytest.param(a_window("Sun", "03:00", "1h"), "2026-10-25 02:00", "2026-10-25 03:00", id="after October's"),
        pytest.param(a_window("Sun", "00:00", "24h"), "2026-10-24 22:00", "2026-10-25 22:00", id="a day of 25 hours"),
        pytest.param(a_window("Mon", "22:00", "2h", "Etc/GMT+4"), "2026-06-09 02:00", "2026-06-09 04:00", id="far"),
    ],
)  # fmt: skip
def test_a_window_opens_by_its_own_clock_and_lasts_as_long_as_it_says(window: Window, opens: str, closes: str) -> None:
    start, end = utc(opens), utc(closes)
    assert not is_open([window], start - 1)
    assert is_open([window], start)
    assert is_open([window], end - 1)
    assert not is_open([window], end)
    for before in (1, HOUR, 2 * DAY):
        assert next_start([window], end - start, start - before) == start
    assert left([window], start + 60) == end - start - 60


@pytest.mark.parametrize(
    "windows, length, now, starts",
    [
        pytest.param([], 1e9, "2026-06-01 00:00", "2026-06-01 00:00", id="without windows at any time"),
        pytest.param(
            [a_window("Sat", "22:00", "2h")], HOUR, "2026-06-06 21:00", "2026-06-06 21:00", id="exactly what is left"
        ),
        pytest.param(
            [a_window("Sat", "22:00", "2h")], HOUR + 1, "2026-06-06 21:00", "2026-06-13 20:00", id="a second too long"
        ),
        pytest.param(
            [a_window("Sat", "22:00", "2h"), a_window("Sun", "00:00", "2h")], 3 * HOUR, "2026-06-06 20:30",
            "2026-06-06 20:30", id="windows that touch are one",
        ),
        pytest.param(
            [a_window("Sat", "22:00", "2h"), a_window("Sun", "00:01", "2h")], 3 * HOUR, "2026-06-06 20:30", None,
            id="a minute between them",
        ),
        pytest.param(
            [a_window("Sun Mon", "00:00", "24h")], 30 * HOUR, "2026-10-23 12:00", "2026-10-31 23:00",
            id="in October the two days do not touch",
        ),
        pytest.param(
            [a_window(" ".join(EVERY_DAY), "00:00", "24h")], 100 * DAY, "2026-05-01 12:00", "2026-05-01 12:00",
            id="day and night, in summer",
        ),
        pytest.param([a_window("Sat", "22:00", "2h", "Mars/Olympus")], 60, "2026-06-06 21:00", None, id="no such zone"),
    ],
)  # fmt: skip
def test_a_rung_starts_only_where_it_fits(windows: list[Window], length: float, now: str, starts: str | None) -> None:
    assert next_start(windows, length, utc(now)) == (None if starts is None else utc(starts))


def test_a_window_in_which_a_rung_never_fits_is_named_with_its_remedy() -> None:
    windows = [a_window("Sat", "22:00", "20m"), a_window("Sun", "22:00", "45m"), a_window("Mon", "22:00", "15m")]
    now = utc("2026-06-06 21:00")
    assert too_short(windows, 2700, now) == too_short([], 1e9, now) == ""
    assert too_short(windows, 3030, now) == (
        "spec.upgrade.windows[1].duration: no window is long enough: a rung is expected to take 50m30s and this one,"
        " the longest, lasts 45m; make it 51m or longer"
    )


moments = st.integers(int(utc("2026-01-01 00:00")), int(utc("2027-12-31 00:00"))).map(float)
# More often around the nights in which clocks are set.
changes = st.sampled_from(["2026-03-29 01:00", "2026-10-25 01:00", "2027-03-28 01:00", "2027-10-31 01:00"]).flatmap(
    lambda text: st.integers(-2 * 86_400, 2 * 86_400).map(lambda offset: utc(text) + offset)
)
windows_of_users = st.builds(
    a_window,
    st.lists(st.sampled_from(EVERY_DAY), min_size=1, max_size=7, unique=True).map(" ".join),
    st.builds("{:02}:{:02}".format, st.integers(0, 23), st.sampled_from([0, 1, 15, 30, 59])),
    st.integers(15, 24 * 60).map("{}m".format),
    st.sampled_from(ZONES),
)
some_windows = st.lists(windows_of_users, min_size=1, max_size=4)
lengths = st.integers(0, 30 * 3600).map(float)


@settings(max_examples=100)
@given(some_windows, lengths, moments | changes)
def test_the_next_start_is_the_first_time_at_which_a_rung_fits(
    windows: list[Window], length: float, now: float
) -> None:
    start = next_start(windows, length, now)
    if start is None:
        assert too_short(windows, length, now).startswith("spec.upgrade.windows[")
        assert not any(fits(windows, length, now + hour * HOUR) for hour in range(0, 7 * 24, 7))
        return
    assert start >= now
    assert is_open(windows, start)
    assert left(windows, start) >= length
    assert fits(windows, length, start)
    assert too_short(windows, length, now) == ""
    # Nothing before it: at any moment in between it does not fit, the last second included.
    for moment in {now, (now + start) // 2, start - 1} - {start}:
        if moment >= now:
            assert not fits(windows, length, moment)
            assert next_start(windows, length, moment) == start


@settings(max_examples=100)
@given(some_windows, moments | changes)
def test_a_moment_is_in_a_window_when_one_began_at_most_its_duration_before(windows: list[Window], now: float) -> None:
    assert is_open(windows, now) == any(_by_hand(window, now) for window in windows)
    assert (left(windows, now) > 0) == is_open(windows, now)
    opened = spans(windows, now)
    assert opened == sorted(opened)
    assert all(end < start for (_, end), (start, _) in pairwise(opened)), "joined where they touch"
    assert all(end > now and start <= now + LOOK_AHEAD * DAY for start, end in opened)


def _by_hand(window: Window, now: float) -> bool:
    """The same without joining: in UTC, an hour is an hour in every night."""
    zone = ZoneInfo(window.time_zone)
    hour, minute = map(int, window.start.split(":"))
    minutes = int(window.duration.removesuffix("m"))
    for back in range(3):
        day = (datetime.fromtimestamp(now, zone) - timedelta(days=back)).date()
        if day.strftime("%a") in window.days:
            began = datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone).astimezone(UTC)
            if began <= datetime.fromtimestamp(now, UTC) < began + timedelta(minutes=minutes):
                return True
    return False


def test_it_is_open_for_ever_without_windows() -> None:
    assert left([], 0.0) == inf
