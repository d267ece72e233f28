"""The figures of `visio-operator simulate` on a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from visio_operator.simulation.study import Study


def print_tables(study: Study) -> None:
    """Print all tables of a study."""
    setting = study.setting
    table = Table(
        title=f"{setting.days:.0f} days after {setting.history_days} of history, median lead"
        f" {setting.lead_seconds / 60:g} min, {setting.failing_percent:g} % of orders fail"
    )
    for name in ("policy", "server hours", "of the oracle", "waited", "lost", "sessions ended", "orders", "euros"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for line in study.policies:
        table.add_row(
            line.policy,
            f"{line.server_hours:,.0f}",
            "" if line.of_oracle is None else f"{line.of_oracle:.3f}",
            f"{line.waited_percent:.4f} %",
            str(line.lost),
            str(line.sessions_ended),
            str(line.orders),
            "unknown" if line.euros is None else f"{line.euros:,.2f}",
        )
    Console(width=110).print(table)
