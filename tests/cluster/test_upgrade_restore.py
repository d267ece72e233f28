"""A rung that fails before and after its migrations holds while the older release serves; its backup is restored on
approval alone, once, and everything runs the older release again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import live
from visio_lab.operator_process import USER
from visio_lab.stages import BROKEN
from visio_operator.cli import main

OLD, NEW = "1.24.0", "1.25.0"
"""A rung with a migration of the schema."""
WRITERS = ("visio-backend", "visio-celery-backend")
IMAGE = "docker.io/library/postgres:17"
CNPG = "postgresql.cnpg.io"


def _cron_job(namespace: str, name: str, image: str) -> dict[str, Any]:
    """A CronJob of a user's, which is only ever run by the operator."""
    secure = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    pod = {
        "restartPolicy": "Never",
        "securityContext": {"runAsNonRoot": True, "runAsUser": 999, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": name, "image": image, "securityContext": secure}],
    }
    spec = {"backoffLimit": 0, "ttlSecondsAfterFinished": 1, "template": {"spec": pod}}
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"schedule": "0 3 * * *", "suspend": True, "jobTemplate": {"spec": spec}},
    }


@pytest.fixture
def platform(lab, operator, namespace) -> str:
    """A deployment of the older release on a database of its own, Ready; its dumps fail and so do its restores."""

    def change(spec: dict[str, Any]) -> None:
        secret = {"secretRef": {"name": "visio-database"}}
        spec["version"], spec["api"] = OLD, {"min": 2, "max": 4}
        spec["database"] = {"host": "db.example.gouv.fr", **secret}
        spec["upgrade"] = {"soak": "0s", "backup": {"cronJob": "dump"}}

    password = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "visio-database", "namespace": namespace}}
    jobs = [_cron_job(namespace, name, f"{BROKEN}postgres:17") for name in ("dump", "load")]
    live.apply(lab, [{**password, "stringData": {"password": "replace-me"}}, *jobs])
    live.apply(lab, live.deployment("minimal.yaml", namespace, change=change))
    live.wait_ready(lab, namespace)
    return namespace


@pytest.fixture
def broken_migrations(lab) -> Iterator[Any]:
    """Gives the release an image of the API with which every Job fails, and takes it away again."""
    body = {
        "apiVersion": "visio-operator.dev/v1alpha1",
        "kind": "VisioRelease",
        "metadata": {"name": NEW},
        "spec": {"version": NEW, "images": {"backend": f"{BROKEN}lasuite/meet-backend:v{NEW}"}},
    }
    yield lambda: live.apply(lab, [body])
    lab.kubectl("delete", "visiorelease", NEW, check=False)


def _patch(lab: Any, namespace: str, spec: dict[str, Any]) -> None:
    patch = json.dumps({"spec": spec})
    lab.kubectl("patch", "vd", "visio", "--namespace", namespace, "--type=merge", "-p", patch)


def _held(lab: Any, namespace: str, reason: str, text: str = "") -> dict[str, Any]:
    found = live.condition(lab, namespace, "UpgradeHeld")
    return found if found.get("reason") == reason and text in found.get("message", "") else {}


def _until_held(lab: Any, namespace: str, reason: str, text: str = "", timeout: float = 60) -> str:
    def shown() -> Any:
        return (live.get(lab, "vd", "visio", namespace) or {}).get("status", {}).get("trace", [])[:2]

    held = live.eventually(reason, lambda: _held(lab, namespace, reason, text), timeout, shown=shown)
    return str(held["message"])


def _jobs_made(lab: Any, since: float, namespace: str, part: str) -> list[str]:
    """Names of the Jobs of a part that the operator made, from the audit log."""
    return [
        entry["objectRef"]["name"]
        for entry in live.writes(lab, since, USER)
        if entry["objectRef"].get("resource") == "jobs"
        and entry["objectRef"].get("namespace") == namespace
        and entry["responseStatus"]["code"] == 201
        and entry["objectRef"]["name"].startswith(f"visio-{part}-")
    ]


def _serving(lab: Any, namespace: str) -> dict[str, Any]:
    """What runs for people, by generation, and that all of it is ready."""
    assert live.condition(lab, namespace, "Ready")["status"] == "True"
    return {
        name: item["metadata"]["generation"]
        for (kind, name), item in live.owned(lab, namespace).items()
        if kind in ("Deployment", "StatefulSet")
    }


def _replicas(lab: Any, namespace: str, name: str) -> int:
    return int((live.get(lab, "deployment", name, namespace) or {})["spec"]["replicas"])


def _uid(lab: Any, namespace: str, job: str) -> str:
    return str((live.get(lab, "job", job, namespace) or {"metadata": {}})["metadata"].get("uid", ""))


def _approve(lab: Any, namespace: str, digest: str) -> int:
    arguments = ["--namespace", namespace, "--kubeconfig", str(lab.kubeconfig), "--digest", digest]
    return main(["approve", "visio", "-o", "json", *arguments])


