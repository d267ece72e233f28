"""One rung of the ladder: which of its steps is due, what it needs, and what follows when one fails."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import ceil

from visio_operator.api.releases import ReleaseEntry
from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.api.upgrades import Backup

from .announce import replace_from
from .canary import RETRY_NOTE, CanaryStep, canary_step, is_under_way
from .coming import MEDIA, replaces_media
from .gates import GateInput, gate
from .observed import Observed, Workload
from .order import part_set
from .pace import Pace
from .plan import Release, UpgradeJob, UpgradePlan
from .policy import impossible
from .preconditions import unmet
from .reasons import Reason
from .rung_length import expected_seconds
from .steps import BACKUP, BACKUP_JOB, CANARY, CHECK, CHECK_JOB, MIGRATE, ROLLS, STEPS, VERIFY, VERIFY_JOB, ends, roll
from .upgrade_approval import UpgradeApproval

RETRY = 300.0
"""Seconds after which a check that failed is made again: it changes nothing, and what it found may be mended."""


@dataclass(frozen=True)
class Rung:
    """A rung and the world in which it is climbed."""

    spec: VisioDeploymentSpec
    observed: Observed
    now: float
    pace: Pace
    current: Release
    """What is left."""
    entry: ReleaseEntry
    target: Release
    """The images of `entry` that pods shall really use."""
    approval: UpgradeApproval = field(default_factory=UpgradeApproval)
    """Whether it may start as far as approval goes."""

    def job(self, part: str) -> Workload | None:
        """The Job of this rung."""
        job = self.observed.workloads.get(part)
        return job if job is not None and job.release == self.target.version else None

    def done(self, part: str) -> bool:
        """Whether that Job has done its work."""
        return ends(self.observed.workloads.get(part), self.target.version)

    @property
    def followed(self) -> dict[str, Release]:
        """Parts that run the rung's release; they never go back, except when the whole rung is taken back."""
        return {
            part: self.target
            for part in part_set(self.spec)
            if (one := self.observed.workloads.get(part)) is not None
            and one.release == self.target.version
            and one.kind != "Job"
        }

    @property
    def migrated(self) -> dict[str, Release]:
        """The migrate Job of a rung that is taken back stays: one of the older release would only run for nothing."""
        return {"migrate": self.target} if self.job("migrate") is not None else {}


@dataclass(frozen=True)
class Climb:
    """What a rung does next."""

    plan: UpgradePlan
    parts: Mapping[str, Release] = field(default_factory=dict)
    """Parts that are rendered from the rung's release; all others stay on the one before."""
    dropped: frozenset[str] = frozenset()
    """Jobs that have to be made again."""
    canary: CanaryStep = field(default_factory=CanaryStep)


def climb_rung(rung: Rung, here: UpgradePlan) -> Climb:
    """The step of the rung that is due."""
    version, check = rung.target.version, rung.job(CHECK_JOB)
    if check is not None and check.note:
        message = (
            f"{check.note}; everything runs {rung.current.version} again. Set spec.version to {rung.current.version} or"
            f" to another release, or try again by deleting the Job {check.name}"
        )
        return Climb(replace(here, rung=version, held=(Reason.ROLLED_BACK, message)), rung.migrated)
    followed = rung.followed
    if not followed and (before := _before(rung, here)) is not None:
        return before
    here = replace(here, rung=version)
    if not followed and not rung.done("migrate"):
        return _migration(rung, here)
    return _roll_on(rung, here, followed)


def give_up(rung: Rung, here: UpgradePlan) -> Climb:
    """What follows when an older release is asked for while a rung is under way.

    Without a migration of the schema everything goes back; with one it stays as it is, and says so.
    """
    version = rung.target.version
    if not rung.entry.changes_schema:
        waits = f"everything goes back to {rung.current.version}, as spec.version asks"
        return Climb(replace(here, rung=version, waits_for=waits))
    message = (
        f"spec.version: the migrations of {version} have begun, and the database does not go back to {here.wanted};"
        f" set it to {version} or newer"
    )
    held = replace(here, rung=version, held=(Reason.VERSION_STEP, message))
    return Climb(held, {**rung.followed, "migrate": rung.target})


