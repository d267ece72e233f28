"""The command line. Each command is a module of its own, imported only when it is asked for."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit codes; the last one is that of a shell after Ctrl-C."""


@dataclass(frozen=True)
class Command:
    """A command, the module that adds its parser, and its line in the help."""

    name: str
    module: str
    help: str


COMMANDS: tuple[Command, ...] = (
    Command("demo", "demo", "show a whole platform on a cluster of this machine"),
    Command("lab", "lab", "start, list and end clusters of this machine"),
    Command("run", "run", "run the operator"),
    Command("crd", "crd", "print the CRDs"),
    Command("check", "check", "check a file as admission would"),
    Command("render", "render", "print the manifests of a healthy deployment"),
    Command("diff", "diff", "show what applying a file would change"),
    Command("releases", "releases", "show the release ladder, and the way from one release to another"),
    Command("status", "status", "show how a deployment is"),
    Command("why", "status", "show why a deployment is planned as it is"),
    Command("approve", "approve", "approve a plan of a deployment that waits"),
    Command("drain", "drain", "let one pod end with the calls that it has"),
    Command("replay", "replay", "plan GPU servers line by line from readings"),
    Command("simulate", "simulate", "run the planner over a trace, beside autoscalers"),
    Command("smoke", "smoke", "make a call on a deployment and say what works"),
    Command("checks", "checks", "run checks inside the cluster; for the operator's own Jobs"),
    Command("webhook-relay", "webhook_relay", "sign LiveKit's webhooks anew during a rotation of keys"),
    Command("captions-proxy", "captions_proxy", "run the captions proxy beside the subtitles agent"),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code: 0 ok, 1 failed, 2 bad input."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(arguments)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader has gone, as `head` does; Python must not complain about it at exit.
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(frame.filename).name}:{frame.lineno}"
        print(f"visio-operator: unexpected error in {place}: {type(error).__name__}: {error}", file=sys.stderr)
        return FAILED


def _run(arguments: list[str]) -> int:
    wanted = next((word for word in arguments if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="visio-operator",
        description="Operate La Suite's Visio on Kubernetes.",
        epilog="Exit codes: 0 ok, 1 failed, 2 bad input. `visio-operator COMMAND --help` explains a command.",
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in COMMANDS:
        if command.name != wanted:
            if command.name not in subparsers.choices:
                subparsers.add_parser(command.name, help=command.help)
            continue
        try:
            module = importlib.import_module(f"{__name__}.{command.module}")
        except ModuleNotFoundError as error:
            print(f"visio-operator {wanted}: the Python package {error.name} is not installed", file=sys.stderr)
            return BAD_INPUT
        if command.name == "captions-proxy":
            return int(module.main(arguments[arguments.index(command.name) + 1 :]))
        module.add_parser(subparsers)
    parsed = parser.parse_args(arguments)
    return int(parsed.func(parsed))
