"""`visio-operator crd`: the CustomResourceDefinitions, made from the API types."""

from __future__ import annotations

import argparse
import sys


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `crd`."""
    parser = subparsers.add_parser(
        "crd",
        help="print the CRDs",
        description="Print the CustomResourceDefinitions, for `kubectl apply --server-side -f -`.",
    )
    parser.set_defaults(func=print_crds)


def print_crds(_: argparse.Namespace) -> int:
    """Print the CRDs as YAML."""
    from visio_operator.api.crd import render_crds

    sys.stdout.write(render_crds())
    return 0
