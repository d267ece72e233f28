"""`visio-operator run`: the operator itself, in a cluster or outside of one."""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `run`."""
    parser = subparsers.add_parser(
        "run",
        help="run the operator",
        description="Run the operator until it is told to end (exit code 0) or loses its lease (1).",
        epilog="Environment: VISIO_OPERATOR_METRICS_PORT (8080) for /healthz, /readyz and /metrics; "
        "VISIO_OPERATOR_HOLD_SECONDS (300), how long less has to be enough before anything shrinks.",
    )
    parser.add_argument(
        "--namespace", action="append", default=[], metavar="NAME", help="look after this namespace only; repeatable"
    )
    parser.add_argument(
        "--kubeconfig", type=Path, metavar="FILE", help="default: the pod's own identity, or KUBECONFIG"
    )
    parser.add_argument("--lease-namespace", metavar="NAME", help="namespace of the lease; default: the pod's own")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the operator; the exit code."""
    # Imported here, since kopf and the Kubernetes client take a second that no other command needs.
    from visio_operator.runtime import log
    from visio_operator.runtime.kube import KubeError
    from visio_operator.runtime.process import run as run_operator
    from visio_operator.runtime.settings import SettingError, read_settings

    log.configure()
    try:
        settings = read_settings(namespaces=tuple(arguments.namespace), lease_namespace=arguments.lease_namespace)
        return asyncio.run(run_operator(settings, arguments.kubeconfig))
    except SettingError as error:
        print(f"visio-operator run: {error}", file=sys.stderr)
        return 2
    except KubeError as error:
        print(f"visio-operator run: {error.message}", file=sys.stderr)
        return 2 if error.reason in ("NoCluster", "PortTaken") else 1