def _before(rung: Rung, here: UpgradePlan) -> Climb | None:
    """What comes before the migrations; None when it is done."""
    version, check, migrate = rung.target.version, rung.job(CHECK_JOB), rung.job("migrate")
    if check is None or migrate is None:
        missing = next(((one.reason, str(one)) for one in unmet(rung.spec, rung.entry)), None)
        held = impossible(rung.spec, rung.target) or missing
        if held is not None:
            return Climb(replace(here, held=held), rung.migrated)
        asked = gate(rung.spec, rung.observed, _at_the_gate(rung, started=bool(check or migrate)), rung.now)
        if not asked.open:
            closed = (asked.reason, asked.message)
            at = replace(here, held=closed, next_start=asked.next_start, blockers=asked.blockers)
            return Climb(at, rung.migrated)
    here = replace(here, rung=version)
    if not rung.done(CHECK_JOB):
        job = UpgradeJob(CHECK_JOB, rung.target, rung.current.version, preconditions=rung.entry.preconditions)
        at = replace(here, step=CHECK, job=job, waits_for=f"the new images and settings of {version} are checked")
        if check is None or not check.failed:
            return Climb(at, rung.migrated)
        message = (
            f"the check of {version} failed: {check.failed}; nothing was changed, it is made again after"
            f" {RETRY / 60:.0f} minutes, or at once when you delete the Job {check.name}"
        )
        again = 0 < check.finished_at < rung.now - RETRY
        dropped = frozenset({check.name}) if again else frozenset()
        return Climb(replace(at, job=None, held=(Reason.CHECK_FAILED, message)), rung.migrated, dropped)
    return _backup(rung, here) if migrate is None else None


def _at_the_gate(rung: Rung, *, started: bool) -> GateInput:
    """What has to be known of a rung that is about to start."""
    running, version, last = rung.current.version, rung.target.version, rung.observed.workloads.get(VERIFY_JOB)
    # A Job whose pod has succeeded counts as done a moment before it says when.
    finished_at = (last.finished_at or rung.now) if last is not None and ends(last, running) else 0.0
    return GateInput(
        running=running,
        version=version,
        expected_seconds=expected_seconds(rung.spec, rung.observed.memory),
        started=started,
        approval_digest=rung.approval.digest_for(version),
        finished_at=finished_at,
        approval_ignored=rung.approval.ignored,
    )


def _backup(rung: Rung, here: UpgradePlan) -> Climb | None:
    """The backup before the migrations; None when it is done, or nothing is to be saved."""
    ways, version = rung.spec.upgrade.backup, rung.target.version
    nothing = not rung.entry.changes_schema or (ways is not None and ways.none is not None)
    if nothing or (ways is None and rung.spec.database.embedded is not None):
        return None
    at = replace(here, step=BACKUP)
    if ways is None:
        message = (
            f"spec.upgrade.backup: {version} changes the database, and nothing says how it is saved before;"
            " give cloudNativePG or cronJob, or none: {}"
        )
        return Climb(replace(at, held=(Reason.BACKUP_NOT_STATED, message)))
    source = rung.observed.backup_source
    if source is None or not source.found:
        return Climb(replace(at, held=(Reason.BACKUP_FAILED, _no_source(ways, rung.observed.namespace))))
    if rung.done(BACKUP_JOB):
        return None
    done = rung.job(BACKUP_JOB)
    if done is not None and done.failed:
        message = (
            f"the backup before {version} failed: {done.failed}; nothing was changed. Mend the cause and delete the"
            f" {done.kind} {done.name} to try again"
        )
        return Climb(replace(at, held=(Reason.BACKUP_FAILED, message)))
    template = source.job if source is not None else {}
    job = UpgradeJob(BACKUP_JOB, rung.target, rung.current.version, template=template)
    return Climb(replace(at, job=job, waits_for="the database is saved"))


def _no_source(ways: Backup, namespace: str) -> str:
    if ways.cloud_native_pg is not None:
        return (
            "spec.upgrade.backup.cloudNativePG: the cluster does not know objects of kind Backup of postgresql.cnpg.io;"
            " install CloudNativePG, or save the database in another way"
        )
    return (
        f"spec.upgrade.backup.cronJob: CronJob {ways.cron_job} does not exist in namespace {namespace};"
        " create it or name another one"
    )


def _migration(rung: Rung, here: UpgradePlan) -> Climb:
    version, migrate = rung.target.version, rung.job("migrate")
    waits = f"the database is migrated to {version}; all parts stay on {here.running} until it is done"
    at = replace(here, step=MIGRATE, waits_for=waits)
    if migrate is not None and migrate.failed:
        message = (
            f"the migrate Job of {version} failed: {migrate.failed}; all parts go on with {here.running}. Mend the"
            f" cause and delete the Job {migrate.name} to try again"
        )
        at = replace(at, held=(Reason.MIGRATION_FAILED, message))
    return Climb(at, {"migrate": rung.target})


