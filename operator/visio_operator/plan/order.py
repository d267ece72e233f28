"""Which parts a deployment has, what each of them needs before it may be created, and which images it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from visio_operator.api.spec import VisioDeploymentSpec

from .observed import Observed
from .plan import Release

GPU_PARTS = frozenset({"captions", "transcription"})
CRON_JOBS = frozenset({"clean-pending-files", "purge-deleted-files"})
JOBS = frozenset({"migrate", "superuser"})
CHECKS = frozenset({"preflight"})
"""Jobs whose outcome shows in the parts that they hold back."""

NEEDS: dict[str, tuple[str, ...]] = {
    "preflight": (),
    "postgres": (),
    "redis": (),
    "garage": (),
    "turn": (),
    "sfu": ("redis",),
    "migrate": ("postgres", "redis"),
    "superuser": ("migrate",),
    "backend": ("garage", "migrate", "sfu"),
    "celery-backend": ("migrate",),
    "clean-pending-files": ("migrate",),
    "purge-deleted-files": ("migrate",),
    # Pages that need nothing to start: they come with the API that they call.
    "frontend": ("migrate",),
    "egress": ("redis", "sfu"),
    "summary": ("redis",),
    "summarize": ("redis",),
    "call-webhook": ("redis",),
    "transcription": ("redis",),
    "captions": (),
    "subtitles": ("sfu",),
    "metadata": ("sfu",),
}
"""What has to be up before a part is created, in the order of creation. A need that is not a part of the deployment is
an external service and counts as up. The order is that of facts/visio.md 8."""

IMAGE_KEYS: dict[str, tuple[str, ...]] = {
    "preflight": ("operator",),
    "postgres": ("postgres",),
    "redis": ("redis",),
    "garage": ("garage",),
    "turn": ("coturn",),
    "sfu": ("livekit",),
    "migrate": ("backend",),
    "superuser": ("backend",),
    "backend": ("backend",),
    "celery-backend": ("backend",),
    "clean-pending-files": ("backend",),
    "purge-deleted-files": ("backend",),
    "frontend": ("frontend",),
    "egress": ("egress",),
    "summary": ("summary",),
    "summarize": ("summary",),
    "call-webhook": ("summary",),
    "transcription": ("summary", "whisper"),
    "captions": ("moshi",),
    "subtitles": ("agents", "operator"),
    "metadata": ("agents",),
}
"""The images that a part's pods run, as keys of `Release.images`."""


def part_set(spec: VisioDeploymentSpec, settings: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The parts that the spec asks for, in the order of creation; `settings` are those of the release, if there is one.

    The summary service and its workers come with transcription, since nothing else posts to it; the metadata agent
    too, since it gives transcripts the names of speakers.
    """
    cleans = (settings or {}).get("cleaningJobs") != "false"
    wanted = {
        **dict.fromkeys(CRON_JOBS, cleans),
        "postgres": spec.database.embedded is not None,
        "redis": spec.redis.embedded is not None,
        "garage": spec.object_storage.embedded is not None,
        "turn": spec.sfu.network == "turnTLS",
        "superuser": spec.superuser is not None,
        "egress": spec.recording.enabled,
        "summary": spec.transcription.enabled,
        "summarize": spec.transcription.enabled and spec.llm is not None,
        "call-webhook": spec.transcription.enabled,
        "transcription": spec.transcription.enabled,
        "metadata": spec.transcription.enabled,
        "captions": spec.captions.enabled,
        "subtitles": spec.captions.enabled,
    }
    return tuple(part for part in NEEDS if wanted.get(part, True))


def fixed_size(spec: VisioDeploymentSpec, part: str) -> int:
    """Replicas of a part before anything is known of its load.

    Agents, the summary API and TURN run twice, so that one node can go.
    """
    sizes = {
        "backend": spec.api.min,
        "frontend": spec.frontend.min,
        "sfu": spec.sfu.min,
        "egress": spec.recording.spare,
        "celery-backend": spec.workers.min,
        "summarize": spec.workers.min,
        "call-webhook": spec.workers.min,
        "summary": 2,
        "subtitles": 2,
        "metadata": 2,
        "turn": 2,
    }
    return sizes.get(part, 1)


def migrate_done(observed: Observed, release: Release) -> bool:
    """Whether the migrate Job of this very release has completed."""
    job = observed.workloads.get("migrate")
    return job is not None and job.succeeded and release.images["backend"] in job.images


def is_up(part: str, observed: Observed, release: Release) -> bool:
    """Whether a part can be relied on by another one: a Job is done, anything else has a ready replica."""
    if part == "migrate":
        return migrate_done(observed, release)
    workload = observed.workloads.get(part)
    return workload is not None and workload.ready >= 1


def closed_gate(part: str, parts: Iterable[str], observed: Observed, release: Release) -> str:
    """Why a part must not be created yet; empty when it may be.

    A closed gate only holds back creation: a part that exists is never taken away because what it needs went down.
    """
    if part in observed.workloads:
        return ""
    present = set(parts)
    missing = [need for need in NEEDS[part] if need in present and not is_up(need, observed, release)]
    return f"waits for {', '.join(missing)}" if missing else ""
