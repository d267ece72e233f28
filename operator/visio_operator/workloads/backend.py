"""The API and what runs on its image: server, Celery worker, migration, first administrator, regular cleaning."""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release

from .autoscalers import autoscaler, left_to_autoscaler
from .backend_env import backend_env, base_env
from .common import Manifest, Site, env
from .connections import SecretKey, from_secret
from .containers import TMP, VISIO, amounts, container, http_probe, linger, mount, port, scratch
from .pods import (
    Pod,
    cron_job,
    deployment,
    disruption_budget,
    job,
    service,
    service_account,
    service_port,
)
from .secret_files import as_files

CRON_JOBS = {
    "clean-pending-files": ("30 0 * * *", "clean_pending_files"),
    "purge-deleted-files": ("45 0 * * *", "purge_deleted_files"),
}
"""Schedule in UTC and management command (facts/visio.md 1)."""

_CREATE_SUPERUSER = (
    "import os; from django.core.management import call_command; "
    "call_command('createsuperuser', email=os.environ['DJANGO_SUPERUSER_EMAIL'],"
    " password=os.environ['DJANGO_SUPERUSER_PASSWORD'])"
)
"""Called inside Python: as an option the password would stand in the process list."""


def backend(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The API server."""
    part = plan.part("backend")
    if part is None:
        return []
    variables, volumes, mounts = as_files(backend_env(site, release))
    live, ready = (
        release.settings.get("backendLivenessPath", "/__lbheartbeat__"),
        release.settings.get("backendReadinessPath", "/__heartbeat__"),
    )
    main = container(
        "backend",
        release.images["backend"],
        args=["gunicorn", "-c", "/usr/local/etc/gunicorn/meet.py", "meet.wsgi:application"],
        env=variables,
        ports=[port("http", 8000)],
        startupProbe=http_probe(live, "http", period=5, failures=36),
        livenessProbe=http_probe(live, "http", period=15, failures=4),
        # It asks PostgreSQL and Redis: a pod without them gets no requests, and is not restarted for it.
        readinessProbe=http_probe(ready, "http", period=10, failures=3),
        lifecycle=linger(5),
        resources=amounts({"cpu": "250m", "memory": "600Mi"}, {"memory": "1Gi"}),
        volumeMounts=[mount("tmp", TMP), *mounts],
    )
    # gunicorn finishes its requests for up to 90 s.
    pod = Pod("backend", VISIO, 100, (main,), volumes=(scratch("tmp", "1Gi"), *volumes))
    return [
        service_account(site, "backend"),
        service(site, "backend", service_port("http", 80)),
        left_to_autoscaler(site, deployment(site, pod, part.replicas), "backend"),
        *autoscaler(site, "backend"),
        disruption_budget(site, "backend"),
    ]


def celery_backend(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The worker of the API's own queue.

    It has no probe: during a task it answers nothing, and it ends when it fails.
    """
    part = plan.part("celery-backend")
    if part is None:
        return []
    queue = release.settings.get("backendQueue", "meet-backend")
    variables, volumes, mounts = as_files(backend_env(site, release))
    main = container(
        "celery-backend",
        release.images["backend"],
        args=["celery", "-A", "meet.celery_app", "worker", "--pool=solo", "--loglevel=info", "-Q", queue],
        env=variables,
        resources=amounts({"cpu": "50m", "memory": "256Mi"}, {"memory": "1Gi"}),
        volumeMounts=[mount("tmp", TMP), *mounts],
    )
    pod = Pod("celery-backend", VISIO, 100, (main,), volumes=(scratch("tmp", "1Gi"), *volumes), overrides_of="backend")
    return [service_account(site, "celery-backend"), deployment(site, pod, part.replicas)]


def migrate(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The migration of the database to the release.

    Its environment is only what Django needs to reach the database, so that a setting changed elsewhere does not run
    it again.
    """
    if plan.part("migrate") is None:
        return []
    main, volumes = management("migrate", release, base_env(site, release), ["migrate", "--no-input"])
    pod = Pod("migrate", VISIO, 100, (main,), volumes=volumes, overrides_of="backend")
    return [service_account(site, "migrate"), job(site, pod, version=release.version)]


def superuser(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The first administrator. The command creates or promotes the account, and sets its password again."""
    asked = site.spec.superuser
    if plan.part("superuser") is None or asked is None:
        return []
    variables = [
        *base_env(site, release),
        *env({"DJANGO_SUPERUSER_EMAIL": asked.email}),
        from_secret("DJANGO_SUPERUSER_PASSWORD", SecretKey(asked.secret_ref.name, asked.secret_ref.key or "password")),
    ]
    main, volumes = management("superuser", release, variables, ["shell", "-c", _CREATE_SUPERUSER])
    pod = Pod("superuser", VISIO, 30, (main,), volumes=volumes, overrides_of="backend")
    return [service_account(site, "superuser"), job(site, pod)]


def cron_jobs(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """Removal of files that were never finished, and of those that were deleted long enough ago."""
    manifests: list[Manifest] = []
    for part, (schedule, command) in CRON_JOBS.items():
        planned = plan.part(part)
        if planned is None:
            continue
        main, volumes = management(part, release, base_env(site, release), [command])
        pod = Pod(part, VISIO, 100, (main,), volumes=volumes, overrides_of="backend")
        manifests += [service_account(site, part), cron_job(site, pod, schedule, suspended=bool(planned.stopped))]
    return manifests


def management(
    name: str, release: Release, variables: list[Manifest], command: list[str]
) -> tuple[Manifest, tuple[Manifest, ...]]:
    """The container of one of Django's management commands, and the volumes of its pod."""
    by_file, volumes, mounts = as_files(variables)
    main = container(
        name,
        release.images["backend"],
        args=["python", "manage.py", *command],
        env=by_file,
        resources=amounts({"cpu": "100m", "memory": "256Mi"}, {"memory": "1Gi"}),
        volumeMounts=[mount("tmp", TMP), *mounts],
    )
    return main, (scratch("tmp", "1Gi"), *volumes)
