"""Redis inside the platform, for evaluation: one server that keeps its data on a volume."""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release

from .common import Manifest, Site
from .connections import from_secret
from .connections import redis as redis_server
from .containers import TMP, User, amounts, container, mount, port, scratch, tcp_probe
from .pods import Pod, service, service_account, service_port, stateful_set

_REDIS = User(999, 999)
_CONFIG = f"{TMP}/redis.conf"
# The text is constant and the password stays in the environment: no value is ever a word of the shell, and none stands
# in the process list. Queues must never be evicted, so a full memory refuses writes instead.
_START = (
    'set -eu; umask 077; printf "requirepass %s\\n" "$REDIS_PASSWORD" > '
    + _CONFIG
    + "; exec redis-server "
    + _CONFIG
    + " --dir /data --appendonly yes --maxmemory 768mb --maxmemory-policy noeviction"
)


def redis(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The server of sessions, queues and the LiveKit bus, with its volume."""
    spec = site.spec.redis
    if plan.part("redis") is None or spec.embedded is None:
        return []
    password = redis_server(site).password
    main = container(
        "redis",
        release.images["redis"],
        command=["/bin/sh", "-c", _START],
        env=[from_secret("REDIS_PASSWORD", password)] if password else [],
        ports=[port("redis", 6379)],
        startupProbe=tcp_probe("redis", period=2, failures=60),
        livenessProbe=tcp_probe("redis", period=15, failures=4),
        readinessProbe=tcp_probe("redis", period=5, failures=3),
        resources=amounts({"cpu": "100m", "memory": "128Mi"}, {"memory": "1Gi"}),
        volumeMounts=[mount("data", "/data"), mount("tmp", TMP)],
    )
    pod = Pod("redis", _REDIS, 30, (main,), volumes=(scratch("tmp", "16Mi"),))
    return [
        service_account(site, "redis"),
        service(site, "redis", service_port("redis", 6379)),
        stateful_set(site, pod, spec.embedded.storage),
    ]
