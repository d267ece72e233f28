"""Recorders: LiveKit egress, one room composite at a time each."""

from __future__ import annotations

from typing import Any

from visio_operator.api.fields import seconds
from visio_operator.plan.plan import Plan, Release

from .common import Expanded, Manifest, Site, config_text, env, env_composed
from .connections import livekit_keys, livekit_redis, livekit_url, redis_password
from .containers import TMP, User, amounts, container, http_probe, mount, port, scratch
from .pods import KEEP_SESSIONS, Pod, deployment, disruption_budget, service_account

DRAIN = 18_000
"""Seconds a recorder may take to finish what it records; Visio's own figure."""
HEALTH_PORT = 8080
METRICS_PORT = 6789
_EGRESS = User(1001, 0)
_HOME = "/home/egress"


def egress(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The recorders; LiveKit hands them work through Redis, so nothing connects to them."""
    part = plan.part("egress")
    if part is None:
        return []
    main = container(
        "egress",
        release.images["egress"],
        env=[
            *livekit_keys(site),
            *redis_password(site),
            *env(
                {
                    "LIVEKIT_WS_URL": livekit_url(site),
                    # PulseAudio insists on directories that its own user owns, and makes these itself.
                    "PULSE_RUNTIME_PATH": f"{TMP}/pulse",
                    "PULSE_STATE_PATH": f"{TMP}/pulse-state",
                    "XDG_RUNTIME_DIR": TMP,
                }
            ),
            env_composed("EGRESS_CONFIG_BODY", config_text(_config(site))),
        ],
        ports=[port("health", HEALTH_PORT), port("metrics", METRICS_PORT)],
        startupProbe=http_probe("/", "health", period=2, failures=60),
        livenessProbe=http_probe("/", "health", period=15, failures=8, timeout=10),
        readinessProbe=http_probe("/", "health", period=10, failures=3),
        # It counts the CPU limit as its cores and refuses a room with fewer than four; a second job would want more.
        resources=amounts(
            {"cpu": "4", "memory": "2Gi", "ephemeral-storage": "1Gi"},
            {"cpu": "4", "memory": "4Gi", "ephemeral-storage": "24Gi"},
        ),
        volumeMounts=[mount("tmp", TMP), mount("home", _HOME)],
    )
    pod = Pod(
        "egress",
        _EGRESS,
        DRAIN,
        (main,),
        # A recording lies here until it is uploaded: 1.4 GB an hour in Visio's default quality.
        volumes=(scratch("tmp", "20Gi"), scratch("home", "2Gi")),
        annotations=KEEP_SESSIONS,
    )
    return [service_account(site, "egress"), deployment(site, pod, part.replicas), disruption_budget(site, "egress")]


def _config(site: Site) -> dict[str, Any]:
    """Visio sends the bucket and its keys with each request, so none stand here."""
    longest = site.spec.recording.max_duration
    limits = {"session_limits": {"file_output_max_duration": f"{seconds(longest)}s"}} if longest is not None else {}
    return {
        "redis": dict(livekit_redis(site, Expanded("$(REDIS_PASSWORD)"))),
        "ws_url": livekit_url(site),
        # The link to LiveKit does not leave the cluster; without this Chrome would want TLS on it.
        "insecure": True,
        "health_port": HEALTH_PORT,
        "prometheus_port": METRICS_PORT,
        "enable_chrome_sandbox": False,
        **limits,
        "logging": {"json": True, "level": "info"},
    }
