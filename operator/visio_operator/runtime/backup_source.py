"""What saves the database before an upgrade: the user's own CronJob, or CloudNativePG; and how its Jobs fare."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visio_operator.plan.backups import BackupSource
from visio_operator.plan.steps import BACKUP_JOB, RESTORE_JOB
from visio_operator.workloads.common import Site

from .kube import Kube
from .projections import PART_LABEL, condition, labels_of

_JOB_NAME = "batch.kubernetes.io/job-name"
"""Label that Kubernetes gives to the pods of a Job."""


async def backup_source(kube: Kube, site: Site) -> BackupSource | None:
    """What `spec.upgrade.backup` names, as it is there now; None where it names nothing. Raises KubeError."""
    ways = site.spec.upgrade.backup
    if ways is None or ways.none is not None:
        return None
    if ways.cron_job is None:
        return BackupSource(await kube.serves("Backup"))
    found = await kube.get("CronJob", ways.cron_job, site.namespace)
    template = ((found or {}).get("spec") or {}).get("jobTemplate") or {}
    return BackupSource(found is not None, template.get("spec") or {})


async def pods_of_templates(
    kube: Kube, site: Site, mine: Mapping[tuple[str, str], Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Pods of the Jobs that save or restore the database, until they are done: only they tell why one fails, and they
    have the labels of the user's template, not ours. Raises KubeError.
    """
    found: list[dict[str, Any]] = []
    for (kind, name), body in mine.items():
        of_template = kind == "Job" and labels_of(body).get(PART_LABEL) in (BACKUP_JOB, RESTORE_JOB)
        if of_template and condition(body, "Complete").get("status") != "True":
            found += await kube.list("Pod", namespace=site.namespace, selector=f"{_JOB_NAME}={name}")
    return found
