"""`visio-operator approve`: says what a proposed plan would do to node pools, and approves exactly that."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from visio_operator.api.spec import KIND
from visio_operator.plan.propose import IGNORED, number_of

from . import BAD_INPUT, FAILED, OK

Body = Mapping[str, Any]

_FOLLOW_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_WRITES = 5


class _RefusedError(Exception):
    """Nothing is approved; `code` is the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `approve`."""
    parser = subparsers.add_parser(
        "approve",
        help="approve the proposed plan of a deployment",
        description="Shows the node pools that the plan of a deployment in mode Propose would change, with nodes and "
        "euros, approves it, and follows until the operator has taken it up. A plan that changed since is refused.",
    )
    parser.add_argument("name", metavar="NAME", help="name of the VisioDeployment")
    parser.add_argument("-n", "--namespace", metavar="NS", help="default: that of the kubeconfig's context")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: KUBECONFIG or the usual place")
    parser.add_argument("--digest", metavar="D", help="approve the plan with this digest without a question")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="format; json needs --digest")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Show, ask, approve, follow."""
    from visio_operator.runtime.kube import KubeError, context_namespace

    namespace = arguments.namespace or context_namespace(arguments.kubeconfig)
    as_json = arguments.output == "json"
    try:
        live = asyncio.run(_read(arguments.kubeconfig, namespace, arguments.name))
        plan = proposed(live, arguments.name, namespace)
        if not as_json:
            print("\n".join(described(plan, f"{namespace}/{arguments.name}")))
        _agree(plan, arguments)
        # A question may wait for long, so each step has a connection of its own.
        outcome = asyncio.run(_approve(arguments.kubeconfig, live, plan, quiet=as_json))
    except KubeError as error:
        print(f"visio-operator approve: {error.message}", file=sys.stderr)
        return BAD_INPUT if error.reason == "NoCluster" else FAILED
    except _RefusedError as refusal:
        print(f"visio-operator approve: {refusal}", file=sys.stderr)
        return refusal.code
    if as_json:
        print(
            json.dumps({"deployment": f"{namespace}/{arguments.name}", "plan": plan, "takenUp": not outcome}, indent=2)
        )
    if outcome:
        print(f"visio-operator approve: {outcome}", file=sys.stderr)
        return FAILED
    if not as_json:
        print("taken up: the operator asks the provider for these sizes; see `visio-operator status`")
    return OK


def proposed(live: Body, name: str, namespace: str) -> Body:
    """The plan in a status that can be approved. Raises when there is none."""
    status, mode = live.get("status") or {}, ((live.get("spec") or {}).get("capacity") or {}).get("mode", "Auto")
    plan: Body | None = status.get("plan")
    if mode == "ForecastOnly":
        raise _RefusedError("spec.capacity.mode is ForecastOnly, which only shows plans; set it to Propose first")
    if plan is None:
        why = "; spec.capacity.mode is Auto, so plans are carried out at once" if mode == "Auto" else ""
        raise _RefusedError(f"no plan of {namespace}/{name} waits for approval{why}")
    return plan


def described(plan: Body, title: str) -> list[str]:
    """A proposal in lines: the pools, their nodes and euros, and why."""
    lines = [f"{title}: plan {plan['digest']}, {plan.get('eurosPerDay', 'unknown')} euros a day"]
    for pool in plan.get("pools") or ():
        nodes = f"{pool.get('fromNodes', 0)} -> {pool.get('toNodes', 0)} nodes"
        lines.append(f"  pool {pool['name']:<15} {nodes}, {pool.get('eurosPerDay', 'unknown')} euros a day")
        lines.append(f"       why: {pool.get('reason', '')}".rstrip())
    return lines


