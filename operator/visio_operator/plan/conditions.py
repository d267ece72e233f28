"""The conditions of a plan: derived from what is observed, never remembered."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from .observed import Observed, Workload
from .order import CHECKS, CRON_JOBS, GPU_PARTS, JOBS, is_up
from .plan import Condition, PartPlan, Proposal, Release, UpgradePlan
from .policy import SOVEREIGNTY, Refusal
from .propose import command, in_words, next_step
from .reasons import ConditionType, Reason
from .sizing import GpuSize

_NAMED = 4
"""Parts that a message names before it only counts them."""


@dataclass(frozen=True)
class Findings:
    """Everything that conditions are derived from."""

    observed: Observed
    parts: Mapping[str, PartPlan]
    release: Release | None
    floors: Mapping[str, int] = field(default_factory=dict)
    """Of GPU parts: servers or workers that have to be ready whatever the load is."""
    part_releases: Mapping[str, Release] = field(default_factory=dict)
    """Parts that an upgrade has reached, with the release that they go to."""
    upgrade: UpgradePlan | None = None
    stopped: str = ""
    """Why nothing is written: an emergency stop; empty outside one."""
    refusals: Sequence[Refusal] = ()
    gpus: GpuSize = field(default_factory=GpuSize)
    proposal: Proposal | None = None


def conditions(found: Findings) -> tuple[Condition, ...]:
    """All conditions, each with True or False, a reason of the closed vocabulary and a message that names the cause."""
    return (
        _ready(found),
        _progressing(found),
        _degraded(found),
        _capacity_limited(found.gpus),
        _scaling_frozen(found.gpus),
        _approval_pending(found.proposal, found.upgrade, found.observed),
        _policy_compliant(found.refusals),
        _upgrade_held(found),
        _emergency_stop(found.stopped),
    )


def lacks(part: str, found: Findings) -> str:
    """What a part lacks to be ready; empty when it is ready."""
    plan, release = found.parts[part], found.release
    workload = found.observed.workloads.get(part)
    if plan.faulty or (not plan.write and workload is None):
        return plan.waiting_for
    if part == "migrate" and release is not None:
        # During a rung the Job of the older release is gone, but what runs was migrated by it.
        done = part in found.part_releases or is_up(part, found.observed, release)
        return "" if done else (workload.failed if workload and workload.failed else "is not done")
    if workload is None:
        return "does not exist yet"
    if part in JOBS:
        return "" if workload.succeeded else workload.failed or "is not done"
    if part in CRON_JOBS | CHECKS:
        return ""
    if plan.stopped:
        return plan.stopped
    return _replicas_lack(part, workload, plan, found.floors)


def _replicas_lack(part: str, workload: Workload, plan: PartPlan, floors: Mapping[str, int]) -> str:
    if not workload.current:
        return "has a change that its controller has not seen yet"
    # The number of GPU servers follows load, so only the floor counts: Ready must not wait for nodes bought for load.
    needed = floors.get(part, 0) if part in GPU_PARTS else max(1, workload.desired)
    if workload.ready >= needed:
        return ""
    where = " on GPU nodes" if part in GPU_PARTS else ""
    cause = f": {workload.failed}" if workload.failed else ""
    waiting = " (waits for GPU nodes)" if part in GPU_PARTS and plan.replicas < needed else ""
    return f"has {workload.ready} of {needed} replicas ready{where}{waiting}{cause}"


def _ready(found: Findings) -> Condition:
    if found.refusals:
        return _condition(ConditionType.READY, False, found.refusals[0].reason, _joined(map(str, found.refusals)))
    missing = {part: lack for part in found.parts if (lack := lacks(part, found))}
    if not missing:
        message = f"all {len(found.parts)} parts are ready"
        return _condition(ConditionType.READY, True, Reason.ALL_PARTS_READY, message)
    faulty = [part for part in missing if found.parts[part].faulty]
    if faulty:
        # The fault only: every part that waits for it would repeat it.
        texts = dict.fromkeys(missing[part] for part in faulty)
        lines = [_held([part for part in faulty if missing[part] == text], text) for text in texts]
        return _condition(ConditionType.READY, False, Reason.CONNECTION_FAILED, _joined(lines))
    nodes_only = all(part in GPU_PARTS and found.parts[part].write for part in missing)
    reason = Reason.WAITING_FOR_NODES if nodes_only else Reason.PARTS_NOT_READY
    return _condition(ConditionType.READY, False, reason, _joined(f"{part} {lack}" for part, lack in missing.items()))


def _held(parts: Sequence[str], text: str) -> str:
    """Which parts are held, the jobs among them only where there is nothing else."""
    named = [part for part in parts if part not in JOBS | CRON_JOBS] or list(parts)
    return f"{', '.join(named)} {text if len(named) == 1 else text.replace('is held', 'are held', 1)}"


def _progressing(found: Findings) -> Condition:
    kind = ConditionType.PROGRESSING
    if found.refusals:
        return _condition(kind, False, Reason.SETTLED, "nothing is changed while the spec is refused")
    if found.stopped:
        return _condition(kind, False, Reason.EMERGENCY_STOP, found.stopped)
    upgrade = found.upgrade
    if upgrade is not None and upgrade.rung and upgrade.held is None:
        message = f"{upgrade.running} -> {upgrade.rung}, step {upgrade.step or 'back'}: {upgrade.waits_for}"
        return _condition(kind, True, Reason.UPGRADING, message)
    held = [part for part, plan in found.parts.items() if not plan.write and part in found.observed.workloads]
    if held and not any(found.parts[part].faulty for part in held):
        message = f"{_joined(held)} stay as they are until the connections are checked"
        return _condition(kind, True, Reason.CHECKING_CONNECTIONS, message)
    absent = [part for part in found.parts if part not in found.observed.workloads]
    if any(found.parts[part].faulty for part in absent):
        message = f"{len(absent)} parts are not created before the connections that Ready names are mended"
        return _condition(kind, True, Reason.CREATING, message)
    if absent:
        lines = (f"{part} {found.parts[part].waiting_for or 'is being created'}" for part in absent)
        return _condition(kind, True, Reason.CREATING, _joined(lines))
    rolling = [
        f"{part} has {workload.updated} of {workload.desired} replicas updated"
        for part in found.parts
        if part not in JOBS | CRON_JOBS | CHECKS
        and (workload := found.observed.workloads[part])
        and (not workload.current or workload.updated < workload.desired)
    ]
    if rolling:
        return _condition(kind, True, Reason.ROLLING_OUT, _joined(rolling))
    return _condition(kind, False, Reason.SETTLED, "everything is as planned")


def _degraded(found: Findings) -> Condition:
    failed = [
        f"{part}: {found.observed.workloads[part].failed}"
        for part in found.parts
        if part in found.observed.workloads and found.observed.workloads[part].failed
    ]
    if failed:
        return _condition(ConditionType.DEGRADED, True, Reason.PART_FAILED, _joined(failed))
    return _condition(ConditionType.DEGRADED, False, Reason.HEALTHY, "no part has failed")


def _capacity_limited(gpus: GpuSize) -> Condition:
    kind = ConditionType.CAPACITY_LIMITED
    if gpus.limits:
        return _condition(kind, True, gpus.limits[0].reason, _joined(limit.message for limit in gpus.limits))
    return _condition(kind, False, Reason.ENOUGH, "nothing limits capacity")


def _scaling_frozen(gpus: GpuSize) -> Condition:
    kind = ConditionType.SCALING_FROZEN
    if gpus.frozen:
        return _condition(kind, True, Reason.SIGNAL_MISSING, _joined(gpus.frozen))
    return _condition(kind, False, Reason.SIGNALS_FRESH, "all signals that sizes depend on are fresh")


def _approval_pending(proposal: Proposal | None, upgrade: UpgradePlan | None, observed: Observed) -> Condition:
    kind, waiting = ConditionType.APPROVAL_PENDING, []
    if upgrade is not None and upgrade.approval:
        way = " -> ".join((upgrade.running, *upgrade.path))
        waiting.append(f"the upgrade {way}; approve it with `{command(observed, upgrade.approval)}`")
    if proposal is not None:
        waiting.append(f"{_joined(map(in_words, proposal.changes))}; {next_step(proposal, observed)}")
    if not waiting:
        return _condition(kind, False, Reason.NOTHING_PROPOSED, "no plan waits for approval")
    needed = (upgrade is not None and bool(upgrade.approval)) or (proposal is not None and proposal.approvable)
    return _condition(kind, needed, Reason.APPROVAL_NEEDED if needed else Reason.FORECAST_ONLY, "; ".join(waiting))


def _policy_compliant(refusals: Sequence[Refusal]) -> Condition:
    kind = ConditionType.POLICY_COMPLIANT
    broken = [refusal for refusal in refusals if refusal.reason in SOVEREIGNTY]
    if broken:
        return _condition(kind, False, broken[0].reason, _joined(map(str, broken)))
    return _condition(kind, True, Reason.COMPLIANT, "images and pools keep the rules of spec.sovereignty")


def _upgrade_held(found: Findings) -> Condition:
    kind = ConditionType.UPGRADE_HELD
    if found.upgrade is not None and found.upgrade.held is not None:
        return _condition(kind, True, *found.upgrade.held)
    return _condition(kind, False, Reason.NOT_HELD, "no upgrade is held")


def _emergency_stop(stopped: str) -> Condition:
    kind = ConditionType.EMERGENCY_STOP
    if stopped:
        return _condition(kind, True, Reason.EMERGENCY_STOP, stopped)
    return _condition(kind, False, Reason.NOT_STOPPED, "the operator works")


def _condition(kind: ConditionType, holds: bool, reason: Reason, message: str) -> Condition:
    return Condition(type=kind.value, status="True" if holds else "False", reason=reason.value, message=message)


def _joined(lines: Iterable[str]) -> str:
    """The first few lines and how many more there are, so that a message stays short."""
    every = list(lines)
    more = len(every) - _NAMED
    return "; ".join(every[:_NAMED]) + (f"; and {more} more" if more > 0 else "")
