"""`visio-operator status` and `why`: how a deployment is, and why it is planned so."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from visio_operator.api.spec import KIND

from .approve import status_lines
from .drain import drain_lines
from .upgrade_text import upgrade_lines

Body = Mapping[str, Any]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the commands `status` and `why`."""
    for name, text, show in (
        ("status", "show how a deployment is", show_status),
        ("why", "show why a deployment is planned as it is", show_trace),
    ):
        if name in subparsers.choices:
            continue
        parser = subparsers.add_parser(name, help=text, description=f"{text.capitalize()}, as last reported.")
        parser.add_argument("name", metavar="NAME", help="name of the VisioDeployment")
        parser.add_argument("-n", "--namespace", metavar="NS", help="default: that of the kubeconfig's context")
        parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: KUBECONFIG or the usual place")
        parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="format")
        parser.set_defaults(func=lambda arguments, show=show: _show(arguments, show))


def _show(arguments: argparse.Namespace, show: Callable[[Body, bool], None]) -> int:
    from visio_operator.runtime.kube import KubeError, context_namespace

    namespace = arguments.namespace or context_namespace(arguments.kubeconfig)
    try:
        live = asyncio.run(_read(arguments.kubeconfig, namespace, arguments.name))
    except KubeError as error:
        print(f"visio-operator: {error.message}", file=sys.stderr)
        return 2 if error.reason == "NoCluster" else 1
    if live is None:
        print(
            f"visio-operator: there is no VisioDeployment {arguments.name} in namespace {namespace}; "
            "name another one, or another namespace with -n",
            file=sys.stderr,
        )
        return 2
    show(live, arguments.output == "json")
    return 0


async def _read(kubeconfig: Path | None, namespace: str, name: str) -> Body | None:
    from visio_operator.runtime.kube import Kube

    kube = await Kube.connect(kubeconfig)
    try:
        return await kube.get(KIND, name, namespace)
    finally:
        await kube.close()


def show_status(live: Body, as_json: bool) -> None:
    """Print conditions, parts and pools."""
    status = live.get("status") or {}
    if as_json:
        print(json.dumps(status, indent=2, ensure_ascii=False))
        return
    meta, spec = live["metadata"], live.get("spec") or {}
    behind = int(status.get("observedGeneration") or 0) < int(meta.get("generation") or 1)
    print(f"{meta['namespace']}/{meta['name']}  version {status.get('version') or '-'} of {spec.get('version', '-')}")
    if behind:
        print("  the newest spec has not been looked at yet")
    for entry in status.get("conditions") or ():
        print(f"  {entry['type']:<16} {entry['status']:<8} {entry['reason']}  {entry.get('message', '')}".rstrip())
    for part in status.get("parts") or ():
        count = f"{part.get('ready', 0)}/{part.get('desired', 0)}"
        print(f"  {part['name']:<20} {part.get('state', ''):<12} {count:<8} {part.get('message', '')}".rstrip())
    for line in upgrade_lines(status.get("upgrade"), meta["name"], meta["namespace"]):
        print(line)
    _show_pools(status)
    for line in status_lines(status.get("plan"), meta["name"], meta["namespace"]):
        print(line)
    _show_missing_signals(status)
    for line in drain_lines(status):
        print(line)
    if captions := status.get("captions"):
        panic = f", in panic since {captions['panicSince']}" if captions.get("panicSince") else ""
        print(f"  captions slots       {captions.get('used', 0)}/{captions.get('total', 0)} in use{panic}")
    if work := status.get("transcription"):
        waiting = work.get("waiting")
        shown = "unknown" if waiting is None else waiting
        print(f"  transcription        waiting {shown}, busy {work.get('busy', 0)} of {work.get('workers', 0)}")


def _show_pools(status: Body) -> None:
    for pool in status.get("pools") or ():
        count = f"{pool.get('gpuReady', 0)}/{pool.get('desired', 0)} GPU nodes"
        joining = f", {pool['joining']} on their way" if pool.get("joining") else ""
        print(f"  pool {pool['name']:<15} {count}{joining}  {pool.get('error', '')}".rstrip())
        if lead := pool.get("lead"):
            print(f"  lead {pool['name']:<15} {_lead(lead)}")


def _show_missing_signals(status: Body) -> None:
    for signal in status.get("signals") or ():
        if signal["state"] != "Fresh":
            print(
                f"  signal {signal['name']:<13} missing since {signal['since']}  {signal.get('message', '')}".rstrip()
            )


def _lead(lead: Body) -> str:
    stages = ", ".join(f"{one['name']} {one['medianSeconds']:.0f}" for one in lead.get("stages") or ())
    whole = f"first slot after {lead['medianSeconds']:.0f} s, 95 of 100 after {lead['p95Seconds']:.0f} s"
    return f"{whole}, of {lead['orders']} servers" + (f" ({stages})" if stages else "")


def show_trace(live: Body, as_json: bool) -> None:
    """Print the plan in words, one line for each choice."""
    trace = (live.get("status") or {}).get("trace") or []
    if as_json:
        print(json.dumps(trace, indent=2, ensure_ascii=False))
        return
    for line in trace or ["nothing has been planned yet; is the operator running?"]:
        print(line)
