"""`visio-operator smoke`: makes a call on a deployment, by a Job inside its cluster, and says what works."""

from __future__ import annotations

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visio_checks.names import NAMES
from visio_operator.api.releases import find_release
from visio_operator.api.spec import KIND
from visio_operator.plan.images import as_release
from visio_operator.workloads.common import Manifest, Site
from visio_operator.workloads.smoke import smoke

from .smoke_report import Report

Body = Mapping[str, Any]

_TIMEOUT = 1200
_SHORTEST, _LONGEST = 30, 7200
_SLACK = 60
"""Seconds beyond the time limit until the Job itself ends."""
_COMPONENT = "app.kubernetes.io/component"


class _RefusedError(Exception):
    """The call is not made, for a reason that the user can remove."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `smoke`."""
    parser = subparsers.add_parser(
        "smoke",
        help="make a call on a deployment and say what works",
        description="Makes a call from inside the cluster, with the deployment's own settings: page, API, sign-in, "
        "two participants with sound, picture and data, captions, recording, transcription, and what else is enabled. "
        "Leaves nothing behind. Exit codes: 0 all passed, 1 one failed, 2 not tried.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the VisioDeployment")
    parser.add_argument("-n", "--namespace", metavar="NS", help="default: that of the kubeconfig's context")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: KUBECONFIG or the usual place")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="format")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=NAMES,
        default=[],
        metavar="CHECK",
        help=f"these checks, with what they need, of {', '.join(NAMES)}",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=_TIMEOUT,
        metavar="S",
        help=f"longest run in seconds, with the wait for GPU nodes; default {_TIMEOUT}",
    )
    parser.add_argument("--anyway", action="store_true", help="also when the deployment is not Ready")
    parser.set_defaults(func=run)


def _seconds(text: str) -> int:
    if text.isdecimal() and _SHORTEST <= int(text) <= _LONGEST:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text} is no number of seconds from {_SHORTEST} to {_LONGEST}")


def run(arguments: argparse.Namespace) -> int:
    """Make the call and print what came of it."""
    from visio_operator.runtime.kube import KubeError, context_namespace

    namespace = arguments.namespace or context_namespace(arguments.kubeconfig)
    report = Report(f"{namespace}/{arguments.name}", as_json=arguments.output == "json")
    try:
        asyncio.run(_smoke(arguments, namespace, report))
    except KubeError as error:
        print(f"visio-operator smoke: {error.message}", file=sys.stderr)
        return 2 if error.reason == "NoCluster" else 1
    except _RefusedError as refusal:
        print(f"visio-operator smoke: {refusal}", file=sys.stderr)
        return 2
    return report.finish()


async def _smoke(arguments: argparse.Namespace, namespace: str, report: Report) -> None:
    from visio_operator.runtime.kube import Kube

    kube = await Kube.connect(arguments.kubeconfig)
    try:
        job = await _prepare(kube, arguments, namespace)
        await kube.create(job)
        try:
            await _follow(kube, job, report, time.monotonic() + arguments.timeout + _SLACK)
        finally:
            # Also after Ctrl-C: the Job would go on calling.
            await _remove(kube, job)
    finally:
        await kube.close()


async def _prepare(kube: Any, arguments: argparse.Namespace, namespace: str) -> Manifest:
    """The Job, or the reason why there is none."""
    from visio_operator.runtime.reconcile import parse_spec, read_ladder

    name = arguments.name
    live = await kube.get(KIND, name, namespace)
    if live is None:
        raise _RefusedError(
            f"there is no VisioDeployment {name} in namespace {namespace}; name another one, or another namespace "
            "with -n"
        )
    if not arguments.anyway and (missing := _not_ready(live)):
        raise _RefusedError(f"{namespace}/{name} is not Ready: {missing}; wait for it, or give --anyway")
    try:
        spec = parse_spec(live)
    except ValueError:
        raise _RefusedError(f"the spec of {name} is not valid; see `visio-operator status {name}`") from None
    version = (live.get("status") or {}).get("version") or spec.version
    entry = find_release(await read_ladder(kube), version)
    if entry is None:
        raise _RefusedError(
            f"{name} runs {version}, which this version of visio-operator does not know; use a newer one"
        )
    site = Site(name, namespace, live["metadata"]["uid"], spec)
    pods = await kube.list("Pod", namespace=namespace, selector=f"{_COMPONENT}=sfu,app.kubernetes.io/instance={name}")
    addresses = [address for pod in pods if (address := (pod.get("status") or {}).get("podIP"))]
    return smoke(
        site,
        as_release(entry, spec.sovereignty.registries),
        secrets.token_hex(3),
        seconds=arguments.timeout,
        only=arguments.only,
        sfu_addresses=addresses,
    )


def _not_ready(live: Body) -> str:
    """What is missing, in words; empty when the deployment is Ready."""
    status = live.get("status") or {}
    ready: Body = next((entry for entry in status.get("conditions") or () if entry["type"] == "Ready"), {})
    if ready.get("status") == "True":
        return ""
    parts = [
        f"{part['name']} {part.get('ready', 0)}/{part.get('desired', 0)}"
        for part in status.get("parts") or ()
        if part.get("state") != "Ready"
    ]
    said = ready.get("message") or ready.get("reason") or "the operator has not looked at it yet"
    return str(said).rstrip(".") + (f" ({', '.join(parts)})" if parts else "")


async def _follow(kube: Any, job: Manifest, report: Report, deadline: float) -> None:
    """Read the pod's log, and at its end its last words, until the Job is done."""
    from visio_operator.runtime.kube import KubeError

    namespace, name = job["metadata"]["namespace"], job["metadata"]["name"]
    container = job["spec"]["template"]["spec"]["containers"][0]["name"]
    while True:
        pods = await kube.list("Pod", namespace=namespace, selector=f"job-name={name}")
        for pod in pods[:1]:
            state = _state(pod)
            report.pod(pod, state)
            if "waiting" not in state:
                try:
                    report.log(await kube.logs(namespace, pod["metadata"]["name"], container))
                except KubeError as error:
                    # Where logs cannot be read, the last words still tell everything at the end.
                    report.without_log(error.message)
            if "terminated" in state:
                report.last_words(state["terminated"])
                return
        live = await kube.get("Job", name, namespace)
        if live is None:
            report.broken(f"somebody has deleted the Job {name}")
            return
        if not pods and (failure := _failure(live)):
            report.broken(failure)
            return
        if time.monotonic() > deadline:
            report.broken("the Job has not ended in time")
            return
        await asyncio.sleep(0.5)


def _state(pod: Body) -> dict[str, Any]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or ()
    return dict(statuses[0].get("state") or {"waiting": {}}) if statuses else {"waiting": {}}


def _failure(live: Body) -> str:
    for entry in (live.get("status") or {}).get("conditions") or ():
        if entry["type"] == "Failed" and entry["status"] == "True":
            return f"the Job has failed: {entry.get('message') or entry.get('reason')}"
    return ""


async def _remove(kube: Any, job: Manifest) -> None:
    from visio_operator.runtime.kube import KubeError

    for _ in range(10):
        live = await kube.get("Job", job["metadata"]["name"], job["metadata"]["namespace"])
        if live is None:
            return
        try:
            await kube.delete("Job", live)
        except KubeError as error:
            if error.missing:
                return
            if not error.conflict:
                raise
        else:
            return
        # Its controller wrote to it in between.
        await asyncio.sleep(0.1)
