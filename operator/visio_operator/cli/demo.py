"""`visio-operator demo`: the whole story on this machine, from an empty cluster to returned GPU nodes."""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
import textwrap
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType

from visio_lab import lab as labs
from visio_lab.demo import Account, play, play_call
from visio_lab.demo_view import open_view
from visio_lab.errors import LabError
from visio_lab.handle import Lab
from visio_lab.progress import open_progress
from visio_lab.visio_source import version_of

INTERRUPTED = 130


@dataclass(frozen=True)
class Cast:
    """Who plays what in the laboratory."""

    real: str
    stand_ins: str
    simulated: str


CONTROL = "etcd, kube-apiserver, controller-manager, scheduler, kube-proxy, CoreDNS, Helm, Redis, captions proxies"
SMALL = Cast(
    real=f"{CONTROL}, the operator",
    stand_ins="Kyutai and WhisperX servers, caption agents, transcription workers, the cloud that sells nodes",
    simulated="all other pods (KWOK): web, API, LiveKit, egress, PostgreSQL, object store; and the nodes' kubelets",
)


def _whole_cast(visio: bool) -> Cast:
    """Where every pod is a process; `visio`: those of Visio are its own programs."""
    own = "Visio's web, API, summary service, workers and agents"
    others = "Kyutai, WhisperX, egress, the object store in front of versitygw, the sign-in provider"
    return Cast(
        real=f"{CONTROL}, LiveKit, PostgreSQL, Traefik (for ingress-nginx), WebRTC clients, the operator"
        + (f", {own}" if visio else ""),
        stand_ins=("" if visio else f"{own}; ") + f"{others}, the cloud that sells nodes",
        simulated="the nodes' kubelets",
    )


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `demo`."""
    parser = subparsers.add_parser(
        "demo",
        help="see it work on this machine, from an empty cluster on",
        description="Start a laboratory, install the operator, make one platform, play a morning of load, upgrade it.",
    )
    parser.add_argument("--quick", action="store_true", help="stop when the platform is Ready")
    parser.add_argument(
        "--call",
        action="store_true",
        help="run every part as a process, and make a whole call instead of the morning and the upgrade",
    )
    parser.add_argument(
        "--visio-source",
        type=Path,
        metavar="DIR",
        help="a checkout of Visio, whose programs then run in place of the stand-ins (with --call)",
    )
    parser.add_argument("--keep", action="store_true", help="leave the laboratory running")
    parser.add_argument("-o", "--output", choices=["text", "json"], default="text", help="format of the summary")
    parser.set_defaults(func=demo)


def demo(arguments: argparse.Namespace) -> int:
    """Play the story; 0 when it reached its end with no call cut, 1 otherwise, 2 when this machine lacks something."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    running: Lab | None = None
    source = arguments.visio_source
    try:
        if source is not None and not arguments.call:
            raise LabError("--visio-source: only a whole call is made with Visio's programs: add --call", exit_code=2)
        with open_progress() as progress:
            pods: labs.Pods = "real" if arguments.call else "control"
            running = labs.up(progress=progress, pods=pods, visio_sources=[] if source is None else [source])
        # Of machine-readable output, standard output holds nothing else.
        with open_view(sys.stdout if arguments.output == "text" else sys.stderr) as view:
            if arguments.call:
                account = play_call(running, view, version=None if source is None else version_of(source))
            else:
                account = play(running, view, quick=arguments.quick)
    except LabError as error:
        print(f"visio-operator demo: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("visio-operator demo: interrupted, nothing is left behind", file=sys.stderr)
        return INTERRUPTED
    finally:
        if running is not None and not arguments.keep:
            labs.down(running.directory)
    _summarise(account, running, arguments)
    return 1 if account.cut or account.jobs_lost or account.call_failed else 0


def _summarise(account: Account, running: Lab, arguments: argparse.Namespace) -> None:
    cast = _whole_cast(arguments.visio_source is not None) if arguments.call else SMALL
    if arguments.output == "json":
        parts = {"real": cast.real, "standIns": cast.stand_ins, "simulated": cast.simulated}
        print(json.dumps({**asdict(account), **parts}, indent=2))
        return
    lines = [
        ("objects made", str(account.objects)),
        ("seconds to Ready", f"{account.ready_after:.1f}"),
    ]
    if arguments.call:
        lines += [("a whole call", account.call.partition(": ")[2])]
    elif not arguments.quick:
        lines += [
            ("GPU nodes", f"{account.bought} bought, {account.returned} returned"),
            ("caption streams", f"{account.streams} carried, {account.cut} cut"),
            ("transcriptions", f"{account.jobs} queued, {account.jobs_lost} lost"),
            ("upgrade", account.upgraded),
        ]
    if not arguments.call:
        lines += [("calls cut", str(account.cut))]
    lines += [("real", cast.real), ("stand-ins", cast.stand_ins), ("simulated", cast.simulated)]
    width = max(len(name) for name, _ in lines)
    print("\nWhat happened")
    columns = shutil.get_terminal_size().columns
    for name, value in lines:
        heading = f"  {name.ljust(width)}  "
        indent = " " * len(heading)
        print(textwrap.fill(value, columns, initial_indent=heading, subsequent_indent=indent, break_on_hyphens=False))
    if arguments.keep:
        print(f"\nThe laboratory is still up. Look around, then end it:\n  export KUBECONFIG={running.kubeconfig}")
        print(f"  {running.bin / 'kubectl'} get vd -A\n  uv run visio-operator lab down --dir {running.directory}")


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
