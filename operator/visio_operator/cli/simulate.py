"""`visio-operator simulate`: what the planner would have bought for a trace, and what others would have."""

from __future__ import annotations

import argparse
import gc
import json
import sys
from collections.abc import Sequence
from dataclasses import replace

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

from visio_operator.plan.servers import Job
from visio_operator.simulation.compare import DAY_STEPS, compare
from visio_operator.simulation.entrants import entrants
from visio_operator.simulation.frontier import cloud_of, frontier
from visio_operator.simulation.read_trace import TraceError, read_jobs, read_streams
from visio_operator.simulation.report import page
from visio_operator.simulation.study import Announced, Setting, Study, as_figures
from visio_operator.simulation.synthetic import Shape, generate
from visio_operator.simulation.trace import STEP, Streams
from visio_operator.simulation.transcriptions import transcribe

from .files import UnreadableError, UnwritableError, check_writable, read, write_whole
from .planner_config import ConfigError, PlannerConfig, parse_config
from .simulate_tables import print_tables

_DESCRIPTION = """Run the captions planner over a trace of streams, with servers that take their time and orders that
fail, beside autoscalers and a buyer who knows the future; and the planner of transcription servers over recordings. The
same arguments give the same figures."""
_COLUMNS = """columns of streams:
  server hours    paid for, from the order until the server is given back
  of the oracle   as a multiple of what a buyer pays who knows the future, loses nobody, pays the same lead time, packs
                  perfectly and moves streams at once; nobody comes below 1 without letting streams wait
  waited          streams that found no slot in the 30 s in which they joined, of all
  waiting minutes minutes in which at least one stream waited
  lost            streams that waited for 5 minutes and gave up
  sessions ended  streams cut because their server was taken away
  orders          servers bought, with those that never came
  used            of the slots that were paid for, those with a stream
  euros           hours times pricePerHour of the pool; unknown without one
columns of recordings (--jobs):
  late            transcriptions that started after transcription.startWithin, of all
  busy            share of the paid time in which a server worked
  jobs ended      transcriptions cut because their server was taken away
  handed over     servers that captions gave back in the same half minute, and that were not bought
policies:
  HPA at N %            HorizontalPodAutoscaler on used slots
  KEDA cron and 60 %    the same, with a floor in office hours as the history has them
  Knative windows       70 % over 60 s, panic at 200 %
  Jitsi steps           one server up at 80 %, one down below 30 %, 8 minutes apart
  static peak           the highest load of the whole trace, always
  knows the streams     buys ahead for the streams that will come; its orders are late or fail as all others
  knows the future      the oracle
  one pool with captions  recordings on servers of the price of captions, taken over where captions give one back
All but the planner and those who know spread new streams over all servers, and their streams stay where they are."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `simulate`."""
    parser = subparsers.add_parser(
        "simulate",
        help="run the planner over a trace, beside others",
        description=_DESCRIPTION,
        epilog=_COLUMNS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    trace = parser.add_mutually_exclusive_group()
    trace.add_argument(
        "--trace", metavar="CSV", help="columns time,duration (seconds; a row for each stream) or time,arrivals; - is "
        "standard input",
    )  # fmt: skip
    trace.add_argument("--synthetic", type=int, metavar="WEEKS", help="weeks of made-up meetings instead")
    parser.add_argument(
        "--jobs", metavar="CSV", help="columns time,audio (seconds; a row for each recording); alone or with streams"
    )
    parser.add_argument("--config", metavar="FILE", help="capacity, captions, transcription and gpuPools of a spec")
    parser.add_argument(
        "--history", type=int, default=28, metavar="DAYS", help="first days of the streams, which only teach (default "
        "%(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--mean-minutes", type=float, default=30.0, metavar="N", help="mean length for arrivals (default %(default)s)"
    )
    parser.add_argument(
        "--lead", type=float, default=5.0, metavar="MINUTES", help="median lead time (default %(default)s)"
    )
    parser.add_argument("--no-moving", action="store_true", help="streams stay on a closed server until their end")
    parser.add_argument(
        "--frontier", action="store_true", help="also hours against waiting streams, for leads of 2, 5 and 15 minutes"
    )
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
        jobs = read_jobs(read(arguments.jobs).splitlines()) if arguments.jobs is not None else []
        # A year is a million lists that stay; the collector looked through all of them again and again, which took a
        # fifth of the time.
        gc.freeze()
        study = _study(arguments, config, trace, jobs)
        if arguments.report is not None:
            write_whole(arguments.report, page(study))
    except (UnreadableError, UnwritableError, ConfigError, TraceError) as error:
        print(f"visio-operator simulate: {error}", file=sys.stderr)
        return 2
    finally:
        gc.unfreeze()
    if arguments.output == "json":
        print(json.dumps(as_figures(study), indent=2))
    else:
        print_tables(study)
    return 0


def _trace(arguments: argparse.Namespace) -> Streams | None:
    if arguments.mean_minutes <= 0 or arguments.lead <= 0 or arguments.history < 0:
        raise TraceError("--mean-minutes and --lead have to be above 0, and --history not below")
    if arguments.synthetic is not None:
        if not 1 <= arguments.synthetic <= 520:
            raise TraceError("--synthetic takes 1 to 520 weeks")
        return generate(Shape(weeks=arguments.synthetic), arguments.seed)
    if arguments.trace is not None:
        return read_streams(read(arguments.trace).splitlines(), arguments.mean_minutes, arguments.seed)
    if arguments.jobs is None:
        raise TraceError("there is nothing to run; give --trace, --synthetic or --jobs")
    if arguments.frontier:
        raise TraceError("--frontier is about streams; give --trace or --synthetic")
    return None


def _history(arguments: argparse.Namespace, trace: Streams) -> int:
    steps = int(arguments.history) * DAY_STEPS
    if steps >= trace.steps:
        days = trace.steps / DAY_STEPS
        raise TraceError(
            f"--history {arguments.history} leaves nothing of a trace of {days:.1f} days; choose fewer days"
        )
    return steps


def _study(arguments: argparse.Namespace, config: PlannerConfig, trace: Streams | None, jobs: Sequence[Job]) -> Study:
    cloud = cloud_of(arguments.lead * 60.0)
    moving, seed = not arguments.no_moving, arguments.seed
    study = Study(cloud.median, _setting(arguments, config))
    price = config.limits("captions").price_per_hour
    returned: Sequence[float] = ()
    with _progress() as progress:
        tell = Teller(progress)
        if trace is not None:
            history, limits = _history(arguments, trace), config.limits("captions")
            trace = replace(trace, calendar=config.calendar())
            found = compare(entrants(limits, trace, cloud, history, moving), trace, limits, cloud, seed, history, tell)
            returned = found.returned
            points, tuned = frontier(trace, limits, seed, history, moving, tell) if arguments.frontier else ((), ())
            study = replace(
                study,
                setting=_setting_of_streams(arguments, study.setting, trace, history),
                policies=found.lines,
                week=found.week,
                whole=found.whole,
                frontier=points,
                tuned=tuned,
            )
        if jobs:
            own = config.limits("transcription")
            study = replace(study, recordings=transcribe(jobs, own, cloud, seed, tell, returned, price))
    return study


def _progress() -> Progress:
    columns = TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


class Teller:
    """Shows how far the run of now is; what is done goes away, since a frontier has some fifty runs."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._now: tuple[str, TaskID] | None = None

    def __call__(self, name: str, done: int, total: int) -> None:
        """Move the bar."""
        if self._now is None or self._now[0] != name:
            if self._now is not None:
                self._progress.remove_task(self._now[1])
            self._now = name, self._progress.add_task(name, total=total)
        self._progress.update(self._now[1], completed=done)


def _setting(arguments: argparse.Namespace, config: PlannerConfig) -> Setting:
    cloud, captions = cloud_of(arguments.lead * 60.0), config.limits("captions")
    return Setting(
        recordings_from=None if arguments.jobs is None else _printable(arguments.jobs),
        synthetic=("Lead times and failing orders are drawn at random; no provider was asked.",),
        slots=captions.slots,
        captions_price=captions.price_per_hour,
        transcription_price=config.limits("transcription").price_per_hour,
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


def _setting_of_streams(arguments: argparse.Namespace, setting: Setting, trace: Streams, history: int) -> Setting:
    synthetic = []
    if arguments.synthetic is not None:
        source = f"{arguments.synthetic} {'week' if arguments.synthetic == 1 else 'weeks'} of made-up meetings"
        synthetic.append(f"All streams: {source} from a generator, after no measured platform.")
    else:
        source = _printable(arguments.trace)
    if trace.drawn:
        synthetic.append(
            f"The lengths of the streams: exponential with a mean of {arguments.mean_minutes:g} minutes, since the "
            "trace has arrivals only."
        )
    return replace(
        setting,
        streams_from=source,
        synthetic=(*synthetic, *setting.synthetic),
        start=trace.start + history * STEP,
        days=round((trace.steps - history) / DAY_STEPS, 2),
        history_days=history // DAY_STEPS,
    )


def _printable(text: str) -> str:
    """A name of the user's, without what would change the text around it."""
    return "".join(each if each.isprintable() else f"\\x{ord(each):02x}" for each in text)
