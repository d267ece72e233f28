"""`visio-operator lab`: a real cluster on this machine, without containers and without root."""

import argparse
import dataclasses
import json
import signal
import sys
from pathlib import Path
from types import FrameType

from visio_lab import lab
from visio_lab.errors import LabError
from visio_lab.lab import LabStatus
from visio_lab.progress import open_progress

INTERRUPTED = 130
"""Exit code after Ctrl-C: 128 + SIGINT, as shells expect it."""


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `lab` with its commands; each sets `func`, which takes the parsed arguments and returns an exit code."""
    parser = subparsers.add_parser(
        "lab",
        help="a real cluster on this machine",
        description="Start, list and end labs: real clusters on this machine.",
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, func, text, directory in (
        (
            "up",
            up,
            "start a lab and print the path of its kubeconfig as the last line",
            "a new or empty directory for it",
        ),
        ("down", down, "end a lab and everything in it", "the lab's directory, needed when there are several"),
        ("status", status, "list the labs", "only the lab in this directory"),
    ):
        command = commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".")
        command.add_argument("--dir", type=Path, metavar="D", help=directory)
        if name == "status":
            command.add_argument("-o", "--output", choices=["text", "json"], default="text", help="format")
        if name == "up":
            command.add_argument(
                "--pods",
                choices=["control", "real"],
                default="control",
                help="which pods are real processes: those that the control of the platform needs, or all (default: "
                "control)",
            )
            command.add_argument(
                "--visio-source",
                type=Path,
                action="append",
                default=[],
                metavar="DIR",
                help="a checkout of Visio, whose programs then run in place of the stand-ins (with --pods real); "
                "several of different releases, and the tag of an image says whose programs run",
            )
            command.add_argument(
                "--livekit",
                action="append",
                default=[],
                metavar="VERSION",
                help="an older livekit-server, such as 1.11.0, for pods of that image (with --pods real)",
            )
        command.set_defaults(func=func)


def up(arguments: argparse.Namespace) -> int:
    """Start a lab; the last line of the output is its kubeconfig."""
    signal.signal(signal.SIGTERM, _interrupt)
    signal.signal(signal.SIGHUP, _interrupt)
    try:
        with open_progress() as progress:
            started = lab.up(
                arguments.dir,
                progress=progress,
                pods=arguments.pods,
                visio_sources=arguments.visio_source,
                livekit=arguments.livekit,
            )
    except LabError as error:
        return _refuse("up", error)
    except KeyboardInterrupt:
        print("visio-operator lab up: interrupted, nothing is left behind", file=sys.stderr)
        return INTERRUPTED
    print(started.kubeconfig)
    return 0


def down(arguments: argparse.Namespace) -> int:
    """End one lab: the one named, or the only one."""
    try:
        directory = arguments.dir or _only_lab()
        if directory is None:
            print("no lab is up")
            return 0
        lab.down(directory)
    except LabError as error:
        return _refuse("down", error)
    print(f"ended the lab in {directory}")
    return 0


def status(arguments: argparse.Namespace) -> int:
    """List the labs, dead ones included."""
    try:
        found = lab.status(arguments.dir)
    except LabError as error:
        return _refuse("status", error)
    if arguments.output == "json":
        print(json.dumps([dataclasses.asdict(each) for each in found], default=str, indent=2))
    elif not found:
        print("no lab is up")
    else:
        rows = [("NAME", "STATE", "PID", "PORT", "AGE", "DIRECTORY"), *(_row(each) for each in found)]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        for row in rows:
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def _row(each: LabStatus) -> tuple[str, ...]:
    pid = str(each.pid) if each.pid else "-"
    return each.name, each.phase, pid, str(each.port), f"{each.age_s / 60:.0f}m", str(each.directory)


def _only_lab() -> Path | None:
    """The only lab there is, or None; LabError when there are several."""
    found = lab.status()
    if len(found) > 1:
        names = ", ".join(str(each.directory) for each in found)
        raise LabError(f"there are {len(found)} labs ({names}): say which with --dir", exit_code=2)
    return found[0].directory if found else None


def _refuse(command: str, error: LabError) -> int:
    print(f"visio-operator lab {command}: {error}", file=sys.stderr)
    return error.exit_code


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
