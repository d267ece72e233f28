"""The geometry of the report's charts: figures in, shapes in the units of an SVG's view box out; no markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .study import Span, Track

WIDTH, HEIGHT = 460.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 10.0, 22.0
"""Room for the labels around the drawn part."""
_TICKS = 7


@dataclass(frozen=True)
class Tick:
    """A label beside an axis, and where it is on it."""

    at: float
    label: str


@dataclass(frozen=True)
class Chart:
    """A chart over time. Paths are the `d` of SVG paths; `marks` are x, y, width and height of bars."""

    title: str
    summary: str
    """What it shows, for those who do not see it."""
    area: str
    line: str
    marks: tuple[tuple[float, float, float, float], ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]


def nice_top(highest: float) -> float:
    """The end of an axis that reaches at least `highest`: 1, 2, 4, 6 or 8 times a power of ten."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1.0, 2.0, 4.0, 6.0, 8.0, 10.0) if step * power >= highest * (1 - 1e-9))


def demand_charts(span: Span) -> list[Chart]:
    """Demand as an area, slots as a line, waiting streams as bars from below; all charts on one scale."""
    top = nice_top(max([*span.demand, *(max(track.slots, default=0) for track in span.tracks)], default=0))
    return [
        Chart(
            track.policy,
            f"demand up to {max(span.demand, default=0):,} streams, slots up to {max(track.slots, default=0):,}, "
            f"{_waiting(track)}",
            _area(span.demand, top),
            _steps([float(each) for each in track.slots], top),
            _bars(track.waiting, top),
            _days(span),
            _amounts(top),
        )
        for track in span.tracks
    ]


def server_charts(span: Span) -> list[Chart]:
    """Mean servers as an area; all charts on one scale."""
    top = nice_top(max((max(track.servers, default=0.0) for track in span.tracks), default=0.0))
    return [
        Chart(
            track.policy,
            f"between {min(track.servers, default=0.0):g} and {max(track.servers, default=0.0):g} servers in the mean"
            f" of a day, {_waiting(track)}",
            _area(track.servers, top),
            "",
            (),
            _days(span),
            _amounts(top),
        )
        for track in span.tracks
    ]


def _waiting(track: Track) -> str:
    most = max(track.waiting, default=0)
    return f"up to {most:,} streams waiting at once" if most else "no stream waiting at a look"


def _x(index: float, count: int) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * index / max(1, count)


def _y(value: float, top: float) -> float:
    return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(value, top) / top


def _steps(values: Sequence[float], top: float) -> str:
    count, last = len(values), None
    parts: list[str] = []
    for index, value in enumerate(values):
        y = f"{_y(value, top):.1f}"
        if y != last:
            parts.append(f"{'H' if parts else 'M'}{_x(index, count):.1f}{' ' + y if not parts else 'V' + y}")
            last = y
    return f"{''.join(parts)}H{WIDTH - RIGHT:.1f}" if parts else ""


def _area(values: Sequence[float], top: float) -> str:
    line = _steps(values, top)
    floor = f"{HEIGHT - BOTTOM:.1f}"
    return f"{line}V{floor}H{LEFT:.1f}Z" if line else ""


def _bars(values: Sequence[int], top: float) -> tuple[tuple[float, float, float, float], ...]:
    count = len(values)
    width = max(1.5, (WIDTH - LEFT - RIGHT) / max(1, count))
    floor = HEIGHT - BOTTOM
    # At least two units high, since a single stream that waited has to be seen.
    return tuple(
        (round(_x(index, count), 1), round(floor - height, 1), round(width, 1), round(height, 1))
        for index, value in enumerate(values)
        if value and (height := max(2.0, floor - _y(value, top)))
    )


def _amounts(top: float) -> tuple[Tick, ...]:
    return tuple(Tick(round(_y(value, top), 1), f"{value:,g}") for value in (0.0, top / 2, top))


def _days(span: Span) -> tuple[Tick, ...]:
    """At most seven midnights, evenly."""
    count = len(span.demand)
    length = count * span.stretch_seconds
    days = math.ceil(length / 86_400)
    every = math.ceil(days / _TICKS)
    form = "%a %d" if every == 1 else "%d %b" if days < 300 else "%b %Y"
    return tuple(
        Tick(
            round(_x(day * 86_400 / span.stretch_seconds, count), 1),
            datetime.fromtimestamp(span.start + day * 86_400, UTC).strftime(form),
        )
        for day in range(0, days, every)
    )
