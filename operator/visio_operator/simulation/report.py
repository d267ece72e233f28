"""A study as one HTML page that needs nothing else: no script, no request, every figure also in a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import charts
from .study import Span, Study

TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class Row:
    """A stretch of a span: when it was, the demand, and for each policy its slots, servers and what waited."""

    when: str
    demand: int
    cells: tuple[tuple[int, float, int], ...]


def page(study: Study) -> str:
    """The page. The same study gives the same bytes."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {"moment": _moment, "day": _day}
    return environment.get_template(TEMPLATE).render(
        study=study,
        setting=study.setting,
        frame=charts,
        week_charts=charts.demand_charts(study.week) if study.week else (),
        week_rows=_rows(study.week, "%a %Y-%m-%d %H:%M") if study.week else (),
        day_charts=charts.demand_charts(study.whole) if study.whole else (),
        server_charts=charts.server_charts(study.whole) if study.whole else (),
        day_rows=_rows(study.whole, "%a %Y-%m-%d") if study.whole else (),
        most_hours=max((line.server_hours for line in study.policies), default=0.0) or 1.0,
    )


def _rows(span: Span, form: str) -> list[Row]:
    return [
        Row(
            datetime.fromtimestamp(span.start + index * span.stretch_seconds, UTC).strftime(form),
            demand,
            tuple((track.slots[index], track.servers[index], track.waiting[index]) for track in span.tracks),
        )
        for index, demand in enumerate(span.demand)
    ]


def _moment(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _day(unix: float) -> str:
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%d")
