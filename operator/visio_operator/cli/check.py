"""`visio-operator check`: everything that is wrong with a file, before the cluster says so."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict

from .files import UnreadableError, read


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `check`."""
    parser = subparsers.add_parser(
        "check",
        help="check a file as admission would",
        description="Check VisioDeployment and VisioRelease objects as admission would, and name every error.",
    )
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="YAML or JSON; - is standard input")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="format")
    parser.set_defaults(func=check)


def check(arguments: argparse.Namespace) -> int:
    """Print what is wrong; exit code 2 when something is."""
    from visio_operator.api.check import check_document

    try:
        problems = check_document(read(arguments.file))
    except UnreadableError as error:
        print(f"visio-operator check: {error}", file=sys.stderr)
        return 2
    if arguments.output == "json":
        print(json.dumps([asdict(problem) for problem in problems], indent=2, ensure_ascii=False))
    else:
        for problem in problems:
            print(problem)
        if not problems:
            print(f"{arguments.file}: ok")
    return 2 if problems else 0
