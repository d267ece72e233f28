"""A study as one HTML page that needs nothing else: no script, no request, every figure also in a table."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from . import charts
from .study import Span, Study, in_words

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
        streams=_course(study.week, study.whole, "streams", "slots") if study.week and study.whole else None,
        tuned=[in_words(each) for each in study.tuned],
        frontier_charts=charts.frontier_charts(study.frontier),
        recordings=_course(study.recordings.week, study.recordings.whole, "recordings", "servers")
        if study.recordings
        else None,
    )


def _course(week: Span, whole: Span, unit: str, places: str) -> dict[str, Any]:
    """What the page shows of a course: charts and rows of the week and of all days."""
    return {
        "places": places,
        "policies": [track.policy for track in week.tracks],
        "week_charts": charts.demand_charts(week, unit, places),
        "week_rows": _rows(week, "%a %Y-%m-%d %H:%M"),
        "day_charts": charts.demand_charts(whole, unit, places),
        "server_charts": charts.server_charts(whole),
        "day_rows": _rows(whole, "%a %Y-%m-%d"),
    }


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
