"""From a plan to every manifest of a deployment."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from visio_operator.plan.plan import Plan, Release
from visio_operator.plan.rotation import settled_keys

from .agents import metadata_collector, subtitles
from .backend import backend, celery_backend, cron_jobs, migrate, superuser
from .captions import captions
from .certificate import certificate
from .common import RELEASE, Manifest, Site, join
from .egress import egress
from .frontend import frontend
from .garage import garage
from .gateway import gateway
from .ingress import ingress
from .network_policies import network_policies
from .placeholders import placeholders
from .postgres import postgres
from .preflight import preflight
from .redis import redis
from .restarts import with_key_pairs
from .sfu import sfu
from .summary import call_webhook, summarize, summary
from .transcription import transcription
from .turn import turn
from .upgrade_jobs import upgrade_jobs

Builder = Callable[[Site, Plan, Release], list[Manifest]]

BUILDERS: tuple[tuple[str, Builder], ...] = (
    ("preflight", preflight),
    ("postgres", postgres),
    ("redis", redis),
    ("garage", garage),
    ("turn", turn),
    ("sfu", sfu),
    ("migrate", migrate),
    ("superuser", superuser),
    ("backend", backend),
    ("celery-backend", celery_backend),
    ("clean-pending-files", cron_jobs),
    ("frontend", frontend),
    ("egress", egress),
    ("summary", summary),
    ("summarize", summarize),
    ("call-webhook", call_webhook),
    ("transcription", transcription),
    ("captions", captions),
    ("captions", placeholders),
    ("subtitles", subtitles),
    ("metadata", metadata_collector),
)
"""One for each part or family, in the order of creation; each gives nothing while the plan does not want its part. The
name is that of the part whose release it renders."""
_SAY_RELEASE = frozenset({"Deployment", "StatefulSet", "Job", "CronJob"})
_WITH_PODS = frozenset({"Deployment", "StatefulSet", "Job", "CronJob", "HorizontalPodAutoscaler"})


def render(site: Site, plan: Plan) -> tuple[Manifest, ...]:
    """Every manifest of the parts that the plan writes, and what they share; nothing while the release is unknown.

    The same site and plan always give the same manifests in the same order. Generated Secrets are not among them.
    """
    if plan.release is None:
        return ()
    site = replace(site, node_port=plan.node_port)
    # Policies first, so that no pod runs a moment without them.
    manifests = join(
        network_policies(site, plan),
        *(builder(site, plan, plan.release_of(part)) for part, builder in BUILDERS),
        upgrade_jobs(site, plan),
        certificate(site),
        ingress(site),
        gateway(site),
    )
    livekit = plan.livekit or settled_keys(site.name, site.spec)
    due = (manifest for manifest in manifests if _is_due(plan, manifest))
    return tuple(_with_release(plan, with_key_pairs(site.name, manifest, livekit)) for manifest in due)


def _with_release(plan: Plan, manifest: Manifest) -> Manifest:
    """The workload with the release that it is rendered from, beside its pods, so that none of them restarts for it."""
    meta = manifest["metadata"]
    annotations = meta.get("annotations") or {}
    if manifest["kind"] not in _SAY_RELEASE or RELEASE in annotations:
        return manifest
    release = plan.release_of(meta["labels"]["app.kubernetes.io/component"])
    return {**manifest, "metadata": {**meta, "annotations": {**annotations, RELEASE: release.version}}}


def _is_due(plan: Plan, manifest: Manifest) -> bool:
    """Whether nothing has to happen before it: only pods, and what counts them, wait for their part's turn."""
    part = plan.parts.get(manifest["metadata"]["labels"].get("app.kubernetes.io/component", ""))
    return part is None or part.write or manifest["kind"] not in _WITH_PODS
