"""`visio-operator checks`: what the operator's Jobs run inside the cluster; a program of its own in this image."""

from __future__ import annotations

import argparse

from visio_checks import command


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `checks`."""
    parser = subparsers.add_parser(
        "checks",
        help="run checks inside the cluster; for the operator's own Jobs",
        description="Runs checks of one deployment, which it knows by its environment. Each gives a line of JSON.",
    )
    command.add_arguments(parser)
    parser.set_defaults(func=command.run)
