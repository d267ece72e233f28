"""`visio-operator diff`: what applying a file would change in the cluster, and what that means for those who use it."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from visio_operator.api.check import check_document
from visio_operator.api.documents import read_documents
from visio_operator.api.releases import ReleaseEntry, find_release, order
from visio_operator.api.spec import KIND, VisioDeploymentSpec
from visio_operator.plan.decide import decide
from visio_operator.plan.images import as_release
from visio_operator.plan.impact import impact, rung_seconds, upgrade_digest
from visio_operator.plan.observed import Observed, Preflight, Workload
from visio_operator.plan.order import NEEDS
from visio_operator.plan.path import climb
from visio_operator.plan.plan import Plan
from visio_operator.plan.policy import Refusal
from visio_operator.plan.preflight import connections_digest
from visio_operator.plan.steps import UPGRADE_JOBS
from visio_operator.plan.upgrade import running_version
from visio_operator.workloads.changes import between
from visio_operator.workloads.common import Manifest, Site
from visio_operator.workloads.render import render

from . import BAD_INPUT, FAILED, OK
from .diff_text import Difference, RungDifference, as_json, as_text
from .files import UnreadableError, read
from .render import NO_UID, healthy


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `diff`."""
    parser = subparsers.add_parser(
        "diff",
        help="show what applying a file would change",
        description="Show what applying a file would change in the cluster: objects by field, pods that restart, calls "
        "at risk, minutes, nodes and euros. The API server is asked by dry runs; nothing is written. Values of Secrets "
        "are never shown.",
    )
    parser.add_argument("-f", "--file", required=True, metavar="FILE", help="YAML or JSON; - is standard input")
    parser.add_argument("-n", "--namespace", metavar="NS", help="default: that of the file, then of the context")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="default: KUBECONFIG or the usual place")
    parser.add_argument(
        "--all-rungs", action="store_true", help="show every rung of an upgrade by field, not the first"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="format")
    parser.set_defaults(func=run)


def run(arguments: argparse.Namespace) -> int:
    """Check, look, compare, print; exit code 2 when the file asks for what cannot be."""
    from visio_operator.runtime.kube import KubeError, context_namespace

    try:
        text = read(arguments.file)
    except UnreadableError as error:
        return _refused([str(error)], BAD_INPUT)
    try:
        differences = asyncio.run(_compare(arguments, text, context_namespace(arguments.kubeconfig)))
    except _InvalidError as error:
        return _refused(error.problems, BAD_INPUT)
    except KubeError as error:
        hint = "; diff asks by dry runs, which need the right to patch" if error.status == 403 else ""
        return _refused([f"{error.message}{hint}"], BAD_INPUT if error.reason == "NoCluster" else FAILED)
    if arguments.output == "json":
        print(json.dumps({"items": [as_json(one) for one in differences]}, indent=2, ensure_ascii=False))
    else:
        colours = sys.stdout.isatty() and "NO_COLOR" not in os.environ
        for one in differences:
            print("\n".join(as_text(one, every_rung=arguments.all_rungs, colours=colours)))
    problems = [problem for one in differences for problem in one.problems]
    return _refused(problems, BAD_INPUT) if problems else OK


