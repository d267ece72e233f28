"""The decision: from what is asked for and what is seen to what shall be.

`decide` reads as the specification: nine steps, each in the module that it calls.
"""

from __future__ import annotations

from dataclasses import replace

from visio_operator.api.releases import ReleaseEntry
from visio_operator.api.spec import VisioDeploymentSpec

from .announce import announcements
from .capacity import size_gpus
from .coming import coming
from .conditions import Findings, conditions
from .drains import drain_memory, drain_trace, drains
from .emergency import stopped_plan
from .foresee import forget_orders, ordered_nodes, panic_since
from .gates import gate_memory
from .load import size_load
from .observed import Observed
from .older_pages import older_pages
from .order import GPU_PARTS, NEEDS, closed_gate, fixed_size, part_set
from .pace import Pace
from .placeholders import with_placeholders
from .plan import PartPlan, Plan, Release
from .policy import Refusal, refusals
from .preflight import hold_parts, judge
from .propose import propose
from .reasons import ConditionType
from .restore import STOPPED
from .rotation import rotate
from .secrets import secret_needs
from .upgrade import Course, choose_course

STEADY = Pace()
"""The pace of real clouds."""


def decide(
    spec: VisioDeploymentSpec, observed: Observed, now: float, ladder: tuple[ReleaseEntry, ...], pace: Pace = STEADY
) -> Plan:
    """Decide what one deployment shall be.

    Args:
        spec: what the user asks for; `api.check` has found nothing wrong with it.
        observed: a snapshot of the deployment's world.
        now: unix time in seconds; the only clock.
        ladder: the known releases, oldest first.
        pace: how fast to follow what is observed.

    Returns:
        The plan. The same arguments always give the same plan. With refusals in `invalid` nothing is to be written or
        pruned; its parts are those that exist, none of them marked for writing.
    """
    # 1. Refuse what cannot be. What runs is left alone then, the older release included.
    course = choose_course(spec, observed, now, ladder, pace)
    if spec.emergency_stop:
        return replace(stopped_plan(spec, observed, course, pace), drains=drains(spec, observed, now))
    refused = (*((course.refusal,) if course.refusal else ()), *refusals(spec, observed, course.release))
    if refused or course.release is None:
        return _refused(spec, observed, now, course, refused, pace)

    # 2. The release: during an upgrade that of the rung for parts that it has reached, the older one for all others.
    release = course.release

    # 3. Which parts exist.
    present = part_set(spec, release.settings)

    # 4. Sizes, 5. gates: a closed gate holds back creation, never what exists.
    parts = {part: _part(spec, observed, part, present, course.parts.get(part, release)) for part in present}

    # 6. GPU capacity: servers and workers from load, nodes from these, as far as nobody has to approve them first.
    planners = observed.planners.copy()
    sized = propose(spec, observed, size_gpus(spec, observed, planners, now, pace))
    gpus = sized.gpus
    if sized.proposal is not None:
        forget_orders(observed, planners, now, pace)
    parts.update({part: replace(parts[part], replicas=size) for part, size in gpus.replicas.items() if part in parts})

    # 6. Media servers, recorders and workers from their own load.
    load = size_load(spec, observed, present, now, pace)
    parts.update({part: replace(parts[part], replicas=size) for part, size in load.replicas.items() if part in parts})
    gpus = replace(gpus, limits=(*gpus.limits, *load.limits), frozen=(*gpus.frozen, *load.frozen))

    # 6a. What reads a connection waits until its server has answered under the new configuration.
    verdict = judge(spec, observed)
    parts = hold_parts(parts, observed, verdict)

    # 6b. What must not write to the database now stands still.
    stops = course.upgrade.stops if course.upgrade is not None else ()
    parts.update({part: replace(parts[part], replicas=0, stopped=STOPPED) for part in stops if part in parts})

    # 7. Secrets of ours that have to exist.
    rotation = rotate(spec, observed, now)
    secrets = secret_needs(observed.name, spec, rotation.keys, settled=verdict.passed)

    # 7a. What drains, and who is told of it.
    draining = drains(spec, observed, now)
    ahead = coming(spec, course.upgrade, release, ladder)
    announced = announcements(spec, draining, ahead, observed.memory, now)

    # 8. Conditions.
    minimum = {"captions": spec.captions.min, "transcription": spec.transcription.min}
    found = Findings(
        observed=observed,
        parts=parts,
        release=release,
        floors={part: size for part, size in minimum.items() if part not in gpus.paused},
        upgrade=course.upgrade,
        part_releases=course.parts,
        gpus=gpus,
        proposal=sized.proposal,
    )
    stated = conditions(found)

    # 9. When to look again.
    under_way = any(item.type == ConditionType.PROGRESSING and item.status == "True" for item in stated)
    upgrade = course.upgrade
    starts = upgrade.next_start if upgrade is not None else None
    # Other deployments wake nobody here, and a quiet time has to be looked at while it lasts.
    at_the_gate = upgrade is not None and not upgrade.rung and bool(upgrade.blockers or spec.upgrade.quiet)
    busy = any(part in parts for part in GPU_PARTS) or bool(observed.pools) or load.loaded or bool(draining)
    watchful = under_way or at_the_gate or busy
    return Plan(
        release=release,
        part_releases=course.parts,
        upgrade=course.upgrade,
        canary=course.canary.plan,
        kept_jobs=course.kept_jobs,
        older_pages=older_pages(observed, course.parts.get("frontend", release)),
        parts=parts,
        secrets=secrets,
        livekit=rotation.keys,
        connections=verdict.digest,
        pools=with_placeholders(gpus.pools, spec, observed, gpus.replicas, gpus.nodes),
        pods=(*gpus.pods, *load.pods),
        media_slots=load.slots,
        node_port=load.node_port,
        nodes=gpus.nodes,
        proposal=sized.proposal,
        approved=sized.approved,
        conditions=stated,
        recheck_after=_recheck(pace.recheck if watchful else pace.idle, starts, now),
        approved_upgrade=course.approval.taken,
        approved_restore=course.restore.taken,
        trace=(
            "1 checks: nothing is refused",
            f"2 {course.trace}",
            *(f"2 {line}" for line in course.canary.trace),
            f"3 parts: {len(present)}: {', '.join(present)}",
            *_sizes(parts),
            *(f"6 {line}" for line in (*gpus.trace, *load.trace)),
            f"6 {verdict.trace}",
            f"7 secrets: {', '.join(need.name for need in secrets)}",
            f"7 {rotation.trace}",
            *(f"7 {line}" for line in (*drain_trace(draining), *announced.trace)),
            *(f"8 {item.type}={item.status} {item.reason}" for item in stated),
        ),
        planners=planners,
        ordered=ordered_nodes(observed, planners, pace),
        panic_since=panic_since(planners, pace) if "captions" in parts else None,
        memory={
            **gpus.memory,
            **load.memory,
            **rotation.memory,
            **course.approval.memory,
            **course.restore.memory,
            **gate_memory(spec, observed, course.upgrade, now),
            **course.canary.memory,
            **drain_memory(draining),
            **announced.memory,
        },
        drains=draining,
        announcements=announced.due,
    )