def test_a_failed_backup_and_a_failed_migration_hold_and_an_approved_restore_brings_the_older_release_back(
    lab, operator, restart_operator, platform, broken_migrations, capsys
) -> None:
    since, before = time.time(), _serving(lab, platform)
    pods = {pod["metadata"]["uid"] for pod in live.items(lab, "pods", platform, "app.kubernetes.io/component=sfu")}

    # The backup fails: held before anything was changed.
    _patch(lab, platform, {"version": NEW})
    message = _until_held(lab, platform, "BackupFailed")
    assert "broken by the laboratory" in message
    assert f"delete the Job visio-upgrade-backup-{NEW.replace('.', '-')} to try again" in message
    assert _serving(lab, platform) == before
    assert _jobs_made(lab, since, platform, "migrate") == []

    # It is mended, and now the migration fails: held, the older release goes on.
    broken_migrations()
    live.apply(lab, [_cron_job(platform, "dump", IMAGE)])
    backup = f"visio-upgrade-backup-{NEW.replace('.', '-')}"
    lab.kubectl("delete", "job", backup, "--namespace", platform)
    message = _until_held(lab, platform, "MigrationFailed", timeout=150)
    assert "broken by the laboratory" in message
    assert "name a CronJob in spec.upgrade.backup.restoreCronJob" in message
    assert _serving(lab, platform) == before
    assert live.get(lab, "job", backup, platform) is not None, "it stays, whatever ttlSecondsAfterFinished says"

    # The restore is offered, and nothing of it happens without approval of just this offer.
    _patch(lab, platform, {"upgrade": {"backup": {"restoreCronJob": "load"}}})
    _until_held(lab, platform, "MigrationFailed", f"or restore the backup {backup} of")
    offer = live.get(lab, "vd", "visio", platform)["status"]["plan"]["restore"]
    assert (offer["backup"], offer["by"]) == (backup, "CronJob load")
    assert {"backend", "celery-backend"} <= set(offer["stops"])
    assert _approve(lab, platform, "000000000000") == 1
    assert "is stale, nothing is approved" in capsys.readouterr().err
    time.sleep(3)
    assert _serving(lab, platform) == before

    # Approved, and it fails: what writes to the database stays stopped, calls go on. The operator dies on the way.
    assert _approve(lab, platform, offer["digest"]) == 0
    operator.kill()
    operator = restart_operator()
    message = _until_held(lab, platform, "RestoreFailed", timeout=120)
    assert "the database may hold a part of the backup only" in message
    assert {_replicas(lab, platform, name) for name in WRITERS} == {0}
    suspended = [
        job["spec"]["suspend"] for job in live.items(lab, "cronjobs", platform, "visio-operator.dev/deployment")
    ]
    assert suspended
    assert all(suspended)
    assert "backend is stopped" in live.condition(lab, platform, "Ready")["message"]
    restore = f"visio-upgrade-restore-{NEW.replace('.', '-')}"
    told = live.get(lab, "job", restore, platform)["spec"]["template"]["spec"]["containers"][0]["env"]
    assert {one["name"]: one["value"] for one in told}["VISIO_BACKUP_JOB"] == backup

    # Mended, it runs once more, and everything runs the older release again.
    live.apply(lab, [_cron_job(platform, "load", IMAGE)])
    failed = _uid(lab, platform, restore)
    lab.kubectl("delete", "job", restore, "--namespace", platform)
    live.eventually("the Job again", lambda: _uid(lab, platform, restore) not in ("", failed), 60)
    operator.kill()
    restart_operator()
    message = _until_held(lab, platform, "RolledBack", timeout=120)
    assert f"everything runs {OLD} again" in message
    live.wait_ready(lab, platform)
    status = live.get(lab, "vd", "visio", platform)["status"]
    assert status["version"] == OLD
    assert status["upgrade"]["approvedRestore"] == offer["digest"]
    assert _replicas(lab, platform, "visio-backend") == 2
    assert {
        pod["metadata"]["uid"] for pod in live.items(lab, "pods", platform, "app.kubernetes.io/component=sfu")
    } == pods
    migrated = [name for name in _jobs_made(lab, since, platform, "migrate") if NEW.replace(".", "-") in name]
    assert len(migrated) == 1
    assert _jobs_made(lab, since, platform, "upgrade-restore") == [restore, restore], "each once"

    # And nothing goes on by itself, once the last pods are told as ready.
    def written(seconds: float) -> list[tuple[str, str, str]]:
        return live.changes(lab, platform, time.time() - seconds, USER)

    live.eventually("eight seconds without a write", lambda: not written(8), 40, shown=lambda: written(20))


