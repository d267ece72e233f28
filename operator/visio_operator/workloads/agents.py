"""The LiveKit agents: subtitles with the captions proxy beside it, and the collector of who spoke when."""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release
from visio_operator.plan.secrets import CAPTIONS_PATH

from .backend_env import METADATA_AGENT, METADATA_FOLDER, SUBTITLES_AGENT
from .backend_features import sentry_env
from .captions import CAPTIONS_PORT
from .common import Manifest, Site, env, object_name
from .connections import from_secret, keys, livekit_keys, livekit_url, storage, storage_env
from .containers import (
    PROXY_METRICS_PORT,
    TMP,
    VISIO,
    amounts,
    container,
    http_probe,
    mount,
    port,
    scratch,
)
from .pods import KEEP_SESSIONS, Pod, deployment, disruption_budget, service_account

HEALTH_PORT = 8081
PROXY_PORT = 8090
GRACE = 3_630
"""Seconds: an agent takes no new room and stays with its rooms for up to an hour, then ends its processes."""
_WORKERS = "2"
"""Cores an agent may use. Without a limit it would make a process for each core of the node."""


def subtitles(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The agent that listens to captioned rooms and writes what is said."""
    part = plan.part("subtitles")
    if part is None:
        return []
    script = release.settings.get("subtitlesScript", "multi_user_transcriber.py")
    variables = [
        *_livekit(site),
        *env(
            {
                "STT_PROVIDER": "kyutai",
                "TRANSCRIBER_AGENT_NAME": SUBTITLES_AGENT,
                "KYUTAI_STT_BASE_URL": f"ws://127.0.0.1:{PROXY_PORT}{CAPTIONS_PATH}",
                # Only speech reaches the servers' language model; silent people still hold a slot each.
                "ENABLE_SILERO_VAD": "true",
                "NUM_CPUS": _WORKERS,
            }
        ),
        from_secret("KYUTAI_API_KEY", keys(site, "kyutaiApiKey")),
    ]
    return _agent(site, release, "subtitles", script, part.replicas, variables, sidecar=_proxy(site, release))


def metadata_collector(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The agent that notes who speaks when during a recording, so that transcripts carry names."""
    part = plan.part("metadata")
    if part is None:
        return []
    script = release.settings.get("metadataScript", "metadata_collector.py")
    store = storage(site)
    host_port = release.settings.get("metadataEndpoint", "hostPort") == "hostPort"
    variables = [
        *_livekit(site),
        *env(
            {
                "METADATA_COLLECTOR_AGENT_NAME": METADATA_AGENT,
                "AWS_S3_OUTPUT_FOLDER": METADATA_FOLDER,
                "AWS_S3_SECURE_ACCESS": "True" if store.endpoint.tls else "False",
                "NUM_CPUS": _WORKERS,
            }
        ),
        *storage_env(
            site,
            store.authority if host_port else None,
            region=release.settings.get("metadataRegion", "true") == "true",
        ),
    ]
    return _agent(site, release, "metadata", script, part.replicas, variables)


def _livekit(site: Site) -> list[Manifest]:
    return [*livekit_keys(site), *env({"LIVEKIT_URL": livekit_url(site)}), *sentry_env(site, "SENTRY_DSN")]


def _agent(
    site: Site,
    release: Release,
    part: str,
    script: str,
    replicas: int,
    variables: list[Manifest],
    sidecar: Manifest | None = None,
) -> list[Manifest]:
    main = container(
        part,
        release.images["agents"],
        # Named for both: the image's default is the subtitles agent.
        args=["python", script, "start"],
        env=variables,
        ports=[port("health", HEALTH_PORT)],
        startupProbe=http_probe("/", "health", period=5, failures=36),
        # It also fails while LiveKit is away, which the agent repairs by itself: restarted only after minutes.
        livenessProbe=http_probe("/", "health", period=30, failures=10),
        readinessProbe=http_probe("/", "health", period=10, failures=3),
        resources=amounts({"cpu": "500m", "memory": "512Mi"}, {"cpu": _WORKERS, "memory": "2Gi"}),
        volumeMounts=[mount("tmp", TMP)],
    )
    pod = Pod(
        part,
        VISIO,
        GRACE,
        (main,),
        init=(sidecar,) if sidecar else (),
        volumes=(scratch("tmp", "1Gi"),),
        annotations=KEEP_SESSIONS,
    )
    return [
        service_account(site, part),
        deployment(site, pod, replicas),
        disruption_budget(site, part),
    ]


def _proxy(site: Site, release: Release) -> Manifest:
    """The captions proxy as a native sidecar: there before the agent, and until after its last stream."""
    servers = f"{object_name(site, 'captions')}.{site.namespace}.svc.cluster.local:{CAPTIONS_PORT}"
    return container(
        "captions-proxy",
        release.images["operator"],
        restartPolicy="Always",
        args=[
            "captions-proxy",
            "--listen",
            f"127.0.0.1:{PROXY_PORT}",
            "--metrics-listen",
            f"0.0.0.0:{PROXY_METRICS_PORT}",
            "--servers",
            servers,
        ],
        env=[from_secret("KYUTAI_API_KEY", keys(site, "kyutaiApiKey"))],
        ports=[port("metrics", PROXY_METRICS_PORT)],
        startupProbe=http_probe("/healthz", "metrics", period=1, failures=60),
        livenessProbe=http_probe("/healthz", "metrics", period=15, failures=4),
        readinessProbe=http_probe("/healthz", "metrics", period=10, failures=3),
        resources=amounts({"cpu": "100m", "memory": "96Mi"}, {"memory": "512Mi"}),
    )