def _agree(plan: Body, arguments: argparse.Namespace) -> None:
    """Raise unless the plan is the one that the user means."""
    if arguments.digest is not None:
        if arguments.digest != plan["digest"]:
            raise _RefusedError(_stale(arguments.digest, plan["digest"]))
        return
    if arguments.output == "json" or not sys.stdin.isatty():
        raise _RefusedError(f"nobody can be asked here; give --digest {plan['digest']} to approve this plan", BAD_INPUT)
    try:
        answer = input("Approve this plan? (y/N) ")
    except EOFError:
        answer = ""
    if answer.strip().lower() not in ("y", "yes"):
        raise _RefusedError("not approved")


def _stale(digest: str, present: str) -> str:
    return f"{digest[:64]} is stale, nothing is approved: the present plan is {present}"


async def _read(kubeconfig: Path | None, namespace: str, name: str) -> Body:
    from visio_operator.runtime.kube import Kube

    kube = await Kube.connect(kubeconfig)
    try:
        return await _get(kube, namespace, name)
    finally:
        await kube.close()


async def _get(kube: Any, namespace: str, name: str) -> Body:
    live: Body | None = await kube.get(KIND, name, namespace)
    if live is None:
        raise _RefusedError(
            f"there is no VisioDeployment {name} in namespace {namespace}; name another one, or another namespace "
            "with -n",
            BAD_INPUT,
        )
    return live


async def _approve(kubeconfig: Path | None, live: Body, plan: Body, *, quiet: bool) -> str:
    """Write the approval and follow; why it was not taken up, or empty text."""
    from visio_operator.runtime.kube import Kube

    kube, meta = await Kube.connect(kubeconfig), live["metadata"]
    try:
        await _write(kube, meta["namespace"], meta["name"], plan["digest"])
        if not quiet:
            print(f"approved {plan['digest']}; waits for the operator, Ctrl-C ends only the waiting", flush=True)
        return await _follow(kube, meta, plan["digest"])
    finally:
        await kube.close()


async def _write(kube: Any, namespace: str, name: str, digest: str) -> None:
    """Put the approval on the object while it holds the plan that was shown: the API server refuses a write to any
    other state than the one just read, since a status of another plan may come in between.
    """
    from visio_operator.runtime.kube import KubeError
    from visio_operator.runtime.projections import APPROVED_PLAN

    for _ in range(_WRITES):
        live = await _get(kube, namespace, name)
        present = proposed(live, name, namespace)["digest"]
        if present != digest:
            raise _RefusedError(_stale(digest, present))
        marked = {"resourceVersion": live["metadata"]["resourceVersion"], "annotations": {APPROVED_PLAN: digest}}
        try:
            await kube.merge(KIND, name, namespace, {"metadata": marked})
        except KubeError as error:
            if not error.conflict:
                raise
        else:
            return
    raise _RefusedError("the deployment changes all the time, nothing is approved; try again")


async def _follow(kube: Any, meta: Body, digest: str) -> str:
    end = time.monotonic() + _FOLLOW_SECONDS
    while time.monotonic() < end:
        live = await _get(kube, meta["namespace"], meta["name"])
        answer = judged(live.get("status") or {}, digest)
        if answer is not None:
            return answer
        await asyncio.sleep(_LOOK_SECONDS)
    return f"the approval stands, but was not taken up within {_FOLLOW_SECONDS:.0f} s; is the operator running?"


def judged(status: Body, digest: str) -> str | None:
    """What became of an approval: empty text when it was taken up, why not, or None until the operator has said so."""
    if status.get("approvedPlan") == digest:
        return ""
    if (status.get("memory") or {}).get(IGNORED) != number_of(digest):
        return None
    present = (status.get("plan") or {}).get("digest")
    now = f"the present plan is {present}" if present else "no plan waits any more"
    return f"{digest} became stale before the operator saw the approval, so nothing was done: {now}"


def status_lines(plan: Body | None, name: str, namespace: str) -> list[str]:
    """What `visio-operator status` says of a proposal."""
    if plan is None:
        return []
    lines = described(plan, "  proposed")
    if plan.get("approvable", True):
        return [*lines, f"       approve: visio-operator approve {name} -n {namespace} --digest {plan['digest']}"]
    return [*lines, "       only shown, since spec.capacity.mode is ForecastOnly"]
