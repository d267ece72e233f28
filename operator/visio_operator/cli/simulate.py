"""`visio-operator simulate`: what the planner would have bought for a trace, and what others would have."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace

from rich.console import Console
from rich.progress import Progress, TaskID

from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.entrants import entrants
from visio_operator.simulation.read_trace import TraceError, read_streams
from visio_operator.simulation.report import page
from visio_operator.simulation.study import Announced, Setting, Study, as_figures, compare
from visio_operator.simulation.synthetic import Shape, generate
from visio_operator.simulation.trace import STEP, Streams

from .files import UnreadableError, UnwritableError, check_writable, read, write_whole
from .planner_config import ConfigError, PlannerConfig, parse_config
from .simulate_tables import print_tables

_DAY_STEPS = 86_400 // STEP


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
    parser.add_argument("--report", metavar="HTML", help="write a page with figures and charts that needs nothing else")
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="format")
    parser.set_defaults(func=simulate)


def simulate(arguments: argparse.Namespace) -> int:
    """Print the figures; exit code 2 for a trace, a configuration or a place for the report that cannot be used."""
    try:
        if arguments.report is not None:
            check_writable(arguments.report)
        config = parse_config(read(arguments.config)) if arguments.config else PlannerConfig()
        trace = _trace(arguments)
        trace = replace(trace, calendar=config.calendar())
        history = _history(arguments, trace)
        study = _study(arguments, config, trace, history)
        if arguments.report is not None:
            write_whole(arguments.report, page(study))
    except (UnreadableError, UnwritableError, ConfigError, TraceError) as error:
        print(f"visio-operator simulate: {error}", file=sys.stderr)
        return 2
    if arguments.output == "json":
        print(json.dumps(as_figures(study), indent=2))
    else:
        print_tables(study)
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


def _study(arguments: argparse.Namespace, config: PlannerConfig, trace: Streams, history: int) -> Study:
    limits = config.limits("captions")
    cloud = _cloud(arguments.lead)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        lines, week, whole = compare(
            entrants(limits, trace, not arguments.no_moving),
            trace, limits, cloud, arguments.seed, history, Teller(progress),
        )  # fmt: skip
    return Study(cloud.median, _setting(arguments, config, trace, history, cloud), lines, week, whole)


def _cloud(minutes: float) -> Cloud:
    return Cloud(minutes * 60.0, minutes * 60.0 * 1.6)


class Teller:
    """Shows how far each run is."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done: int, total: int) -> None:
        """Move the bar of one run."""
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(name, total=total)
        self._progress.update(self._tasks[name], completed=done)


def _setting(
    arguments: argparse.Namespace, config: PlannerConfig, trace: Streams, history: int, cloud: Cloud
) -> Setting:
    limits = config.limits("captions")
    source, synthetic = _origin(arguments, trace)
    return Setting(
        streams_from=source,
        synthetic=(*synthetic, "Lead times and failing orders are drawn at random; no provider was asked."),
        start=trace.start + history * STEP,
        days=round((trace.steps - history) / _DAY_STEPS, 2),
        history_days=history // _DAY_STEPS,
        slots=limits.slots,
        price_per_hour=limits.price_per_hour,
        lead_seconds=cloud.median,
        lead_p95_seconds=cloud.p95,
        failing_percent=round(100 * cloud.fails, 2),
        moving=not arguments.no_moving,
        seed=arguments.seed,
        calendar=tuple(
            Announced(_printable(entry.name or ""), meeting.start, meeting.end, meeting.streams)
            for entry, meeting in zip(config.capacity.calendar, config.calendar(), strict=True)
        ),
    )


def _origin(arguments: argparse.Namespace, trace: Streams) -> tuple[str, list[str]]:
    if arguments.synthetic is not None:
        weeks = f"{arguments.synthetic} {'week' if arguments.synthetic == 1 else 'weeks'} of made-up meetings"
        return weeks, [f"All streams: {weeks} from a generator, after no measured platform."]
    if trace.drawn:
        return _printable(arguments.trace), [
            f"The lengths of the streams: exponential with a mean of {arguments.mean_minutes:g} minutes, since the "
            "trace has arrivals only."
        ]
    return _printable(arguments.trace), []


def _printable(text: str) -> str:
    """A name of the user's, without what would change the text around it."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
