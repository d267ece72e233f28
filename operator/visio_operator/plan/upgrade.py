"""From the release that runs to the one that is asked for: one rung at a time, in steps, never back over a migration.

Where a deployment stands is derived from what is observed: every workload says which release it was rendered from, and
the Jobs of a rung stay until the next one begins. So the same plan follows whoever looks, and whenever.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from visio_operator.api.releases import ReleaseEntry, find_release, order
from visio_operator.api.spec import VisioDeploymentSpec

from .canary import CanaryStep
from .images import as_release, short_name
from .observed import Observed
from .order import part_set
from .pace import Pace
from .path import climb
from .plan import Release, UpgradePlan
from .policy import Refusal, unknown_version
from .reasons import Reason
from .restore import RestoreApproval, restore_approval, way_back
from .rung import Climb, Rung, climb_rung, give_up
from .steps import CHECK_JOB, UPGRADE_JOBS, VERIFY_JOB, ends
from .upgrade_approval import UpgradeApproval, approve_upgrade

_TAG = re.compile(r":v?([0-9]+\.[0-9]+\.[0-9]+)(?:@|$)")


@dataclass(frozen=True)
class Course:
    """What the parts are rendered from, and what an upgrade does next."""

    release: Release | None
    """What all parts run or shall run; None when nothing can be rendered."""
    parts: Mapping[str, Release] = field(default_factory=dict)
    """Parts that a rung has reached, with the release that they go to."""
    refusal: Refusal | None = None
    """Why nothing can be written at all."""
    upgrade: UpgradePlan | None = None
    kept_jobs: frozenset[str] = frozenset()
    """Jobs of the last rung that stay: they tell how far it has come."""
    trace: str = ""
    approval: UpgradeApproval = field(default_factory=UpgradeApproval)
    """What became of the approval on the object."""
    canary: CanaryStep = field(default_factory=CanaryStep)
    restore: RestoreApproval = field(default_factory=RestoreApproval)
    """What became of the approval of a restore."""


@dataclass(frozen=True)
class _Stand:
    """Between which releases a deployment stands."""

    low: str
    begun: str = ""
    """The release of the rung that is under way; empty when none is."""


def choose_course(
    spec: VisioDeploymentSpec, observed: Observed, now: float, ladder: tuple[ReleaseEntry, ...], pace: Pace
) -> Course:
    """Choose the release of each part.

    Patches may be skipped, minors never, and there is no way back over a migration: that is upstream's rule
    (facts/visio.md 9). What cannot be is held: the deployment goes on at the release that runs.
    """
    registries, wanted = spec.sovereignty.registries, spec.version
    stand = _stand(spec, observed, ladder)
    if stand is None:
        entry = find_release(ladder, wanted)
        if entry is None:
            return Course(None, refusal=unknown_version(wanted, ladder))
        first = f"release {wanted}: first installation"
        return Course(as_release(entry, registries), trace=first, approval=approve_upgrade(spec, observed, ()))
    kept = _jobs_of(observed, stand.begun or stand.low)
    for version in filter(None, (stand.low, stand.begun)):
        if find_release(ladder, version) is None:
            problem = f"the running version {version} is not in the release ladder"
            remedy = f"add a VisioRelease named for {version}"
            return Course(None, refusal=Refusal(Reason.UNKNOWN_VERSION, "spec.version", problem, remedy))
    current = as_release(_known(ladder, stand.low), registries)
    way = climb(ladder, stand.begun or stand.low, wanted)
    begun_with = (_known(ladder, stand.begun),) if stand.begun else ()
    ahead = (*begun_with, *(() if isinstance(way, Refusal) else way))
    approval = approve_upgrade(spec, observed, [as_release(entry, registries) for entry in ahead])
    here = UpgradePlan(running=stand.low, wanted=wanted, approval=approval.digest)

    def rung(entry: ReleaseEntry) -> Rung:
        return Rung(spec, observed, now, pace, current, entry, as_release(entry, registries), approval)

    if stand.begun:
        begun = rung(_known(ladder, stand.begun))
        if order(wanted) < order(stand.begun):
            return _course(begun, kept, here, give_up(begun, here))
        here = replace(here, path=tuple(each.version for each in ahead))
        return _course(begun, kept, here, climb_rung(begun, here))
    settled = Course(current, kept_jobs=kept, approval=approval, restore=restore_approval(observed))
    if isinstance(way, Refusal):
        held = replace(here, held=(way.reason, str(way)))
        return replace(settled, upgrade=held, trace=f"release {stand.low}: {way}")
    if not way:
        return replace(settled, trace=f"release {stand.low}: runs")
    here = replace(here, path=tuple(each.version for each in way))
    next_jobs = kept | _jobs_of(observed, way[0].version)
    return _course(rung(way[0]), next_jobs, here, climb_rung(rung(way[0]), here))


def _known(ladder: tuple[ReleaseEntry, ...], version: str) -> ReleaseEntry:
    return next(entry for entry in ladder if entry.version == version)


def _course(rung: Rung, kept: frozenset[str], here: UpgradePlan, forward: Climb) -> Course:
    climbed, restore = way_back(rung, here, forward)
    plan = climbed.plan
    where = f"release {plan.running} -> {plan.rung or plan.wanted}"
    doing = f"step {plan.step}" if plan.step else "not begun"
    why = f", held: {plan.held[1]}" if plan.held else f", {plan.waits_for}" if plan.waits_for else ""
    return Course(
        rung.current,
        climbed.parts,
        upgrade=plan,
        kept_jobs=kept - climbed.dropped,
        trace=f"{where}: {doing}{why}",
        approval=rung.approval,
        canary=climbed.canary,
        restore=restore,
    )


def _stand(spec: VisioDeploymentSpec, observed: Observed, ladder: tuple[ReleaseEntry, ...]) -> _Stand | None:
    """Where the parts are; None while there is no API, which is a first installation."""
    running = running_version(observed, ladder)
    if not running:
        return None
    parts = {
        workload.release or running
        for part in part_set(spec)
        if (workload := observed.workloads.get(part)) is not None and workload.kind != "Job"
    }
    low = min(parts, key=order)
    reached = set(parts)
    migrate, check = observed.workloads.get("migrate"), observed.workloads.get(CHECK_JOB)
    if migrate is not None and migrate.release:
        reached.add(migrate.release)
    begun = min((version for version in reached if order(version) > order(low)), key=order, default="")
    if not begun and check is not None and check.release == low and check.previous and not _verified(observed, low):
        # All parts have followed; the rung ends only when they were seen to work.
        return _Stand(check.previous, low)
    return _Stand(low, begun)


def _verified(observed: Observed, version: str) -> bool:
    return ends(observed.workloads.get(VERIFY_JOB), version)


def _jobs_of(observed: Observed, version: str) -> frozenset[str]:
    jobs = (observed.workloads.get(part) for part in UPGRADE_JOBS)
    return frozenset(job.name for job in jobs if job is not None and job.release == version)


def running_version(observed: Observed, ladder: tuple[ReleaseEntry, ...]) -> str:
    """The version that the API runs, by what is written on it, else by its image; empty when it cannot be told."""
    backend = observed.workloads.get("backend")
    if backend is None:
        return ""
    if backend.release:
        return backend.release
    names = {short_name(image) for image in backend.images}
    for entry in ladder:
        if short_name(entry.images["backend"]) in names:
            return entry.version
    tags = [match.group(1) for image in backend.images if (match := _TAG.search(image))]
    return tags[0] if tags else ""
