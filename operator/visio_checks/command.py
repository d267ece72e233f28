"""The command `checks`: what the Jobs run."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from .result import RESULT_PATH, Result, print_result, write_results

FAILED, BAD_INPUT = 1, 2
_PATIENCE = 900
"""Seconds that a call may wait for GPU nodes when CHECKS_PATIENCE does not say."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the command takes; everything else comes from the environment, since arguments can be seen."""
    kinds = parser.add_subparsers(title="checks", metavar="WHAT", required=True, dest="what")
    kinds.add_parser("connections", help="what the deployment is connected to", description="Checks each connection.")
    call = kinds.add_parser("call", help="a whole call, from sign-in to transcript", description="Makes a call.")
    call.add_argument("--only", nargs="+", metavar="CHECK", default=[], help="these checks only, with what they need")


def run(arguments: argparse.Namespace) -> int:
    """Run the checks that were asked for and return the exit code: 0 all passed, 1 one failed, 2 bad input."""
    try:
        results = _results(arguments, os.environ)
    except ValueError as error:
        print(f"visio-operator checks: {error}", file=sys.stderr)
        return BAD_INPUT
    try:
        return asyncio.run(_tell(results, Path(os.environ.get("CHECKS_RESULT") or RESULT_PATH)))
    except asyncio.CancelledError:
        return FAILED


def _results(arguments: argparse.Namespace, environ: Mapping[str, str]) -> AsyncIterator[Result]:
    if arguments.what == "connections":
        from .connections import check_connections

        return check_connections(environ)
    from .order import check_call
    from .settings import read_settings

    return check_call(
        read_settings(environ), only=arguments.only, patience=float(environ.get("CHECKS_PATIENCE") or _PATIENCE)
    )


async def _tell(results: AsyncIterator[Result], path: Path) -> int:
    told: list[Result] = []
    task = asyncio.current_task()
    assert task is not None
    # A Job is ended by SIGTERM, which a container's first process ignores unless it says otherwise.
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        async for result in results:
            print_result(result)
            told.append(result)
    finally:
        # Also when the Job is ended before its last check: what is known by then is told.
        try:
            write_results(told, path)
        except OSError as error:
            print(f"visio-operator checks: {path} cannot be written: {error.strerror}", file=sys.stderr)
    return 0 if all(result.ok for result in told) else FAILED
