"""Which release the parts run now: the one the spec asks for, or still the older one until its migrations are done."""

from __future__ import annotations

import re
from dataclasses import dataclass

from visio_operator.api.releases import ReleaseEntry, find_release, order
from visio_operator.api.spec import VisioDeploymentSpec

from .images import as_release, short_name
from .observed import Observed
from .order import migrate_done
from .plan import Release
from .policy import Refusal, unknown_version
from .reasons import Reason
from .windows import is_open

_TAG = re.compile(r":v?([0-9]+\.[0-9]+\.[0-9]+)(?:@|$)")


@dataclass(frozen=True)
class Rung:
    """Where a deployment stands on the release ladder."""

    release: Release | None
    """What the parts are rendered from; None when nothing can be."""
    target: Release | None
    """What the spec asks for; None when the ladder lacks it."""
    migrate: Release | None = None
    """The release whose migrate Job runs while the parts stay on `release`."""
    refusal: Refusal | None = None
    failed: str = ""
    """Why the migrate Job of the target failed."""
    held: tuple[Reason, str] | None = None
    """Why an upgrade that is allowed does not start."""
    trace: str = ""


def running_version(observed: Observed, ladder: tuple[ReleaseEntry, ...]) -> str:
    """The version that the API runs, read from its image; empty when there is none or it cannot be told."""
    backend = observed.workloads.get("backend")
    if backend is None:
        return ""
    names = {short_name(image) for image in backend.images}
    for entry in ladder:
        if short_name(entry.images["backend"]) in names:
            return entry.version
    tags = [match.group(1) for image in backend.images if (match := _TAG.search(image))]
    return tags[0] if tags else ""


def choose_rung(spec: VisioDeploymentSpec, observed: Observed, now: float, ladder: tuple[ReleaseEntry, ...]) -> Rung:
    """Choose the release of the parts.

    One minor at a time, patches may be skipped, never backwards: that is upstream's rule (facts/visio.md 9). While the
    migrate Job of the new release is not done, everything else stays on the release that runs.
    """
    registries = spec.sovereignty.registries
    running = running_version(observed, ladder)
    known = find_release(ladder, running) if running else None
    current = as_release(known, registries) if known is not None else None
    entry = find_release(ladder, spec.version)
    if entry is None:
        return Rung(current, None, refusal=unknown_version(spec.version, ladder))
    target = as_release(entry, registries)
    if not running or running == spec.version:
        return Rung(target, target, trace=f"release {target.version}: {'runs' if running else 'first installation'}")
    refusal = step_refused(running, spec.version, ladder)
    if refusal is None and current is None:
        problem = f"the running version {running} is not in the release ladder"
        refusal = Refusal(Reason.UNKNOWN_VERSION, "spec.version", problem, f"add a VisioRelease named for {running}")
    if refusal is not None:
        return Rung(current, target, refusal=refusal)
    step = f"release {running} -> {spec.version}"
    if migrate_done(observed, target):
        return Rung(target, target, trace=f"{step}: migrations are done, all parts follow")
    job = observed.workloads.get("migrate")
    started = job is not None and target.images["backend"] in job.images
    held = None if started else _held(spec, now)
    if held is not None:
        return Rung(current, target, held=held, trace=f"{step}: held, {held[1]}")
    failed = job.failed if job is not None and started else ""
    return Rung(current, target, migrate=target, failed=failed, trace=f"{step}: parts wait for the migrate Job")


def _held(spec: VisioDeploymentSpec, now: float) -> tuple[Reason, str] | None:
    """Why an upgrade must not start now. One that has started goes on, also after its window has closed."""
    if spec.upgrade.mode == "Approve":
        message = f"the upgrade to {spec.version} waits: spec.upgrade.mode is Approve; set it to Auto to start"
        return Reason.APPROVAL_NEEDED, message
    if not is_open(spec.upgrade.windows, now):
        message = f"the upgrade to {spec.version} waits for the next of spec.upgrade.windows"
        return Reason.OUTSIDE_WINDOW, message
    return None


def step_refused(running: str, wanted: str, ladder: tuple[ReleaseEntry, ...]) -> Refusal | None:
    """Why the step from one version to another is not allowed; None when it is."""
    old, new = order(running), order(wanted)
    if new < old:
        problem = f"{running} runs, and going back to {wanted} is not possible: no downgrade of the database is known"
        return Refusal(Reason.VERSION_STEP, "spec.version", problem, f"set it to {running} or newer")
    rungs = sorted({order(entry.version)[:2] for entry in ladder if order(entry.version)[:2] > old[:2]})
    if new[:2] == old[:2] or (rungs and rungs[0] == new[:2] and _adjacent(old, new)):
        return None
    following = (old[0], old[1] + 1)
    patches = [order(entry.version) for entry in ladder if order(entry.version)[:2] == following]
    known = (
        ".".join(map(str, max(patches))) if patches else f"a release {following[0]}.{following[1]}.x, by VisioRelease"
    )
    problem = f"{running} runs, and {wanted} skips a minor version; migrations go one minor at a time"
    return Refusal(Reason.VERSION_STEP, "spec.version", problem, f"go to {known} first")


def _adjacent(old: tuple[int, ...], new: tuple[int, ...]) -> bool:
    """The next minor, or the first minor of the next major version."""
    return new[:2] in ((old[0], old[1] + 1), (old[0] + 1, 0))
