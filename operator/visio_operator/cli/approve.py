"""`visio-operator approve`: says what a plan that waits would do, and approves exactly that.

It may be about releases, about the database, or about pools of GPU nodes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from visio_operator.api.spec import KIND
from visio_operator.plan import restore, upgrade_approval
from visio_operator.plan.propose import IGNORED, number_of

from . import BAD_INPUT, FAILED, OK
from .upgrade_text import restore_lines, way

Body = Mapping[str, Any]

_FOLLOW_SECONDS = 60.0
_LOOK_SECONDS = 0.25
_WRITES = 5
_FOLLOWS = {
    "upgrade": "rungs start as soon as nothing else keeps them",
    "restore": "what writes to the database stops, then the backup is restored",
    "pools": "the operator asks the provider for these sizes",
}
"""What follows an approval, by what it is about."""


class _RefusedError(Exception):
    """Nothing is approved; `code` is the exit code."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Waiting:
    """A plan that waits for approval."""

    digest: str
    about: Literal["upgrade", "restore", "pools"]
    """Releases, the database, or node pools."""
    plan: Body
    """As status has it."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `approve`."""
    parser = subparsers.add_parser(
        "approve",
        help="approve a plan of a deployment that waits",
        description="Shows what waits for approval: the node pools that a deployment whose capacity.mode is Propose "
        "would change, with nodes and euros, the releases that one whose upgrade.mode is Approve would climb to, and "
        "the backup that can be restored after a rung that failed. "
        "Approves it, and follows until the operator has taken it up. A plan that changed since is refused.",
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
        plans = proposed(live, arguments.name, namespace)
        named = [plan for plan in plans if plan.digest == arguments.digest]
        approved = 0
        for plan in named or plans:
            if not as_json:
                print("\n".join(described(plan, f"{namespace}/{arguments.name}")))
            if _agreed(plan, plans, arguments):
                # A question may wait for long, so each step has a connection of its own.
                outcome = asyncio.run(_approve(arguments.kubeconfig, live, plan, quiet=as_json))
                _tell(plan, f"{namespace}/{arguments.name}", outcome, as_json=as_json)
                approved += 1
        if not approved:
            raise _RefusedError("not approved")
    except KubeError as error:
        print(f"visio-operator approve: {error.message}", file=sys.stderr)
        return BAD_INPUT if error.reason == "NoCluster" else FAILED
    except _RefusedError as refusal:
        print(f"visio-operator approve: {refusal}", file=sys.stderr)
        return refusal.code
    return OK


def _tell(plan: Waiting, title: str, outcome: str, *, as_json: bool) -> None:
    """Say what became of an approval. Raises when it was not taken up."""
    if as_json:
        print(json.dumps({"deployment": title, "plan": plan.plan, "takenUp": not outcome}, indent=2))
    if outcome:
        raise _RefusedError(outcome)
    if not as_json:
        print(f"taken up: {_FOLLOWS[plan.about]}; see `visio-operator status`")


def proposed(live: Body, name: str, namespace: str) -> list[Waiting]:
    """The plans in a status that can be approved: upgrade, restore, pools. Raises when there is none."""
    status, spec = live.get("status") or {}, live.get("spec") or {}
    found, mode = [], (spec.get("capacity") or {}).get("mode", "Auto")
    upgrade: Body = status.get("upgrade") or {}
    if digest := upgrade.get("approvalDigest"):
        shown = {key: upgrade[key] for key in ("from", "to", "path") if key in upgrade}
        found.append(Waiting(digest, "upgrade", {"digest": digest, **shown}))
    plan: Body = status.get("plan") or {}
    if offer := plan.get("restore"):
        found.append(Waiting(offer["digest"], "restore", offer))
    if plan.get("digest") and mode != "ForecastOnly":
        found.append(Waiting(plan["digest"], "pools", plan))
    if found:
        return found
    if mode == "ForecastOnly":
        raise _RefusedError("spec.capacity.mode is ForecastOnly, which only shows plans; set it to Propose first")
    why = "; spec.capacity.mode is Auto, so plans are carried out at once" if mode == "Auto" else ""
    raise _RefusedError(f"no plan of {namespace}/{name} waits for approval{why}")


def described(waiting: Waiting, title: str) -> list[str]:
    """A plan that waits, in lines: the releases on the way; the backup and what is lost; or the pools, their nodes and
    euros, and why.
    """
    if waiting.about == "upgrade":
        return [f"{title}: upgrade {waiting.digest}", f"  {way(waiting.plan)}"]
    if waiting.about == "restore":
        return restore_lines(waiting.plan, title)
    return _pools(waiting.plan, title)


def _pools(plan: Body, title: str) -> list[str]:
    lines = [f"{title}: plan {plan['digest']}, {plan.get('eurosPerDay', 'unknown')} euros a day"]
    for pool in plan.get("pools") or ():
        nodes = f"{pool.get('fromNodes', 0)} -> {pool.get('toNodes', 0)} nodes"
        lines.append(f"  pool {pool['name']:<15} {nodes}, {pool.get('eurosPerDay', 'unknown')} euros a day")
        lines.append(f"       why: {pool.get('reason', '')}".rstrip())
    return lines


def _agreed(plan: Waiting, plans: Sequence[Waiting], arguments: argparse.Namespace) -> bool:
    """Whether the plan is one that the user means. Raises when nobody can be asked, or another one is meant."""
    if arguments.digest is not None:
        if arguments.digest != plan.digest:
            raise _RefusedError(_stale(arguments.digest, plans))
        return True
    if arguments.output == "json" or not sys.stdin.isatty():
        ways = " or ".join(f"--digest {each.digest}" for each in plans)
        which = "this plan" if len(plans) == 1 else "one of them"
        raise _RefusedError(f"nobody can be asked here; give {ways} to approve {which}", BAD_INPUT)
    try:
        lost = "Restore this backup, and lose all that was written since? (y/N) "
        answer = input(lost if plan.about == "restore" else "Approve this plan? (y/N) ")
    except EOFError:
        answer = ""
    return answer.strip().lower() in ("y", "yes")


def _stale(digest: str, plans: Sequence[Waiting]) -> str:
    present = " and ".join(plan.digest for plan in plans)
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


async def _approve(kubeconfig: Path | None, live: Body, plan: Waiting, *, quiet: bool) -> str:
    """Write the approval and follow; why it was not taken up, or empty text."""
    from visio_operator.runtime.kube import Kube

    kube, meta = await Kube.connect(kubeconfig), live["metadata"]
    try:
        await _write(kube, meta["namespace"], meta["name"], plan)
        if not quiet:
            print(f"approved {plan.digest}; waits for the operator, Ctrl-C ends only the waiting", flush=True)
        return await _follow(kube, meta, plan.digest)
    finally:
        await kube.close()


async def _write(kube: Any, namespace: str, name: str, plan: Waiting) -> None:
    """Put the approval on the object while it holds the plan that was shown: the API server refuses a write to any
    other state than the one just read, since a status of another plan may come in between.
    """
    from visio_operator.runtime.kube import KubeError
    from visio_operator.runtime.projections import APPROVED_PLAN, APPROVED_RESTORE, APPROVED_UPGRADE

    annotation = {"upgrade": APPROVED_UPGRADE, "restore": APPROVED_RESTORE, "pools": APPROVED_PLAN}[plan.about]
    for _ in range(_WRITES):
        live = await _get(kube, namespace, name)
        present = proposed(live, name, namespace)
        if plan.digest not in {each.digest for each in present}:
            raise _RefusedError(_stale(plan.digest, present))
        marked = {"resourceVersion": live["metadata"]["resourceVersion"], "annotations": {annotation: plan.digest}}
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
    plan, upgrade, memory = status.get("plan") or {}, status.get("upgrade") or {}, status.get("memory") or {}
    if digest in (status.get("approvedPlan"), upgrade.get("approved"), upgrade.get("approvedRestore")):
        return ""
    if number_of(digest) not in {memory.get(key) for key in (IGNORED, upgrade_approval.IGNORED, restore.IGNORED)}:
        return None
    offered = (plan.get("restore") or {}).get("digest")
    present = " and ".join(filter(None, (upgrade.get("approvalDigest"), offered, plan.get("digest"))))
    now = f"the present plan is {present}" if present else "no plan waits any more"
    return f"{digest} became stale before the operator saw the approval, so nothing was done: {now}"


def status_lines(plan: Body | None, name: str, namespace: str) -> list[str]:
    """What `visio-operator status` says of what is offered or proposed."""
    offer: Body | None = (plan or {}).get("restore")
    command = f"       approve: visio-operator approve {name} -n {namespace} --digest"
    lines = [*restore_lines(offer, "  offered"), f"{command} {offer['digest']}"] if offer else []
    if plan is None or not plan.get("digest"):
        return lines
    lines += _pools(plan, "  proposed")
    if plan.get("approvable", True):
        return [*lines, f"{command} {plan['digest']}"]
    return [*lines, "       only shown, since spec.capacity.mode is ForecastOnly"]
