"""The figures of `visio-operator simulate` on a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from visio_operator.simulation.study import Point, Recordings, Study, in_words

_WIDTH = 120


def print_tables(study: Study) -> None:
    """Print all tables of a study."""
    console = Console(width=_WIDTH)
    if study.policies:
        console.print(_policies(study))
    if study.frontier:
        console.print(_frontier(study.frontier))
        console.print("The planner's server hours beside an autoscaler that is tuned, with the trace known beforehand:")
        for each in study.tuned:
            console.print(in_words(each))
    if study.recordings is not None:
        console.print(_recordings(study.recordings, study))


def _table(title: str, names: Sequence[str], left: int = 1) -> Table:
    table = Table(title=title)
    for number, name in enumerate(names):
        table.add_column(name, justify="left" if number < left else "right", no_wrap=number < left)
    return table


def _euros(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.2f}"


def _ratio(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _clouds(study: Study) -> str:
    setting = study.setting
    return f"median lead {setting.lead_seconds / 60:g} min, {setting.failing_percent:g} % of orders fail"


def _policies(study: Study) -> Table:
    setting = study.setting
    table = _table(
        f"{setting.days:.0f} days after {setting.history_days} of history, {_clouds(study)}",
        (
            "policy",
            "server hours",
            "of the oracle",
            "waited",
            "waiting minutes",
            "lost",
            "sessions ended",
            "orders",
            "used",
            "euros",
        ),
    )
    for line in study.policies:
        table.add_row(
            line.policy,
            f"{line.server_hours:,.0f}",
            _ratio(line.of_oracle),
            f"{line.waited_percent:.4f} %",
            f"{line.waiting_minutes:,.1f}",
            str(line.lost),
            str(line.sessions_ended),
            str(line.orders),
            "" if line.used_percent is None else f"{line.used_percent:.1f} %",
            _euros(line.euros),
        )
    return table


def _frontier(points: Sequence[Point]) -> Table:
    table = _table(
        "Hours against waiting streams",
        ("lead", "policy", "setting", "server hours", "of the oracle", "waited", "lost", "sessions ended", "euros"),
        left=3,
    )
    last = points[0]
    for point in points:
        if (point.lead_seconds, point.policy) != (last.lead_seconds, last.policy):
            table.add_section()
        last = point
        table.add_row(
            f"{point.lead_seconds / 60:g} min",
            point.policy,
            point.setting,
            f"{point.server_hours:,.0f}",
            _ratio(point.of_oracle),
            f"{point.waited_percent:.4f} %",
            str(point.lost),
            str(point.sessions_ended),
            _euros(point.euros),
        )
    return table


def _recordings(found: Recordings, study: Study) -> Table:
    table = _table(
        f"{found.jobs:,} recordings, {found.audio_hours:,.0f} h of audio, {found.work_hours:,.0f} server hours of work,"
        f" start within {found.start_within_seconds:g} s, {_clouds(study)}",
        ("policy", "late", "late of all", "busy", "server hours", "jobs ended", "orders", "handed over", "euros"),
    )
    for line in found.policies:
        table.add_row(
            line.policy,
            str(line.late),
            f"{line.late_percent:.4f} %",
            f"{line.busy_percent:.1f} %",
            f"{line.server_hours:,.0f}",
            str(line.jobs_ended),
            str(line.orders),
            str(line.handed_over),
            _euros(line.euros),
        )
    return table
