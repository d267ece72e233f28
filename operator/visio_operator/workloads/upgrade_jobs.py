"""The Jobs of a rung: what is checked before anything changes, what saves the database, what verifies the outcome,
what restores the database.

Each has one name for each release, so that it is made once, and says in annotations which step of the ladder it is of.
"""

from __future__ import annotations

from visio_operator.plan.order import GPU_PARTS, IMAGE_KEYS
from visio_operator.plan.plan import Plan, Release, UpgradeJob
from visio_operator.plan.steps import BACKUP_JOB, CHECK_JOB, RESTORE_JOB, VERIFY_JOB

from .backend import management
from .backend_env import backend_env
from .common import PREVIOUS, RELEASE, Manifest, Site, env, labels, metadata, object_name
from .containers import TMP, VISIO, amounts, container, mount
from .pods import Pod, job
from .preflight import database_env
from .restore import kept_when_done, restore_job, restored_cluster
from .smoke import smoke

_VERIFY_S = 240
_VERIFIED = ("web", "api", "join")
"""Checks of the smoke test that need no GPU, no recording and nobody's mail."""
_LAST_LINES = {"terminationMessagePolicy": "FallbackToLogsOnError"}


def upgrade_jobs(site: Site, plan: Plan) -> list[Manifest]:
    """The Job of the step that is under way, if it needs one."""
    upgrade = plan.upgrade
    if upgrade is None or upgrade.job is None or plan.release is None:
        return []
    asked = upgrade.job
    if asked.cluster:
        return [restored_cluster(site, asked)]
    makers = {CHECK_JOB: _check, BACKUP_JOB: _backup, VERIFY_JOB: _verify, RESTORE_JOB: _restore}
    made = makers[asked.part](site, plan, asked)
    meta = metadata(site, asked.part, object_name(site, f"{asked.part}-{asked.release.version.replace('.', '-')}"))
    # Its pods may carry the labels of another part, whose way through the firewall they take.
    annotations = {RELEASE: asked.release.version, PREVIOUS: asked.running}
    return [{**made, "metadata": {**meta, "labels": labels(site, asked.part), "annotations": annotations}}]


def _check(site: Site, plan: Plan, asked: UpgradeJob) -> Manifest:
    """Whether the new images are there, the API's settings hold with the new one, and its migrations can be planned.

    It has the label of the migrations, whose way to the database it needs.
    """
    release = asked.release
    settings, volumes = management("settings", release, backend_env(site, release), ["check"])
    migrations, _ = management("check", release, backend_env(site, release), ["migrate", "--plan"])
    users = [_users(site, release)] if "duplicateUsers" in asked.preconditions else []
    first = [*(_pulled(key, release.images[key]) for key in _changed(plan, release)), *users, settings]
    pod = Pod(
        "migrate",
        VISIO,
        30,
        ({**migrations, **_LAST_LINES},),
        init=tuple({**one, **_LAST_LINES} for one in first),
        volumes=volumes,
        overrides_of="backend",
    )
    made = job(site, pod, retries=1)
    return {**made, "spec": {**made["spec"], "activeDeadlineSeconds": 1800}}


def _changed(plan: Plan, release: Release) -> list[str]:
    """The images that this rung replaces, those of the API left out, since they are run; and those for GPUs, which are
    large and whose nodes may not be there."""
    keys = {key for part in plan.parts if part not in GPU_PARTS for key in IMAGE_KEYS[part]}
    before = plan.release.images if plan.release is not None else {}
    return sorted(key for key in keys - {"backend", "operator"} if before.get(key) != release.images[key])


def _pulled(key: str, image: str) -> Manifest:
    """A container that does nothing but need its image."""
    return container(
        f"image-{key}",
        image,
        command=["/bin/true"],
        resources=amounts({"cpu": "10m", "memory": "16Mi"}, {"memory": "64Mi"}),
    )


def _users(site: Site, release: Release) -> Manifest:
    return container(
        "users",
        release.images["operator"],
        args=["checks", "connections"],
        env=[*env({"CHECKS": "users"}), *database_env(site)],
        resources=amounts({"cpu": "50m", "memory": "96Mi"}, {"memory": "256Mi"}),
        volumeMounts=[mount("tmp", TMP)],
    )


def _backup(site: Site, plan: Plan, asked: UpgradeJob) -> Manifest:
    """One run of the user's own CronJob, or a Backup of CloudNativePG."""
    ways = site.spec.upgrade.backup
    if ways is not None and ways.cloud_native_pg is not None:
        cluster = {"name": ways.cloud_native_pg.cluster}
        return {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Backup", "spec": {"cluster": cluster}}
    return {"apiVersion": "batch/v1", "kind": "Job", "spec": kept_when_done(asked.template)}


def _restore(site: Site, plan: Plan, asked: UpgradeJob) -> Manifest:
    return restore_job(asked)


def _verify(site: Site, plan: Plan, asked: UpgradeJob) -> Manifest:
    """A part of the smoke test; its pods are those of the smoke test, whose way through the firewall stands already."""
    made = smoke(site, asked.release, "", seconds=_VERIFY_S, only=_VERIFIED)
    spec = {key: value for key, value in made["spec"].items() if key != "ttlSecondsAfterFinished"}
    return {**made, "spec": {**spec, "backoffLimit": 2}}