def _definition(kind: str) -> dict[str, Any]:
    """What the API server has to know of a kind of CloudNativePG; the test plays the rest."""
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{CNPG}"},
        "spec": {
            "group": CNPG,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"},
            "versions": [{**version, "subresources": {"status": {}}}],
        },
    }


@pytest.fixture
def cloudnativepg(lab, namespace) -> Iterator[None]:
    """The kinds of CloudNativePG, and a Cluster."""
    definitions = [_definition(kind) for kind in ("Backup", "Cluster")]
    live.apply(lab, definitions)
    names = [f"crd/{one['metadata']['name']}" for one in definitions]
    lab.kubectl("wait", "--for=condition=Established", *names, "--timeout=30s")
    initdb = {"database": "meet", "owner": "meet"}
    spec = {"instances": 3, "storage": {"size": "20Gi"}, "bootstrap": {"initdb": initdb}}
    meta = {"name": "db", "namespace": namespace}
    live.apply(lab, [{"apiVersion": f"{CNPG}/v1", "kind": "Cluster", "metadata": meta, "spec": spec}])
    yield
    lab.kubectl("delete", *names, check=False)


def _play(lab: Any, namespace: str, kind: str, name: str, status: dict[str, Any]) -> None:
    patch = json.dumps({"status": status})
    place = ["--namespace", namespace, "--subresource=status", "--type=merge"]
    lab.kubectl("patch", f"{kind}.{CNPG}", name, *place, "-p", patch)


def test_a_backup_of_cloudnativepg_recovers_beside_the_old_cluster_which_stays(
    lab, cloudnativepg, operator, namespace, broken_migrations
) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["version"] = OLD
        spec["database"] = {"host": f"db-rw.{namespace}.svc", "secretRef": {"name": "db-app"}}
        spec["upgrade"] = {"soak": "0s", "backup": {"cloudNativePG": {"cluster": "db"}}}

    password = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "db-app", "namespace": namespace}}
    live.apply(lab, [{**password, "stringData": {"password": "replace-me"}}])
    live.apply(lab, live.deployment("minimal.yaml", namespace, change=change))
    live.wait_ready(lab, namespace)
    before = _serving(lab, namespace)
    _patch(lab, namespace, {"version": NEW})
    backup = f"visio-upgrade-backup-{NEW.replace('.', '-')}"
    live.eventually("a Backup", lambda: live.get(lab, f"backup.{CNPG}", backup, namespace), 120)
    broken_migrations()
    _play(lab, namespace, "backup", backup, {"phase": "completed", "stoppedAt": "2026-11-26T09:05:00Z"})
    message = _until_held(
        lab, namespace, "MigrationFailed", f"or restore the backup {backup} of 2026-11-26 09:05 UTC", 180
    )
    assert "all that was written since is lost" in message
    offer = live.get(lab, "vd", "visio", namespace)["status"]["plan"]["restore"]
    assert (offer["by"], offer.get("stops", [])) == ("Cluster db-restored-1-25-0", [])
    assert live.get(lab, f"cluster.{CNPG}", "db-restored-1-25-0", namespace) is None

    assert _approve(lab, namespace, offer["digest"]) == 0
    made = live.eventually(
        "the Cluster that recovers", lambda: live.get(lab, f"cluster.{CNPG}", "db-restored-1-25-0", namespace), 60
    )
    recovery = {
        "backup": {"name": backup},
        "recoveryTarget": {"targetImmediate": True},
        "database": "meet",
        "owner": "meet",
    }
    assert made["spec"]["bootstrap"] == {"recovery": recovery}
    assert made["spec"]["instances"] == 3
    assert "ownerReferences" not in made["metadata"]
    assert _serving(lab, namespace) == before, "nothing stops"
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "ClusterIsReady",
        "lastTransitionTime": "2026-11-26T10:00:00Z",
    }
    _play(lab, namespace, "cluster", "db-restored-1-25-0", {"conditions": [ready]})
    message = _until_held(lab, namespace, "RestoreReady")
    host = f"db-restored-1-25-0-rw.{namespace}.svc"
    assert f"set spec.database.host to {host} and the Secret beside it to db-restored-1-25-0-app" in message

    _patch(lab, namespace, {"database": {"host": host}})
    _until_held(lab, namespace, "RolledBack", f"everything runs {OLD} again")
    live.eventually(f"{OLD} runs", lambda: live.get(lab, "vd", "visio", namespace)["status"].get("version") == OLD, 90)
    live.wait_ready(lab, namespace)
    again = live.get(lab, f"cluster.{CNPG}", "db-restored-1-25-0", namespace)
    assert again["metadata"]["generation"] == made["metadata"]["generation"]
    lab.kubectl("delete", "vd", "visio", "--namespace", namespace, "--wait=true")
    clusters = {one["metadata"]["name"] for one in live.items(lab, f"clusters.{CNPG}", namespace)}
    assert clusters == {"db", "db-restored-1-25-0"}
