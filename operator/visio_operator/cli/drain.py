"""`visio-operator drain`: lets one pod end with what it has, and says what that is. Nothing is ever killed by it."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from . import BAD_INPUT, FAILED, OK

Body = Mapping[str, Any]

PARTS = ("sfu", "egress", "subtitles", "metadata", "transcription")
"""Parts whose pods end with their sessions after SIGTERM. A captions server does not: cordon its node instead."""
_FOLLOW_SECONDS = 30.0
_LOOK_SECONDS = 0.5


class _RefusedError(Exception):
    """Nothing is drained; `code` is the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `drain`."""
    parser = subparsers.add_parser(
        "drain",
        help="let one pod end with the calls that it has",
        description="Evicts one pod, as `kubectl drain` does for a whole node: disruption budgets hold, another pod "
        "takes its place, and it has its whole grace period. A pod that ends already is left alone. Without --pod it "
        "lists the pods of the part.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the VisioDeployment")
    parser.add_argument("--part", choices=PARTS, default="sfu", help="default: sfu")
    parser.add_argument("--pod", metavar="P", help="the pod; not needed where the part has only one")
    parser.add_argument("-n", "--namespace", metavar="NS", help="default: that of the kubeconfig's context")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: KUBECONFIG or the usual place")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="format")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Choose, evict, show what status says of it."""
    from visio_operator.runtime.kube import KubeError, context_namespace

    namespace = arguments.namespace or context_namespace(arguments.kubeconfig)
    try:
        entry = asyncio.run(_drain(arguments, namespace))
    except KubeError as error:
        print(f"visio-operator drain: {_in_words(error)}", file=sys.stderr)
        return BAD_INPUT if error.reason == "NoCluster" else FAILED
    except _RefusedError as refusal:
        print(f"visio-operator drain: {refusal}", file=sys.stderr)
        return refusal.code
    if arguments.output == "json":
        print(json.dumps(entry, indent=2))
        return OK
    print(f"{entry['pod']} takes nothing new from now on and ends with what it has")
    for line in drain_lines({"drains": [entry]} if "since" in entry else {}):
        print(line)
    return OK


def _in_words(error: Any) -> str:
    if error.status == 429:
        return "a disruption budget does not allow it now; wait until all pods of the part are ready"
    if error.conflict:
        return "the pod has changed just now; look again"
    return str(error.message)


async def _drain(arguments: argparse.Namespace, namespace: str) -> dict[str, Any]:
    from visio_operator.api.spec import KIND
    from visio_operator.runtime.kube import Kube
    from visio_operator.runtime.projections import PART_LABEL
    from visio_operator.workloads.common import DEPLOYMENT_LABEL

    kube = await Kube.connect(arguments.kubeconfig)
    try:
        live = await kube.get(KIND, arguments.name, namespace)
        if live is None:
            there = f"there is no VisioDeployment {arguments.name} in namespace {namespace}"
            raise _RefusedError(f"{there}; name another one, or another namespace with -n", BAD_INPUT)
        selector = f"{DEPLOYMENT_LABEL}={arguments.name},{PART_LABEL}={arguments.part}"
        pods = await kube.list("Pod", namespace=namespace, selector=selector)
        chosen = choose(pods, arguments.part, arguments.pod)
        await kube.evict(chosen)
        return await _follow(kube, live["metadata"], chosen["metadata"]["name"])
    finally:
        await kube.close()


def choose(pods: list[Any], part: str, name: str | None) -> Any:
    """The pod that is meant. Raises when there is none, when several could be, and when it ends already."""
    staying = {pod["metadata"]["name"]: pod for pod in pods if not pod["metadata"].get("deletionTimestamp")}
    if name is not None:
        if name in staying:
            return staying[name]
        if any(pod["metadata"]["name"] == name for pod in pods):
            # Whoever deletes it again could shorten its grace, and a second SIGTERM would cut its calls for good.
            raise _RefusedError(f"{name} is on its way out already; it is left alone")
        raise _RefusedError(f"{part} has no pod {name}; it has {', '.join(staying) or 'none'}", BAD_INPUT)
    if not staying:
        raise _RefusedError(f"{part} has no pod that could drain", BAD_INPUT)
    if len(staying) > 1:
        raise _RefusedError(f"{part} has several pods, name one with --pod: {', '.join(sorted(staying))}", BAD_INPUT)
    return next(iter(staying.values()))


async def _follow(kube: Any, meta: Body, pod: str) -> dict[str, Any]:
    """What status says of the pod; its name alone when it has nothing to end with, or the operator does not say."""
    from visio_operator.api.spec import KIND

    end = time.monotonic() + _FOLLOW_SECONDS
    while time.monotonic() < end:
        live = await kube.get(KIND, meta["name"], meta["namespace"])
        for entry in ((live or {}).get("status") or {}).get("drains") or ():
            if entry["pod"] == pod and "deadline" in entry:
                return dict(entry)
        if await kube.get("Pod", pod, meta["namespace"]) is None:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    return {"pod": pod}


def drain_lines(status: Body) -> Iterator[str]:
    """What `visio-operator status` says of drains and of announcements that failed."""
    for one in status.get("drains") or ():
        has = ", ".join(f"{one[what]} {what}" for what in ("rooms", "participants") if what in one) or "unknown load"
        times = [f"since {one['since']}"]
        labels = {"oldest": "oldest room", "expectedEnd": "expected end about", "deadline": "deadline"}
        times += [f"{label} {one[field]}" for field, label in labels.items() if field in one]
        line = f"  drain {one['part']:<14} {one['pod']}: {has}, {', '.join(times)} ({one.get('policy', 'Wait')})"
        yield f"{line}  {one.get('message', '')}".rstrip()
    for one in status.get("announcements") or ():
        if one.get("message"):
            yield f"  announcement of {one['kind']} {one['about']} ({one['phase']})  {one['message']}"
