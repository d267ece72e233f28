"""PostgreSQL inside the platform, for evaluation: one server, no backup."""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release

from .common import Manifest, Site, env
from .connections import database, from_secret
from .containers import TMP, User, amounts, container, exec_probe, mount, port, scratch, tcp_probe
from .pods import Pod, service, service_account, service_port, stateful_set

_POSTGRES = User(999, 999)
_DATA = "/var/lib/postgresql"


def postgres(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The database server with its volume."""
    spec = site.spec.database
    if plan.part("postgres") is None or spec.embedded is None:
        return []
    password = database(site).password
    main = container(
        "postgres",
        release.images["postgres"],
        env=[
            # A folder of its own inside the volume, whose root may hold lost+found.
            *env({"PGDATA": f"{_DATA}/pgdata", "POSTGRES_USER": spec.user, "POSTGRES_DB": spec.name}),
            *([from_secret("POSTGRES_PASSWORD", password)] if password else []),
        ],
        ports=[port("postgres", 5432)],
        startupProbe=tcp_probe("postgres", period=2, failures=150),
        livenessProbe=tcp_probe("postgres", period=15, failures=6),
        readinessProbe=exec_probe(["pg_isready", "--quiet", "--host=127.0.0.1"], period=5, failures=3),
        resources=amounts({"cpu": "100m", "memory": "256Mi"}, {"memory": "1Gi"}),
        volumeMounts=[mount("data", _DATA), mount("run", "/var/run/postgresql"), mount("tmp", TMP)],
    )
    # SIGINT of the image's STOPSIGNAL is a fast shutdown: sessions end, the last checkpoint is written.
    pod = Pod("postgres", _POSTGRES, 60, (main,), volumes=(scratch("run", "16Mi"), scratch("tmp", "256Mi")))
    return [
        service_account(site, "postgres"),
        service(site, "postgres", service_port("postgres", 5432)),
        stateful_set(site, pod, spec.embedded.storage),
    ]
