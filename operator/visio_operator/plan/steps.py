"""The steps of a rung, and how far each of them has come.

Nothing of this is remembered: a step is done when the objects in the cluster say so, so that an operator which starts
again goes on where the last one was ended. Upstream's order (facts/visio.md 9): migrations before everything that reads
the new schema; media servers last, since only they hold calls.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .observed import Observed, Workload
from .order import GPU_PARTS
from .plan import Release

CHECK, BACKUP, MIGRATE, CANARY, VERIFY = "check", "backup", "migrate", "canary", "verify"
CHECK_JOB, BACKUP_JOB, VERIFY_JOB = "upgrade-check", "upgrade-backup", "upgrade-verify"
RESTORE, RESTORE_JOB = "restore", "upgrade-restore"
"""No step of a rung, but the way back over a migration."""
UPGRADE_JOBS = frozenset({CHECK_JOB, BACKUP_JOB, VERIFY_JOB, RESTORE_JOB})
"""Parts of the Jobs of a rung; they are no parts of the deployment."""

ROLLS: dict[str, tuple[str, ...]] = {
    "api": ("backend", "celery-backend", "clean-pending-files", "purge-deleted-files", "superuser"),
    "summary": ("summary", "summarize", "call-webhook", "transcription"),
    "agents": ("subtitles", "metadata"),
    "captions": ("captions",),
    "frontend": ("frontend",),
    "media": ("sfu", "egress", "turn"),
    # Embedded services, which no known release changes, and the check of connections.
    "services": ("postgres", "redis", "garage", "preflight"),
}
"""Steps that replace pods, and the parts whose pods these are."""
STEPS = (
    CHECK,
    BACKUP,
    MIGRATE,
    "api",
    "summary",
    "agents",
    "captions",
    "frontend",
    CANARY,
    "media",
    "services",
    VERIFY,
)
"""All steps of a rung, in their order."""
_RUNS_ON = frozenset({"Deployment", "StatefulSet"})


@dataclass(frozen=True)
class Progress:
    """How far a step that replaces pods has come."""

    done: bool
    waits_for: str = ""
    failed: str = ""


def roll(step: str, present: Sequence[str], observed: Observed, target: Release) -> Progress:
    """How far the parts of a step have followed to a release.

    A pod that drains is not waited for: its Deployment counts it no more, and it ends with its last session.
    """
    workloads = [observed.workloads[part] for part in ROLLS[step] if part in present and part in observed.workloads]
    failed = [f"{one.part}: {one.failed}" for one in workloads if one.release == target.version and one.failed]
    waiting = list(_waiting(workloads, target))
    return Progress(done=not waiting and not failed, waits_for="; ".join(waiting), failed="; ".join(failed))


def _waiting(workloads: Sequence[Workload], target: Release) -> Iterator[str]:
    for one in workloads:
        if one.release != target.version:
            yield f"{one.part} is to follow"
        elif one.kind in _RUNS_ON:
            ready = one.updated if one.part in GPU_PARTS else min(one.updated, one.ready)
            if not one.current or ready < one.desired:
                yield f"{one.part} has {ready if one.current else 0} of {one.desired} replicas on {target.version}"


def ends(job: Workload | None, version: str) -> bool:
    """Whether a Job of a rung has done its work for this very release."""
    return job is not None and job.release == version and job.succeeded
