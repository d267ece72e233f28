"""What would restore the database after a migration, and who may still write to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visio_operator.plan.backups import RestoreSource
from visio_operator.plan.observed import Workload
from visio_operator.plan.restore import WRITERS
from visio_operator.plan.steps import BACKUP_JOB, RESTORE_JOB, VERIFY_JOB, ends
from visio_operator.workloads.common import DEPLOYMENT_LABEL, Site

from .kube import Kube
from .projections import PART_LABEL, is_ready, labels_of

_WITH_DATABASE = (*WRITERS, "migrate", "superuser")


async def restore_source(kube: Kube, site: Site, workloads: Mapping[str, Workload]) -> RestoreSource | None:
    """What the backup of a rung that is not verified would be restored with; None without one. Raises KubeError."""
    ways, saved = site.spec.upgrade.backup, workloads.get(BACKUP_JOB)
    if ways is None or saved is None or ends(workloads.get(VERIFY_JOB), saved.release):
        return None
    if ways.restore_cron_job is not None:
        found = await kube.get("CronJob", ways.restore_cron_job, site.namespace)
        template = ((found or {}).get("spec") or {}).get("jobTemplate") or {}
        return RestoreSource(found is not None, template.get("spec") or {})
    if ways.cloud_native_pg is None or not await kube.serves("Cluster"):
        return None
    old = await kube.get("Cluster", ways.cloud_native_pg.cluster, site.namespace)
    new = await _recovering(kube, site, saved)
    said = str(((new or {}).get("status") or {}).get("phase") or "")
    return RestoreSource(
        found=old is not None,
        spec=(old or {}).get("spec") or {},
        made=new is not None,
        ready=new is not None and is_ready(new),
        said=said,
    )


async def _recovering(kube: Kube, site: Site, saved: Workload) -> dict[str, Any] | None:
    """The Cluster that recovers, once that was approved."""
    name = saved.restore.rpartition(" ")[2]
    return await kube.get("Cluster", name, site.namespace) if name else None


async def writers(kube: Kube, site: Site, workloads: Mapping[str, Workload]) -> tuple[str, ...] | None:
    """Parts with a pod that may write to the database, also one that is about to end; None unless a restore waits for
    their end. Raises KubeError.
    """
    saved = workloads.get(BACKUP_JOB)
    if saved is None or not saved.restore or saved.kind != "Job" or RESTORE_JOB in workloads:
        return None
    selector = f"{DEPLOYMENT_LABEL}={site.name},{PART_LABEL} in ({','.join(_WITH_DATABASE)})"
    pods = await kube.list("Pod", namespace=site.namespace, selector=selector)
    running = {
        labels_of(pod).get(PART_LABEL, "")
        for pod in pods
        if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
    }
    return tuple(sorted(running))
