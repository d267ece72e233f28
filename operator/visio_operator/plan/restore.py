"""The way back over a migration: the backup that was made before it is restored, when somebody has approved just that.

It is offered while a rung is held after its migrations have begun. An approval is written on the backup before anything
else is done, and from then on all follows from objects. With a CronJob: what writes to the database stops, the restore
Job runs, and everything runs the older release again. CloudNativePG restores no cluster in place (its documentation,
"Recovery"): a new Cluster recovers beside the old one, and people point the deployment at it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from .backups import RestoreSource
from .impact import ROLLOUT_SECONDS
from .observed import Observed, Workload
from .order import CRON_JOBS, part_set
from .plan import Release, RestorePlan, UpgradeJob, UpgradePlan
from .propose import DIGEST_LENGTH, command, legible
from .reasons import Reason
from .rung import Climb, Rung
from .rung_length import STEP_SECONDS
from .steps import BACKUP, BACKUP_JOB, CHECK_JOB, RESTORE, RESTORE_JOB, VERIFY_JOB
from .upgrade_approval import approval_notes
from .words import at

WRITERS = ("backend", "celery-backend", "clean-pending-files", "purge-deleted-files", "call-webhook")
"""Parts that stand still while the database is restored: those that write to it, and the worker that reports results to
the API, which tries three times only (facts/visio.md 3). The rest of the summary service never sees the database; its
tasks wait in Redis. Media servers, recorders and agents go on."""
STOPPED = "is stopped while the database is restored"
_ABOUT = "restore"
IGNORED = f"{_ABOUT}.ignored"
"""A number for an approval that fitted no offer, while it stays on the object."""
_AFTER = frozenset({Reason.MIGRATION_FAILED, Reason.UPGRADE_FAILED, Reason.CANARY_FAILED, Reason.VERSION_STEP})
"""Holds from which going back is a way out, if the migrations have begun."""
_STOP_SECONDS = 120.0
"""What it takes until the API has ended its requests; it has 100 seconds for them."""
_LONGEST_CLUSTER = 50
"""Characters of the name of a Cluster, since names of pods and Services are made from it."""


@dataclass(frozen=True)
class RestoreApproval:
    """What became of the approval of a restore."""

    taken: str = ""
    """The digest of the approval that was carried out, as it stands on the backup."""
    memory: Mapping[str, float] = field(default_factory=dict)


def restore_approval(observed: Observed, used: str = "") -> RestoreApproval:
    """What to say and to remember of the approval on the object; `used` is the digest that a restore was begun for."""
    fits = bool(used) and observed.approved_restore == used
    return RestoreApproval(used, approval_notes(observed.memory, observed.approved_restore, _ABOUT, fits=fits))


def way_back(rung: Rung, here: UpgradePlan, climb: Climb) -> tuple[Climb, RestoreApproval]:
    """What the rung does next: `climb`, with an offer to restore the backup where that is a way out; or, once it is
    approved, the restore in its place.
    """
    observed = rung.observed
    begun, saved = _restoring(rung, here), rung.job(BACKUP_JOB)
    if begun is not None:
        return begun, restore_approval(observed, saved.restore.partition(" ")[0] if saved is not None else "")
    if not _is_way_out(rung, climb):
        return climb, restore_approval(observed)
    offer, without = _offer(rung, observed.memory)
    if offer is None:
        return _saying(climb, without), restore_approval(observed)
    if observed.approved_restore == offer.digest:
        # It counts as used once it stands on the backup: what could not be written was not begun.
        kept = {key: value for key, value in observed.memory.items() if key.startswith(f"{_ABOUT}.")}
        return _approved(rung, climb, offer), RestoreApproval(memory=kept)
    approval = restore_approval(observed)
    offer, _ = _offer(rung, approval.memory)
    return _offering(rung, climb, offer, approval.memory), approval


def restored_cluster(cluster: str, version: str) -> str:
    """The name of the Cluster that recovers what another one was before a rung."""
    end = f"-restored-{version.replace('.', '-')}"
    if len(cluster) + len(end) <= _LONGEST_CLUSTER:
        return cluster + end
    mark = sha256(cluster.encode()).hexdigest()[:6]
    return f"{cluster[: _LONGEST_CLUSTER - len(end) - 7].rstrip('-')}-{mark}{end}"


def _is_way_out(rung: Rung, climb: Climb) -> bool:
    held = climb.plan.held
    return rung.entry.changes_schema and held is not None and held[0] in _AFTER and rung.job("migrate") is not None


def _offer(rung: Rung, memory: Mapping[str, float]) -> tuple[RestorePlan | None, str]:
    """The restore that can be approved; else None and what is said instead."""
    spec, observed, version = rung.spec, rung.observed, rung.target.version
    ways, saved, source = spec.upgrade.backup, rung.job(BACKUP_JOB), observed.restore_source
    if ways is None:
        return None, "nothing was saved before, so there is nothing to restore"
    if ways.none is not None:
        return None, "or restore what you saved yourself; the operator saved nothing, as spec.upgrade.backup.none says"
    if saved is None or not saved.succeeded:
        return None, "no backup of this rung is known to the operator, so it offers none to restore"
    if (saved.kind == "Backup") != (ways.cloud_native_pg is not None):
        return None, f"spec.upgrade.backup names another way than the {saved.kind} {saved.name} that saved the database"
    if ways.cloud_native_pg is not None:
        by = f"Cluster {restored_cluster(ways.cloud_native_pg.cluster, version)}"
    elif ways.restore_cron_job is not None:
        by = f"CronJob {ways.restore_cron_job}"
    else:
        field_name = "spec.upgrade.backup.restoreCronJob"
        return None, f"or restore the backup {saved.name}: name a CronJob in {field_name}, and it is offered here"
    if source is None or not source.found:
        return None, _no_source(rung)
    count = str(int(memory.get(f"{_ABOUT}.round", 0)))
    named = "\n".join((observed.uid, count, version, saved.name, f"{saved.saved_at:.0f}", by))
    digest = sha256(named.encode()).hexdigest()[:DIGEST_LENGTH]
    stops = _writers(rung) if ways.cloud_native_pg is None else ()
    took = max(0.0, saved.finished_at - saved.saved_at) or STEP_SECONDS[BACKUP]
    length = (_STOP_SECONDS if stops else 0.0) + took + ROLLOUT_SECONDS
    return RestorePlan(digest, saved.name, saved.saved_at, by, stops, length), ""


def _writers(rung: Rung) -> tuple[str, ...]:
    present = part_set(rung.spec, rung.current.settings)
    return tuple(part for part in WRITERS if part in present)


def _no_source(rung: Rung) -> str:
    ways, namespace = rung.spec.upgrade.backup, rung.observed.namespace
    if ways is not None and ways.cloud_native_pg is not None:
        what = f"spec.upgrade.backup.cloudNativePG: there is no Cluster {ways.cloud_native_pg.cluster}"
        return f"{what} of postgresql.cnpg.io in namespace {namespace}, whose copy would recover the backup"
    field_name, name = "spec.upgrade.backup.restoreCronJob", ways.restore_cron_job if ways is not None else None
    if name is None:
        return f"{field_name} names no CronJob, so the backup cannot be restored"
    return f"{field_name}: CronJob {name} does not exist in namespace {namespace}, so the backup cannot be restored"


def _saying(climb: Climb, more: str) -> Climb:
    """The same, with one more clause about what can be done."""
    plan = climb.plan
    if plan.held is None or not more:
        return climb
    reason, message = plan.held
    return replace(climb, plan=replace(plan, held=(reason, f"{message}; {more}")))


def _offering(rung: Rung, climb: Climb, offer: RestorePlan | None, memory: Mapping[str, float]) -> Climb:
    if offer is None:
        return climb
    observed = rung.observed
    text = (
        f"or restore the backup {offer.backup} of {at(offer.saved_at)}: all that was written since is lost; approve it"
        f" with `{command(observed, offer.digest)}`"
    )
    if IGNORED in memory:
        text += f" (the approval of {legible(observed.approved_restore)} is of another plan and is ignored)"
    said = _saying(climb, text)
    return replace(said, plan=replace(said.plan, restore=offer))


def _standing(rung: Rung) -> dict[str, Release]:
    """Everything as it is: parts that have followed stay, and so do their Jobs."""
    seen, version = rung.observed.workloads, rung.target.version
    return {
        part: rung.target
        for part in part_set(rung.spec)
        if (one := seen.get(part)) is not None and one.release == version
    }


def _approved(rung: Rung, climb: Climb, offer: RestorePlan) -> Climb:
    """The first step: the approval is written down, and writers stop."""
    waits = f"the backup {offer.backup} of {at(offer.saved_at)} is restored, as was approved"
    plan = replace(climb.plan, step=RESTORE, held=None, job=None, taken_back="", waits_for=waits)
    return Climb(replace(plan, restores=f"{offer.digest} {offer.by}", stops=offer.stops), _standing(rung))


def _restoring(rung: Rung, here: UpgradePlan) -> Climb | None:
    """What is done once a restore was approved; None while none was."""
    saved, job = rung.job(BACKUP_JOB), rung.job(RESTORE_JOB)
    at_restore = replace(here, rung=rung.target.version, step=RESTORE)
    if job is not None:
        return _by_job(rung, at_restore, job)
    if saved is None or not saved.restore:
        return None
    if saved.kind == "Backup":
        return _by_cluster(rung, at_restore, saved)
    return _before_job(rung, at_restore, saved)


def _before_job(rung: Rung, at_restore: UpgradePlan, saved: Workload) -> Climb:
    """The restore Job is made when nothing can write any more."""
    observed, source = rung.observed, rung.observed.restore_source
    stopping = replace(at_restore, stops=_writers(rung))
    if source is None or not source.found:
        message = f"{_no_source(rung)}; {_quiet(rung)}. Create it; {_cancel(saved)}"
        return Climb(replace(stopping, held=(Reason.RESTORE_FAILED, message)), _standing(rung))
    waiting = sorted({*_running(rung), *(observed.writers or ())})
    if observed.writers is None or waiting:
        waits = f"what writes to the database ends first: {', '.join(waiting)}" if waiting else "pods are counted"
        return Climb(replace(stopping, waits_for=waits), _standing(rung))
    job = UpgradeJob(
        RESTORE_JOB, rung.target, rung.current.version, template=source.spec, backup=saved.name, saved_at=saved.saved_at
    )
    waits = f"the backup {saved.name} of {at(saved.saved_at)} is restored"
    return Climb(replace(stopping, job=job, waits_for=waits), _standing(rung))


def _running(rung: Rung) -> Iterator[str]:
    """Writers that were not told to stop yet, as their workloads say."""
    for part in _writers(rung):
        one = rung.observed.workloads.get(part)
        if one is not None and (one.desired > 0 or not one.current):
            yield part


def _by_job(rung: Rung, at_restore: UpgradePlan, job: Workload) -> Climb:
    older, newer = rung.current.version, rung.target.version
    if job.succeeded:
        message = (
            f"the database was restored to what it was before {newer}, and everything runs {older} again. Set"
            f" spec.version to {older} or to another release, or climb anew by deleting the Job {job.name}"
        )
        # Of the rung nothing is true any more: it would have to be checked, saved and migrated anew.
        gone = (rung.job(part) for part in (CHECK_JOB, BACKUP_JOB, VERIFY_JOB))
        dropped = frozenset(one.name for one in gone if one is not None)
        return Climb(replace(at_restore, held=(Reason.ROLLED_BACK, message)), {}, dropped)
    stopping = replace(at_restore, stops=_writers(rung))
    if job.failed:
        message = (
            f"the restore Job {job.name} failed: {job.failed}; the database may hold a part of the backup only, so"
            f" {_quiet(rung)}. Mend the cause and delete this Job to run it once more"
        )
        return Climb(replace(stopping, held=(Reason.RESTORE_FAILED, message)), _standing(rung))
    waits = f"the Job {job.name} restores the database; then everything runs {older} again"
    return Climb(replace(stopping, waits_for=waits), _standing(rung))


def _quiet(rung: Rung) -> str:
    """How the deployment is while its database is away."""
    stopped = ", ".join(part for part in _writers(rung) if part not in CRON_JOBS)
    return f"{stopped} stay stopped: calls that run go on, and nobody can join or start one"


def _cancel(saved: Workload) -> str:
    return f"or take the restore back by removing the annotation restored-by of the {saved.kind} {saved.name}"


def _by_cluster(rung: Rung, at_restore: UpgradePlan, saved: Workload) -> Climb:
    """A new Cluster recovers beside the old one; nothing changes for anybody until the deployment is pointed at it."""
    name, source, older = saved.restore.rpartition(" ")[2], rung.observed.restore_source, rung.current.version
    if (rung.spec.database.host or "").partition(".")[0].startswith(f"{name}-"):
        message = (
            f"the database is the Cluster {name}, as it was before {rung.target.version}, and everything runs {older}"
            f" again. Name it in spec.upgrade.backup.cloudNativePG.cluster too; then set spec.version to {older} or to"
            f" another release, or climb anew by deleting the Backup {saved.name}"
        )
        gone = (rung.job(part) for part in (CHECK_JOB, VERIFY_JOB))
        dropped = frozenset(one.name for one in gone if one is not None)
        return Climb(replace(at_restore, held=(Reason.ROLLED_BACK, message)), {}, dropped)
    standing = _standing(rung)
    if source is None or not (source.found or source.made):
        message = f"{_no_source(rung)}; {_cancel(saved)}"
        return Climb(replace(at_restore, held=(Reason.RESTORE_FAILED, message)), standing)
    if not source.made:
        job = UpgradeJob(RESTORE_JOB, rung.target, older, template=source.spec, backup=saved.name, cluster=name)
        return Climb(replace(at_restore, job=job, waits_for=f"the Cluster {name} is made"), standing)
    if not source.ready:
        return Climb(replace(at_restore, waits_for=_recovers(name, source)), standing)
    host = f"{name}-rw.{rung.observed.namespace}.svc"
    message = (
        f"the Cluster {name} holds the database of {at(saved.saved_at)}, and nothing uses it yet: set"
        f" spec.database.host to {host} and the Secret beside it to {name}-app, and everything goes back to {older};"
        f" what was written since stays in the old Cluster; {_cancel(saved)} and deleting the Cluster {name}"
    )
    return Climb(replace(at_restore, held=(Reason.RESTORE_READY, message)), standing)


def _recovers(name: str, source: RestoreSource) -> str:
    said = f" ({source.said})" if source.said else ""
    return f"the Cluster {name} recovers the backup{said}; all goes on as it is meanwhile"
