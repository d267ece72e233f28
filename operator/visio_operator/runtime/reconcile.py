"""One pass over one deployment: observe, decide, render, apply, report."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import aiohttp

from visio_operator.api.check import Problem, check_object
from visio_operator.api.releases import ReleaseEntry, VisioRelease, load_releases, merge_releases
from visio_operator.api.spec import API_VERSION, KIND, VisioDeploymentSpec
from visio_operator.plan.decide import decide
from visio_operator.plan.impact import upgrade_impact
from visio_operator.plan.pace import Pace
from visio_operator.plan.plan import Plan
from visio_operator.workloads.adoption import is_time, settle
from visio_operator.workloads.common import Site
from visio_operator.workloads.render import render

from . import log, metrics, prometheus_history
from .announce import announce
from .apply import Outcome, apply
from .drain_status import announcement_status, drain_status, publish_drains
from .history import keep_planners, read_planners
from .kube import FIELD_MANAGER, Kube, KubeError
from .memory import Memory
from .observe import Snapshot, livekit_pairs, observe
from .plan_status import Undone
from .projections import PART_LABEL, annotations_of, labels_of
from .report import post_events, refusal, report, transitions, write_status
from .rooms import retry_in
from .version import OPERATOR_VERSION

Body = dict[str, Any]

RETRY_AFTER_REFUSAL = 60.0
"""A spec that is refused by itself changes only by an event; this is for a lost one."""
PENDING_AFTER = 1.0
"""Objects on their way out end soon."""
FIRST_LOOK_AGAIN = 0.1
"""What a spec refers to and is not there often follows in the same file, and its arrival wakes nobody."""


@dataclass(frozen=True)
class Ref:
    """A VisioDeployment by place."""

    namespace: str
    name: str

    def __str__(self) -> str:
        """As users write it."""
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True)
class Result:
    """What one pass came to."""

    recheck_after: float
    changed: bool = False
    errors: tuple[str, ...] = ()
    pools: frozenset[str] = frozenset()
    generation: int = 0


async def reconcile(
    kube: Kube,
    session: aiohttp.ClientSession,
    ref: Ref,
    memory: Memory,
    pace: Pace,
    namespaces: Sequence[str] = (),
) -> Result | None:
    """One pass; None when the deployment is gone or going. Raises KubeError when the API server cannot be asked.

    `namespaces` are those that the operator looks after; empty means all.
    """
    with _step("observe"):
        live, ladder = await asyncio.gather(kube.get(KIND, ref.name, ref.namespace), read_ladder(kube))
        if live is None or live["metadata"].get("deletionTimestamp"):
            return None
        generation = int(live["metadata"].get("generation") or 1)
        problems = check_spec(live, ladder)
        if not problems:
            spec = parse_spec(live)
            site = Site(name=ref.name, namespace=ref.namespace, uid=live["metadata"]["uid"], spec=spec)
            memory.plan = memory.plan or _remembered(live)
            now = time.time()
            if memory.planners is None:
                (memory.planners, memory.kept), memory.kept_at = await read_planners(kube, site), now
            await prometheus_history.advance(kube, session, site, memory, now, pace)
            seen = await observe(kube, session, site, generation, memory, now, annotations_of(live), namespaces)
    previous = live.get("status") or {}
    if problems:
        message = "; ".join(map(str, problems))
        await _report(kube, live, refusal(previous, "InvalidSpec", message, generation, time.time()), memory)
        return Result(recheck_after=RETRY_AFTER_REFUSAL, generation=generation)
    with _step("decide"):
        plan = decide(spec, seen.observed, now, ladder, pace)
    with _step("render"):
        manifests = render(site, plan) if plan.release is not None and not plan.invalid and not plan.stopped else ()
        settled = settle(
            site,
            manifests,
            seen.live,
            OPERATOR_VERSION,
            FIELD_MANAGER,
            same_spec=previous.get("observedGeneration") == generation,
            adopt=is_time(spec, plan, now),
            approved=seen.observed.approved_upgrade,
        )
    with _step("apply"):
        outcome = await apply(kube, site, plan, settled.manifests, seen, memory, settled.kept)
    memory.planners = plan.planners
    metrics.set_panic(f"{site.namespace}/{site.name}", plan.panic_since is not None)
    if not plan.stopped and not prometheus_history.pending(memory):
        await keep_planners(kube, site, plan.planners, seen.observed, memory, now, pace)
    with _step("announce"):
        plan = await _announced(kube, session, site, plan, seen, memory, now)
    with _step("report"):
        undone = Undone(settled.waiting, upgrade_impact(spec, seen.observed, plan, ladder))
        status = report(previous, spec, plan, outcome.errors, seen.observed, generation, now, undone)
        status["drains"] = drain_status(plan.drains)
        status["announcements"] = announcement_status(previous, memory.announced)
        await _report(kube, live, status, memory)
    _log(ref, outcome, memory)
    return Result(
        recheck_after=min(
            plan.recheck_after,
            PENDING_AFTER if outcome.pending else plan.recheck_after,
            memory.attempts.next_in() if outcome.errors else plan.recheck_after,
            retry_in(memory) or plan.recheck_after,
            look_again_in(memory, plan.invalid) or plan.recheck_after,
        ),
        changed=outcome.changed,
        errors=tuple(outcome.errors),
        pools=frozenset(pool.name for pool in spec.gpu_pools),
        generation=generation,
    )


def look_again_in(memory: Memory, invalid: tuple[str, ...]) -> float | None:
    """Seconds until what was refused is looked at again, twice as many each time that the refusals are the same; None
    when there is none.
    """
    memory.invalid_passes = memory.invalid_passes + 1 if invalid == memory.invalid else 1
    memory.invalid = invalid
    return FIRST_LOOK_AGAIN * 2.0 ** min(memory.invalid_passes - 1, 10) if invalid else None


async def _announced(
    kube: Kube, session: aiohttp.ClientSession, site: Site, plan: Plan, seen: Snapshot, memory: Memory, now: float
) -> Plan:
    """Tell who is to be told; the plan with what was told in its memory."""
    publish_drains(f"{site.namespace}/{site.name}", plan.drains)
    told: dict[str, float] = {}
    if plan.announcements:
        secrets = livekit_pairs(seen.live, seen.secrets)
        servers = {name: pod for name, pod in seen.pods.items() if labels_of(pod).get(PART_LABEL) == "sfu"}
        told = await announce(kube, session, site, plan.announcements, servers, secrets, memory, now)
    memory.plan = {**plan.memory, **told}
    return replace(plan, memory=memory.plan)


async def report_failure(kube: Kube, ref: Ref, reason: str, message: str, memory: Memory) -> None:
    """Say in status that passes fail. Raises KubeError when even that is not possible."""
    live = await kube.get(KIND, ref.name, ref.namespace)
    if live is not None and not live["metadata"].get("deletionTimestamp"):
        status = refusal(live.get("status") or {}, reason, message, None, time.time())
        await _report(kube, live, status, memory)


def check_spec(live: Body, ladder: tuple[ReleaseEntry, ...]) -> list[Problem]:
    """What is wrong with an object that the API server let in, perhaps by an older or newer CRD.

    An unknown version is left to the plan, which knows what runs now.
    """
    document = {"apiVersion": API_VERSION, "kind": KIND, "metadata": live["metadata"], "spec": live.get("spec") or {}}
    problems = check_object(document, ladder, unknown_fields=False)
    if problems and all(problem.field == "spec.version" for problem in problems):
        try:
            parse_spec(live)
        except ValueError:
            return problems
        return []
    return problems


def parse_spec(live: Body) -> VisioDeploymentSpec:
    """The spec as a value that cannot change during the pass. Raises ValueError when it does not parse."""
    return VisioDeploymentSpec.model_validate_json(json.dumps(live.get("spec") or {}))


async def read_ladder(kube: Kube) -> tuple[ReleaseEntry, ...]:
    """The release ladder with what the cluster's VisioReleases add. Raises KubeError when they cannot be listed."""
    ladder = load_releases()
    if not await kube.serves("VisioRelease"):
        return ladder
    try:
        found = await kube.list("VisioRelease")
    except KubeError as error:
        # An operator that may see one namespace only may not list what belongs to the whole cluster.
        if error.status in (403, 404):
            return ladder
        raise
    releases = []
    for body in found:
        document = {**body, "apiVersion": API_VERSION, "kind": "VisioRelease"}
        if problems := check_object(document, ladder, unknown_fields=False):
            log.warning("ignores a VisioRelease", name=body["metadata"]["name"], problem=str(problems[0]))
        else:
            releases.append(VisioRelease.model_validate(document))
    merged, refused = merge_releases(ladder, releases)
    for one in refused:
        log.warning("ignores a VisioRelease", name=one.name, problem=f"{one.problem}; {one.next_step}")
    return merged


async def _report(kube: Kube, live: Body, status: Body, memory: Memory) -> None:
    if await write_status(kube, live, status, memory):
        await post_events(kube, live, transitions(live.get("status") or {}, status), time.time())


def _remembered(live: Body) -> dict[str, float]:
    return {key: float(value) for key, value in ((live.get("status") or {}).get("memory") or {}).items()}


def _log(ref: Ref, outcome: Outcome, memory: Memory) -> None:
    if outcome.changed:
        log.info("wrote", deployment=ref, written=outcome.written, pruned=outcome.pruned)
    metrics.ERRORS.labels("apply").inc(len(outcome.errors))
    for error in sorted(set(outcome.errors) - memory.told):
        log.warning("could not write", deployment=ref, error=error)
    memory.told = frozenset(outcome.errors)


@contextmanager
def _step(name: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    except Exception:
        metrics.ERRORS.labels(name).inc()
        raise
    finally:
        metrics.STEP_SECONDS.labels(name).observe(time.perf_counter() - started)