def _roll_on(rung: Rung, here: UpgradePlan, followed: Mapping[str, Release]) -> Climb:
    """The steps after the migrations, up to the first one that is not done."""
    present = part_set(rung.spec)
    parts = {"migrate": rung.target, **followed}
    # It is watched whatever becomes of earlier steps: a front end that restarts must not end it.
    canary = _tried(rung) if is_under_way(rung.observed) else CanaryStep()
    for step in STEPS[STEPS.index(MIGRATE) + 1 : -1]:
        at = replace(here, step=step)
        if step == CANARY:
            canary = _tried(rung)
            if not canary.done:
                return _canary(rung, at, parts, canary)
            continue
        if step == MEDIA and (waits := _promised(rung, followed)):
            return Climb(replace(at, waits_for=waits), parts, canary=canary)
        parts.update({part: rung.target for part in ROLLS[step] if part in present})
        progress = roll(step, present, rung.observed, rung.target)
        at = replace(at, waits_for=progress.waits_for)
        if progress.failed:
            return replace(_failed(rung, at, parts, progress.failed), canary=canary)
        if not progress.done:
            return Climb(at, parts, canary=canary)
    at = replace(here, step=VERIFY, waits_for=f"{rung.target.version} is verified")
    verify = rung.job(VERIFY_JOB)
    if verify is not None and verify.failed:
        return replace(_failed(rung, at, parts, verify.failed), canary=canary)
    job = UpgradeJob(VERIFY_JOB, rung.target, rung.current.version)
    return Climb(replace(at, job=job), parts, canary=canary)


def _tried(rung: Rung) -> CanaryStep:
    retry = rung.observed.retry == rung.target.version
    return canary_step(rung.spec, rung.observed, rung.current, rung.target, rung.now, rung.pace, retry=retry)


def _canary(rung: Rung, at: UpgradePlan, parts: Mapping[str, Release], canary: CanaryStep) -> Climb:
    """A media server of the new release is tried, or was and failed: the others stay as they are then."""
    version = rung.target.version
    if not canary.failed:
        return Climb(
            replace(at, waits_for=f"one media server of {version} is tried on new rooms"), parts, canary=canary
        )
    message = (
        f"the media server of {version} was taken back: {'; '.join(canary.failed)}; the others stay on"
        f" {rung.current.version}. Give the release another livekit image, or try this one again with the annotation"
        f" {RETRY_NOTE}={version}, or go on without a canary by spec.upgrade.canary: false"
    )
    return Climb(replace(at, held=(Reason.CANARY_FAILED, message)), parts, canary=canary)


def _promised(rung: Rung, followed: Mapping[str, Release]) -> str:
    """What is waited for when people in meetings were promised some time; empty when it is over, or none was."""
    version = rung.target.version
    if followed.keys() & set(ROLLS[MEDIA]) or not replaces_media(rung.current, rung.target):
        return ""
    left = replace_from(rung.spec, version, rung.observed.memory, rung.now) - rung.now
    return f"media servers are replaced in {ceil(left / 60)} min, as was announced" if left > 0 else ""


def _failed(rung: Rung, at: UpgradePlan, parts: Mapping[str, Release], evidence: str) -> Climb:
    """What follows when a step fails after the migrations.

    Without a change of the schema the older images still fit, so that the whole rung is taken back. With one it holds:
    what works goes on serving, and people decide.
    """
    older, newer = rung.current.version, rung.target.version
    what = f"the upgrade to {newer} failed at step {at.step}: {evidence}"
    schema = rung.entry.changes_schema
    if not schema and rung.spec.upgrade.on_failure == "Rollback" and rung.job(CHECK_JOB) is not None:
        held = (Reason.ROLLED_BACK, f"{what}; everything goes back to {older}")
        return Climb(replace(at, taken_back=what, held=held), rung.migrated)
    why = f"the database is at {newer} already, so nothing goes back" if schema else "spec.upgrade.onFailure is Hold"
    message = (
        f"{what}; {why}, and steps that follow stay on {older}. Mend the cause, or name other images for {newer} in a"
        " VisioRelease"
    )
    return Climb(replace(at, held=(Reason.UPGRADE_FAILED, message)), parts)