def _recheck(usual: float, starts: float | None, now: float) -> float:
    """Seconds until the next look; not later than the next rung can start."""
    return usual if starts is None else min(usual, max(1.0, starts - now))


def _part(
    spec: VisioDeploymentSpec, observed: Observed, part: str, present: tuple[str, ...], release: Release
) -> PartPlan:
    waiting = closed_gate(part, present, observed, release)
    replicas = 0 if part in GPU_PARTS else fixed_size(spec, part)
    return PartPlan(part=part, replicas=replicas, write=not waiting, prepare=bool(waiting), waiting_for=waiting)


def _refused(
    spec: VisioDeploymentSpec, observed: Observed, now: float, course: Course, refused: tuple[Refusal, ...], pace: Pace
) -> Plan:
    """The plan of a spec that cannot be: nothing to write, and why."""
    left = "left as it is while the spec is refused"
    parts = {
        part: PartPlan(part=part, replicas=observed.workloads[part].desired, write=False, waiting_for=left)
        for part in NEEDS
        if part in observed.workloads
    }
    stated = conditions(Findings(observed=observed, parts=parts, release=course.release, refusals=refused))
    return Plan(
        release=course.release,
        parts=parts,
        conditions=stated,
        invalid=tuple(map(str, refused)),
        recheck_after=pace.recheck,
        trace=(*(f"1 refused: {refusal}" for refusal in refused), f"3 parts of {spec.version}: left as they are"),
        planners=observed.planners,
        memory=observed.memory,
        drains=drains(spec, observed, now),
    )


def _sizes(parts: dict[str, PartPlan]) -> tuple[str, ...]:
    """What was chosen for parts that do not follow GPU load, one line for all that are open and one per closed gate."""
    fixed = [f"{part} {plan.replicas}" for part, plan in parts.items() if plan.write and part not in GPU_PARTS]
    held = [f"5 gate: {part} {plan.waiting_for}" for part, plan in parts.items() if not plan.write]
    return (f"4 sizes: {', '.join(fixed)}", *held)
