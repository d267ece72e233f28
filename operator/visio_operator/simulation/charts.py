"""The geometry of the report's charts: figures in, shapes in the units of an SVG's view box out; no markup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from .study import Point, Span, Track

WIDTH, HEIGHT = 460.0, 170.0
LEFT, RIGHT, TOP, BOTTOM = 44.0, 8.0, 10.0, 22.0
"""Room for the labels around the drawn part."""
_TICKS = 7
_WIDEST = 4.0
"""Of a bar: a day is no block of waiting."""


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
    """The end of an axis that reaches at least `highest`: 1, 2, 3, 4, 6 or 8 times a power of ten."""
    if highest <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(highest))
    return next(step * power for step in (1.0, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0) if step * power >= highest * (1 - 1e-9))


def demand_charts(span: Span, unit: str, places: str) -> list[Chart]:
    """Demand as an area, slots as a line, what waited as bars from below; all charts on one scale.

    `unit` is what there are demands for, such as streams, and `places` where they are served, such as slots.
    """
    highest = [max((*track.slots, *track.waiting), default=0) for track in span.tracks]
    top = nice_top(max([*span.demand, *highest], default=0))
    return [
        Chart(
            track.policy,
            f"demand up to {max(span.demand, default=0):,} {unit}, {places} up to {max(track.slots, default=0):,}, "
            f"{_waiting(track, unit)}",
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
            f"from {min(track.servers, default=0.0):g} to {max(track.servers, default=0.0):g} servers in a day's mean",
            _area(track.servers, top),
            "",
            (),
            _days(span),
            _amounts(top),
        )
        for track in span.tracks
    ]


def _waiting(track: Track, unit: str) -> str:
    most = max(track.waiting, default=0)
    return f"up to {most:,} waiting at once" if most else f"no {unit} waiting"


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
    stretch = (WIDTH - LEFT - RIGHT) / max(1, count)
    width = min(max(1.5, stretch), _WIDEST)
    floor = HEIGHT - BOTTOM
    # At least two units high, since a single stream that waited has to be seen.
    return tuple(
        (
            round(_x(index, count) + (stretch - width) / 2, 1),
            round(floor - height, 1),
            round(width, 1),
            round(height, 1),
        )
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


@dataclass(frozen=True)
class Curve:
    """One policy of a frontier; `points` are x and y of its settings."""

    name: str
    path: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class FrontierChart:
    """Server hours against the share of streams that waited, on a logarithmic scale with 0 below it."""

    title: str
    summary: str
    curves: tuple[Curve, ...]
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]


def frontier_charts(points: Sequence[Point]) -> list[FrontierChart]:
    """A chart for each lead time, all on one scale."""
    most = nice_top(max((point.server_hours for point in points), default=0.0))
    shares = [point.waited_percent for point in points if point.waited_percent > 0] or [1.0]
    low, high = math.floor(math.log10(min(shares))), math.ceil(math.log10(max(shares)) + 1e-9)
    decades = max(1, high - low)

    def place(point: Point) -> tuple[float, float]:
        share = point.waited_percent
        # What nobody waited for lies one decade below the least, at the line that says 0.
        level = math.log10(share) - low + 1 if share > 0 else 0.0
        return round(_x(point.server_hours / most, 1), 1), round(_y(level, decades + 1), 1)

    x = tuple(Tick(round(_x(part, 1), 1), f"{most * part:,g} h") for part in (0.25, 0.5, 0.75, 1.0))
    y = (
        Tick(round(_y(0, decades + 1), 1), "0"),
        *(Tick(round(_y(each + 1, decades + 1), 1), f"{10.0 ** (low + each):g} %") for each in range(decades + 1)),
    )
    charts = []
    for lead in sorted({point.lead_seconds for point in points}):
        here = [point for point in points if point.lead_seconds == lead]
        curves = []
        for name in dict.fromkeys(point.policy for point in here):
            places = tuple(place(point) for point in here if point.policy == name)
            curves.append(Curve(name, "M" + "L".join(f"{at} {height}" for at, height in places), places))
        said = "; ".join(
            f"{point.policy} {point.setting}: {point.server_hours:,g} h, {point.waited_percent:g} % waited"
            for point in here
        )
        charts.append(FrontierChart(f"median lead {lead / 60:g} min", said, tuple(curves), x, y))
    return charts
