"""During an upgrade each part is rendered from the release that it has reached, and the Jobs of a rung come with it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rendered import named

from builders import a_deployment, healthy_plan
from visio_operator.plan.plan import Release, UpgradeJob, UpgradePlan
from visio_operator.workloads.common import PREVIOUS, RELEASE
from visio_operator.workloads.render import render

OLD, NEW = "1.26.0", "1.27.0"


def _releases(**images: str) -> tuple[Release, Release]:
    old = healthy_plan(a_deployment().having(version=OLD).site()).release
    new = healthy_plan(a_deployment().having(version=NEW).site()).release
    assert old is not None
    assert new is not None
    return old, replace(new, images={**new.images, **images})


def _rendered(part: str, builder: Any = None, images: dict[str, str] | None = None, **job: Any) -> tuple[Any, ...]:
    builder = builder or a_deployment()
    old, new = _releases(**(images or {}))
    site = builder.having(version=OLD).site()
    upgrade = UpgradePlan(OLD, NEW, (NEW,), NEW, "check", job=UpgradeJob(part, new, OLD, **job))
    return render(site, replace(healthy_plan(site), release=old, upgrade=upgrade))


def test_a_part_that_was_reached_runs_the_newer_release_and_all_others_the_older_one() -> None:
    old, new = _releases()
    site = a_deployment().having(version=OLD).site()
    manifests = render(site, replace(healthy_plan(site), release=old, part_releases={"backend": new}))
    said = {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["metadata"]["annotations"][RELEASE]
        for one in manifests
        if one["kind"] in ("Deployment", "StatefulSet")
    }
    assert said.pop("backend") == NEW
    assert set(said.values()) == {OLD}
    image = named(manifests, "Deployment", f"{site.name}-backend")["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == new.images["backend"]


def test_the_release_is_not_written_on_pods_since_they_would_restart_for_it() -> None:
    site = a_deployment().site()
    for one in render(site, healthy_plan(site)):
        template = one.get("spec", {}).get("template", {})
        assert RELEASE not in template.get("metadata", {}).get("annotations", {})


def test_the_check_needs_every_changed_image_and_runs_the_new_settings_and_the_plan_of_the_migrations() -> None:
    job = named(
        _rendered("upgrade-check", images={"livekit": "docker.io/livekit/livekit-server:v9.9.9"}),
        "Job",
        _name("upgrade-check"),
    )
    spec = job["spec"]["template"]["spec"]
    images = {one["name"]: one["image"] for one in spec["initContainers"]}
    assert images["image-livekit"] == "docker.io/livekit/livekit-server:v9.9.9"
    assert images["image-frontend"].endswith(f":v{NEW}")
    assert "image-redis" not in images, "it does not change"
    assert spec["containers"][0]["args"] == ["python", "manage.py", "migrate", "--plan"]
    assert job["metadata"]["annotations"] == {RELEASE: NEW, PREVIOUS: OLD}
    assert all(one["terminationMessagePolicy"] == "FallbackToLogsOnError" for one in spec["initContainers"])


def test_duplicate_users_are_looked_for_only_where_the_release_asks_for_it() -> None:
    def users(**job: Any) -> bool:
        made = named(_rendered("upgrade-check", **job), "Job", _name("upgrade-check"))
        return any(one["name"] == "users" for one in made["spec"]["template"]["spec"]["initContainers"])

    assert not users()
    assert users(preconditions=("duplicateUsers",))


def test_a_backup_is_one_run_of_the_users_cron_job() -> None:
    template = {"backoffLimit": 1, "template": {"spec": {"containers": [{"name": "dump", "image": "pg"}]}}}
    builder = a_deployment().having(upgrade={"backup": {"cronJob": "dump"}})
    job = named(_rendered("upgrade-backup", builder, template=template), "Job", _name("upgrade-backup"))
    assert job["spec"] == template
    assert job["metadata"]["ownerReferences"]


def test_a_backup_of_cloudnativepg_names_the_cluster() -> None:
    builder = a_deployment().having(upgrade={"backup": {"cloudNativePG": {"cluster": "db"}}})
    backup = named(_rendered("upgrade-backup", builder), "Backup", _name("upgrade-backup"))
    assert backup["spec"] == {"cluster": {"name": "db"}}


def test_a_job_that_saved_the_database_stays_when_it_is_done_whatever_the_users_template_says() -> None:
    builder = a_deployment().having(upgrade={"backup": {"cronJob": "dump"}})
    template = {"ttlSecondsAfterFinished": 60, "backoffLimit": 3}
    job = named(_rendered("upgrade-backup", builder, template=template), "Job", _name("upgrade-backup"))
    assert job["spec"] == {"backoffLimit": 3}


def test_a_restore_is_one_run_of_the_users_cron_job_which_is_told_the_backup_and_its_time() -> None:
    own = [{"name": "PGHOST", "value": "db"}, {"name": "VISIO_BACKUP_JOB", "value": "none"}]
    pod = {
        "initContainers": [{"name": "fetch", "image": "s3"}],
        "containers": [{"name": "load", "image": "pg", "env": own}],
        "restartPolicy": "Never",
    }
    template = {"ttlSecondsAfterFinished": 60, "template": {"metadata": {"labels": {"a": "b"}}, "spec": pod}}
    told = {"template": template, "backup": "visio-upgrade-backup-1-27-0", "saved_at": 1_764_150_000.0}
    job = named(_rendered("upgrade-restore", **told), "Job", _name("upgrade-restore"))
    assert job["spec"].keys() == {"backoffLimit", "template"}
    assert job["spec"]["backoffLimit"] == 0, "half a restore is not tried again by itself"
    assert job["spec"]["template"]["metadata"] == {"labels": {"a": "b"}}
    known = [
        {"name": "VISIO_BACKUP_JOB", "value": "visio-upgrade-backup-1-27-0"},
        {"name": "VISIO_BACKUP_TIME", "value": "2025-11-26T09:40:00Z"},
        {"name": "VISIO_RELEASE", "value": OLD},
    ]
    made = job["spec"]["template"]["spec"]
    assert made["initContainers"] == [{"name": "fetch", "image": "s3", "env": known}]
    assert made["containers"] == [{"name": "load", "image": "pg", "env": [*known, own[0]]}]
    assert made["restartPolicy"] == "Never"
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "upgrade-restore"
    twice = _rendered("upgrade-restore", **{**told, "template": {**template, "backoffLimit": 2}})
    assert named(twice, "Job", _name("upgrade-restore"))["spec"]["backoffLimit"] == 2


def test_a_cluster_that_recovers_is_a_copy_that_stops_at_the_backup_and_has_an_archive_of_its_own() -> None:
    spec = {
        "instances": 3,
        "storage": {"size": "20Gi"},
        "bootstrap": {
            "initdb": {"database": "meet", "owner": "meet", "secret": {"name": "db-app"}, "encoding": "UTF8"}
        },
        "externalClusters": [{"name": "elsewhere"}],
        "replica": {"enabled": False},
        "backup": {"barmanObjectStore": {"destinationPath": "s3://saves", "serverName": "db"}},
        "plugins": [{"name": "barman", "parameters": {"barmanObjectName": "store", "serverName": "db"}}],
    }
    made = _rendered(
        "upgrade-restore", template=spec, backup="visio-upgrade-backup-1-27-0", cluster="db-restored-1-27-0"
    )
    cluster = named(made, "Cluster", "db-restored-1-27-0")
    assert cluster["apiVersion"] == "postgresql.cnpg.io/v1"
    assert cluster["spec"] == {
        "instances": 3,
        "storage": {"size": "20Gi"},
        "backup": {"barmanObjectStore": {"destinationPath": "s3://saves"}},
        "plugins": [{"name": "barman", "parameters": {"barmanObjectName": "store"}}],
        "bootstrap": {
            "recovery": {
                "backup": {"name": "visio-upgrade-backup-1-27-0"},
                "recoveryTarget": {"targetImmediate": True},
                "database": "meet",
                "owner": "meet",
                "secret": {"name": "db-app"},
            }
        },
    }
    assert "ownerReferences" not in cluster["metadata"], "a database must not go with the VisioDeployment"


def test_a_part_that_stands_still_has_no_pods_and_its_cron_jobs_are_suspended() -> None:
    site = a_deployment().having(api={"min": 2, "max": 6}).site()
    plan = healthy_plan(site)
    still = {
        part: replace(plan.parts[part], replicas=0, stopped="is stopped") for part in ("backend", "clean-pending-files")
    }
    manifests = render(site, replace(plan, parts={**plan.parts, **still}))
    assert named(manifests, "Deployment", f"{site.name}-backend")["spec"]["replicas"] == 0
    assert named(manifests, "CronJob", f"{site.name}-clean-pending-files")["spec"]["suspend"] is True
    running = render(site, plan)
    assert "replicas" not in named(running, "Deployment", f"{site.name}-backend")["spec"], "an autoscaler has it"
    assert "suspend" not in named(running, "CronJob", f"{site.name}-clean-pending-files")["spec"]


def test_the_verification_stays_until_the_next_rung_and_takes_the_smoke_tests_way_through_the_firewall() -> None:
    job = named(_rendered("upgrade-verify"), "Job", _name("upgrade-verify"))
    assert "ttlSecondsAfterFinished" not in job["spec"]
    assert job["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/component"] == "smoke"
    assert job["metadata"]["labels"]["app.kubernetes.io/component"] == "upgrade-verify"


@pytest.mark.parametrize("part", ["upgrade-check", "upgrade-verify"])
def test_no_secret_is_among_the_arguments_of_a_job(part: str) -> None:
    spec = named(_rendered(part), "Job", _name(part))["spec"]["template"]["spec"]
    for one in (*spec.get("initContainers", ()), *spec["containers"]):
        assert not any("SECRET" in str(word).upper() for word in one.get("args", ()))


def _name(part: str) -> str:
    return f"{a_deployment().site().name}-{part}-{NEW.replace('.', '-')}"


def test_pages_that_are_open_find_the_scripts_of_earlier_releases_beside_the_newest() -> None:
    site = a_deployment().site()
    plan = healthy_plan(site)
    alone = named(render(site, plan), "Deployment", f"{site.name}-frontend")["spec"]["template"]["spec"]
    assert "initContainers" not in alone
    older = ("docker.io/lasuite/meet-frontend:v1.26.0", "docker.io/lasuite/meet-frontend:v1.25.0")
    spec = named(render(site, replace(plan, older_pages=older)), "Deployment", f"{site.name}-frontend")["spec"]
    pod = spec["template"]["spec"]
    assert [one["image"] for one in pod["initContainers"]] == [pod["containers"][0]["image"], *older]
    assert any(one["mountPath"] == "/usr/share/nginx/html/assets" for one in pod["containers"][0]["volumeMounts"])
