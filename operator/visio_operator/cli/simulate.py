"""`visio-operator simulate`: what the planner would have bought for a trace, and what others would have."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial

from rich.console import Console
from rich.progress import Progress, TaskID
from rich.table import Table

from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Limits
from visio_operator.simulation.baselines import static_peak, utilization
from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.oracle import oracle_seconds
from visio_operator.simulation.read_trace import TraceError, read_streams
from visio_operator.simulation.synthetic import Shape, generate
from visio_operator.simulation.trace import STEP, Streams
from visio_operator.simulation.world import Policy, World

from .files import UnreadableError, read
from .planner_config import ConfigError, PlannerConfig, parse_config

_DAY_STEPS = 86_400 // STEP


@dataclass(frozen=True)
class Line:
    """The figures of one policy."""

    policy: str
    server_hours: float
    of_oracle: float | None
    waited_percent: float
    """Streams that found no slot in the 30 s in which they joined."""
    lost: int
    sessions_ended: int
    orders: int
    euros: float | None
    """None where no price is known."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `simulate`."""
    parser = subparsers.add_parser(
        "simulate",
        help="run the planner over a trace, beside others",
        description="Run the captions planner over a trace of streams, with servers that take their time and orders "
        "that fail, beside autoscalers on used slots and a buyer who knows the future. Servers cost from their order.",
    )
    trace = parser.add_mutually_exclusive_group(required=True)
    trace.add_argument(
        "--trace", metavar="CSV", help="columns time,duration (seconds; a row for each stream) or time,arrivals; - is "
        "standard input",
    )  # fmt: skip
    trace.add_argument("--synthetic", type=int, metavar="WEEKS", help="weeks of made-up meetings instead")
    parser.add_argument("--config", metavar="FILE", help="capacity, captions and gpuPools of a spec")
    parser.add_argument(
        "--history", type=int, default=28, metavar="DAYS", help="first days, which only teach (default %(default)s)"
    )
    parser.add_argument(
        "--mean-minutes", type=float, default=30.0, metavar="N", help="mean length for arrivals (default %(default)s)"
    )
    parser.add_argument(
        "--lead", type=float, default=5.0, metavar="MINUTES", help="median lead time (default %(default)s)"
    )
    parser.add_argument("--no-moving", action="store_true", help="streams stay on a closed server until their end")
    parser.add_argument(
        "--seed", type=int, default=1, metavar="N", help="of the made-up streams and the orders (default %(default)s)"
    )
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="format")
    parser.set_defaults(func=simulate)


def simulate(arguments: argparse.Namespace) -> int:
    """Print the figures; exit code 2 for a trace or a configuration that cannot be used."""
    try:
        config = parse_config(read(arguments.config)) if arguments.config else PlannerConfig()
        trace = _trace(arguments)
        trace = replace(trace, calendar=config.calendar())
        history = _history(arguments, trace)
    except (UnreadableError, ConfigError, TraceError) as error:
        print(f"visio-operator simulate: {error}", file=sys.stderr)
        return 2
    limits = config.limits("captions")
    cloud = Cloud(arguments.lead * 60.0, arguments.lead * 60.0 * 1.6)
    lines = _run(arguments, trace, limits, cloud, history)
    if arguments.output == "json":
        print(json.dumps({"lead_seconds": cloud.median, "policies": [asdict(line) for line in lines]}, indent=2))
    else:
        _print(lines, trace, history, cloud)
    return 0


def _trace(arguments: argparse.Namespace) -> Streams:
    if arguments.mean_minutes <= 0 or arguments.lead <= 0 or arguments.history < 0:
        raise TraceError("--mean-minutes and --lead have to be above 0, and --history not below")
    if arguments.synthetic is not None:
        if not 1 <= arguments.synthetic <= 520:
            raise TraceError("--synthetic takes 1 to 520 weeks")
        return generate(Shape(weeks=arguments.synthetic), arguments.seed)
    return read_streams(read(arguments.trace).splitlines(), arguments.mean_minutes, arguments.seed)


def _history(arguments: argparse.Namespace, trace: Streams) -> int:
    steps = int(arguments.history) * _DAY_STEPS
    if steps >= trace.steps:
        days = trace.steps / _DAY_STEPS
        raise TraceError(
            f"--history {arguments.history} leaves nothing of a trace of {days:.1f} days; choose fewer days"
        )
    return steps


def _run(arguments: argparse.Namespace, trace: Streams, limits: Limits, cloud: Cloud, history: int) -> list[Line]:
    offered = trace.offered()
    ideal = oracle_seconds(offered, limits.slots, cloud.median, history)
    moving = not arguments.no_moving
    policies: list[tuple[str, Policy, bool, bool]] = [
        ("visio-operator", Foresight(limits).step, moving, False),
        ("HPA at 60 %", utilization(limits, 0.6), False, True),
        ("HPA at 80 %", utilization(limits, 0.8), False, True),
        ("static peak", static_peak(limits, max(offered)), False, True),
    ]
    lines = []
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        for name, policy, moves, spread in policies:
            task = progress.add_task(name, total=trace.steps)
            world = World(trace, limits.slots, cloud, arguments.seed, moves, spread)
            figures = world.run(policy, history, _every(partial(_tell, progress, task)))
            lines.append(
                Line(
                    name,
                    round(figures.server_seconds / 3600, 1),
                    round(figures.server_seconds / ideal, 3) if ideal else None,
                    round(100 * figures.waited_share, 4),
                    figures.lost,
                    figures.ended,
                    figures.orders,
                    _euros(figures.server_seconds, limits),
                )
            )
    perfect = Line(
        "knows the future", round(ideal / 3600, 1), 1.0 if ideal else None, 0.0, 0, 0, 0, _euros(ideal, limits)
    )
    return [*lines, perfect]


def _tell(progress: Progress, task: TaskID, done: int) -> None:
    progress.update(task, completed=done)


def _every(tell: Callable[[int], None]) -> Callable[[int, int, int], None]:
    def every(step: int, _streams: int, _servers: int) -> None:
        if step % _DAY_STEPS == 0:
            tell(step)

    return every


def _euros(seconds: float, limits: Limits) -> float | None:
    return None if limits.price_per_hour is None else round(seconds / 3600 * limits.price_per_hour, 2)


def _print(lines: list[Line], trace: Streams, history: int, cloud: Cloud) -> None:
    days = (trace.steps - history) / _DAY_STEPS
    table = Table(
        title=f"{days:.0f} days after {history // _DAY_STEPS} of history, median lead {cloud.median / 60:g} min,"
        f" {cloud.fails:.0%} of orders fail"
    )
    for name in ("policy", "server hours", "of the oracle", "waited", "lost", "sessions ended", "orders", "euros"):
        table.add_column(name, justify="left" if name == "policy" else "right")
    for line in lines:
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
