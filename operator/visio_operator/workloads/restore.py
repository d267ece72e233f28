"""What restores the database: one run of the user's own CronJob, or a Cluster of CloudNativePG that recovers."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from visio_operator.plan.plan import UpgradeJob

from .common import PREVIOUS, RELEASE, Manifest, Site, env, metadata

BACKUP_JOB_VARIABLE = "VISIO_BACKUP_JOB"
"""The name of the Job that saved the database; its pod finds it in its label `batch.kubernetes.io/job-name`."""
BACKUP_TIME_VARIABLE = "VISIO_BACKUP_TIME"
"""When that Job began, as in the Kubernetes API."""
RELEASE_VARIABLE = "VISIO_RELEASE"
"""The release to which the database comes back."""
_ABOUT_BOOT = ("database", "owner", "secret")
"""What a Cluster's way of starting says of the application's database; recovery needs it again."""
_LEFT_OUT = frozenset({"bootstrap", "externalClusters", "replica"})
"""How the old Cluster began and whom it followed; the copy begins with the backup and follows nobody."""


def kept_when_done(template: Mapping[str, Any]) -> Manifest:
    """The spec of a Job of a rung from the user's template: it stays when it is done, since it tells that it was."""
    return {key: value for key, value in template.items() if key != "ttlSecondsAfterFinished"}


def restore_job(asked: UpgradeJob) -> Manifest:
    """One run of the user's CronJob, which is told in its environment what to restore. Unless its template says how
    often, a pod that fails is not tried again: nobody knows what half a restore has left.
    """
    told = {
        BACKUP_JOB_VARIABLE: asked.backup,
        BACKUP_TIME_VARIABLE: datetime.fromtimestamp(asked.saved_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        RELEASE_VARIABLE: asked.running,
    }
    spec = {"backoffLimit": 0, **kept_when_done(asked.template)}
    template = spec.get("template") or {}
    pod = dict(template.get("spec") or {})
    for group in ("initContainers", "containers"):
        if pod.get(group):
            pod[group] = [_told(one, told) for one in pod[group]]
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": {**spec, "template": {**template, "spec": pod}}}


def _told(container: Mapping[str, Any], told: Mapping[str, str]) -> Manifest:
    own = [variable for variable in container.get("env") or () if variable.get("name") not in told]
    # First, so that the user's own variables may refer to them.
    return {**container, "env": [*env(told), *own]}


def restored_cluster(site: Site, asked: UpgradeJob) -> Manifest:
    """A copy of the Cluster that recovers the backup and nothing of what came after it.

    Without a target it would go on to the end of the archive, the migration included; and under the old server name it
    would find an archive that is not empty, and refuse to write to it (CloudNativePG's documentation, "Recovery"). It
    belongs to no VisioDeployment: it is a database, and nothing of ours ever deletes it.
    """
    spec = asked.template
    before: Mapping[str, Any] = next(iter((spec.get("bootstrap") or {}).values()), {})
    recovery = {
        "backup": {"name": asked.backup},
        "recoveryTarget": {"targetImmediate": True},
        **{key: before[key] for key in _ABOUT_BOOT if key in before},
    }
    kept = {key: _own_archive(value) for key, value in spec.items() if key not in _LEFT_OUT}
    meta = metadata(site, asked.part, asked.cluster, owned=False)
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {**meta, "annotations": {RELEASE: asked.running, PREVIOUS: asked.release.version}},
        "spec": {**kept, "bootstrap": {"recovery": recovery}},
    }


def _own_archive(value: Any) -> Any:
    """The same without a name for the archive's server; its default is the name of the Cluster."""
    if isinstance(value, Mapping):
        return {key: _own_archive(inner) for key, inner in value.items() if key != "serverName"}
    return [_own_archive(inner) for inner in value] if isinstance(value, list) else value