class _InvalidError(Exception):
    """The file cannot be applied; one line for each problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


def _refused(problems: Sequence[str], code: int) -> int:
    for problem in problems:
        print(f"visio-operator diff: {problem}", file=sys.stderr)
    return code


async def _compare(arguments: argparse.Namespace, text: str, usual: str) -> list[Difference]:
    import aiohttp

    from visio_operator.runtime.kube import Kube
    from visio_operator.runtime.reconcile import read_ladder

    # What is wrong with the file by itself is said without asking a cluster, which may know more releases.
    if problems := [str(one) for one in check_document(text) if one.field != "spec.version"]:
        raise _InvalidError(problems)
    documents = [one.value for one in read_documents(text) if one.value.get("kind") == KIND]
    places = [_namespace(document["metadata"], arguments.namespace, usual) for document in documents]
    kube = await Kube.connect(arguments.kubeconfig)
    try:
        ladder = await read_ladder(kube)
        if problems := [str(one) for one in check_document(text, ladder)]:
            raise _InvalidError(problems)
        async with aiohttp.ClientSession() as session:
            found = []
            for document, namespace in zip(documents, places, strict=True):
                spec = VisioDeploymentSpec.model_validate_json(json.dumps(document["spec"]))
                look = _Look(kube, session, document["metadata"]["name"], namespace, spec, ladder, time.time())
                found.append(await _difference(look))
            return found
    finally:
        await kube.close()


def _namespace(meta: Mapping[str, Any], asked: str | None, usual: str) -> str:
    """Where the deployment is: as kubectl, a file and an option that disagree are refused."""
    own = meta.get("namespace")
    if asked and own and asked != own:
        raise _InvalidError([f"metadata.namespace: the file says {own}, -n says {asked}; name the same, or only one"])
    return asked or own or usual


@dataclass(frozen=True)
class _Look:
    """One deployment as a file asks for it, and where to look."""

    kube: Any
    session: Any
    name: str
    namespace: str
    spec: VisioDeploymentSpec
    ladder: tuple[ReleaseEntry, ...]
    now: float


async def _difference(look: _Look) -> Difference:
    from visio_operator.runtime.history import read_planners
    from visio_operator.runtime.memory import Memory
    from visio_operator.runtime.observe import observe
    from visio_operator.runtime.preview import preview
    from visio_operator.runtime.reconcile import parse_spec

    live = await look.kube.get(KIND, look.name, look.namespace)
    uid = live["metadata"]["uid"] if live else NO_UID
    site = Site(look.name, look.namespace, uid, look.spec)
    memory = Memory(plan=dict(((live or {}).get("status") or {}).get("memory") or {}))
    memory.planners, memory.kept = await read_planners(look.kube, site)
    generation = int(live["metadata"].get("generation") or 1) if live else 1
    notes = (live or {}).get("metadata", {}).get("annotations") or {}
    seen = await observe(look.kube, look.session, site, generation, memory, look.now, notes)
    low, high = _between_releases(seen.observed, look.ladder)
    wanted = look.spec.version
    path = climb(look.ladder, high, wanted) if high and find_release(look.ladder, high) else ()
    here = _planned(look, seen.observed, high or wanted, as_it_is=True)
    if here.plan.invalid:
        raise _InvalidError([f"{look.namespace}/{look.name}: {problem}" for problem in here.plan.invalid])
    same = live is not None and _same_spec(parse_spec, live, look.spec)
    shown = await preview(look.kube, here.site, here.plan, here.manifests, seen, memory, same_spec=same, now=look.now)
    refusal = str(path) if isinstance(path, Refusal) else ""
    climbed: tuple[ReleaseEntry, ...] = () if isinstance(path, Refusal) else path
    under_way = (high,) if low != high else ()
    rungs = tuple(_rungs(look, seen.observed, here, (*under_way, *(entry.version for entry in climbed))))
    releases = [
        as_release(entry, look.spec.sovereignty.registries)
        for entry in look.ladder
        if entry.version in {rung.version for rung in rungs}
    ]
    return Difference(
        name=f"{look.namespace}/{look.name}",
        exists=live is not None,
        running=low,
        wanted=wanted,
        impact=impact(look.spec, seen.observed, here.plan, shown.changes),
        rungs=rungs,
        digest=upgrade_digest(seen.observed, wanted, releases, memory.plan) if rungs else "",
        waiting=shown.waiting,
        other_version=shown.other_version,
        problems=(*((refusal,) if refusal else ()), *shown.refused),
    )


def _same_spec(parse: Any, live: Mapping[str, Any], spec: VisioDeploymentSpec) -> bool:
    try:
        return bool(parse(live) == spec)
    except ValueError:
        return False


@dataclass(frozen=True)
class _Planned:
    """A deployment at one release, once all of it is there."""

    site: Site
    plan: Plan
    manifests: tuple[Manifest, ...]


def _between_releases(observed: Observed, ladder: tuple[ReleaseEntry, ...]) -> tuple[str, str]:
    """The lowest and the highest release that a part runs; they differ while a rung is under way. Empty for none."""
    running = running_version(observed, ladder)
    if not running:
        return "", ""
    found = {one.release or running for part, one in observed.workloads.items() if one.kind != "Job" and part in NEEDS}
    return min(found, key=order), max(found, key=order)


def _planned(look: _Look, observed: Observed, version: str, *, as_it_is: bool) -> _Planned:
    spec = look.spec.model_copy(update={"version": version})
    site = Site(look.name, look.namespace, observed.uid, spec)
    world = settled(spec, observed, look.ladder, as_it_is=as_it_is)
    plan = decide(spec, world, look.now, look.ladder)
    return _Planned(site, plan, render(site, plan))


def settled(
    spec: VisioDeploymentSpec, observed: Observed, ladder: tuple[ReleaseEntry, ...], *, as_it_is: bool
) -> Observed:
    """The same world once everything that the spec asks for is there: no gate is closed then and no check is under way,
    so that a plan shows all that will be written. Sizes are those of now; so are the releases, if `as_it_is`, else all
    parts have reached the one that the spec names.
    """
    there = healthy(spec, observed.name, observed.namespace, ladder)
    workloads = {
        part: _beside(workload, observed.workloads.get(part), as_it_is=as_it_is)
        for part, workload in there.workloads.items()
    }
    if as_it_is:
        workloads |= {part: observed.workloads[part] for part in UPGRADE_JOBS if part in observed.workloads}
    checked = Preflight(connections_digest(spec, observed.secret_marks), succeeded=True)
    return replace(observed, workloads=workloads, preflight=checked)


def _beside(healthy_one: Workload, seen: Workload | None, *, as_it_is: bool) -> Workload:
    if seen is None:
        return healthy_one
    size = seen.desired
    grown = replace(healthy_one, name=seen.name, desired=size, ready=size, updated=size, livekit_keys=seen.livekit_keys)
    return replace(grown, images=seen.images, release=seen.release, previous=seen.previous) if as_it_is else grown


def _rungs(look: _Look, observed: Observed, here: _Planned, versions: Sequence[str]) -> Iterator[RungDifference]:
    for version in versions:
        above = _planned(look, observed, version, as_it_is=False)
        done = impact(above.site.spec, observed, above.plan, between(here.manifests, above.manifests))
        length = rung_seconds(look.spec, observed, done.restarts)
        yield RungDifference(version, replace(done, seconds=length), above.plan.invalid)
        here = above
