"""Live captions: Kyutai's streaming speech-to-text servers, one on each GPU."""

from __future__ import annotations

from visio_operator.plan.plan import Plan, Release
from visio_operator.plan.secrets import CAPTIONS_CONFIG_KEY, captions_config_secret

from .common import SERVING_LABEL, Manifest, Site, env, metadata, selector
from .containers import GPU, PLAIN, TMP, amounts, container, http_probe, mount, port, scratch
from .pods import KEEP_SESSIONS, Pod, deployment, disruption_budget, service_account, service_port
from .weights import models_env, models_mount, models_volume

CAPTIONS_PORT = 8080
GRACE = 30
"""Seconds. The server ignores SIGTERM and serves its streams until it is killed, so a long grace saves no stream that
stays, and holds a GPU for nothing. The operator removes empty servers only; when somebody else removes one, its streams
are moved within this time, since a pod that ends leaves the Service at once."""
_CONFIG = "/etc/moshi"


def captions(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The speech-to-text servers and the headless Service of those that take streams."""
    part = plan.part("captions")
    if part is None:
        return []
    weights = site.spec.captions.weights
    main = container(
        "captions",
        release.images["moshi"],
        command=["moshi-server"],
        args=[
            "worker",
            "--config",
            f"{_CONFIG}/{CAPTIONS_CONFIG_KEY}",
            "--addr",
            "0.0.0.0",  # noqa: S104
            "--port",
            str(CAPTIONS_PORT),
        ],
        env=[*models_env(weights), *env({"HOME": TMP})],
        ports=[port("http", CAPTIONS_PORT)],
        # It listens only once the weights are on the GPU and warm, the first time after their download.
        startupProbe=http_probe("/api/build_info", "http", period=5, failures=360),
        livenessProbe=http_probe("/api/build_info", "http", period=10, failures=6),
        readinessProbe=http_probe("/api/build_info", "http", period=5, failures=3),
        resources=amounts(
            {"cpu": "4", "memory": "8Gi", "ephemeral-storage": "8Gi" if weights is None else "1Gi"},
            {"memory": "16Gi", "ephemeral-storage": "22Gi" if weights is None else "2Gi", GPU: "1"},
        ),
        volumeMounts=[mount("tmp", TMP), models_mount(weights), mount("config", _CONFIG, read_only=True)],
    )
    pod = Pod(
        "captions",
        PLAIN,
        GRACE,
        (main,),
        volumes=(
            scratch("tmp", "1Gi"),
            models_volume(weights, "20Gi"),
            {
                "name": "config",
                # Its name changes with its content, so a new configuration makes new pods.
                "secret": {"secretName": captions_config_secret(site.name, site.spec)},
            },
        ),
        # In no selector of the Deployment: the operator takes it off a pod to send its streams elsewhere.
        labels={SERVING_LABEL: "true"},
        annotations=KEEP_SESSIONS,
        pool=site.spec.captions.pool,
    )
    return [
        service_account(site, "captions"),
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(site, "captions"),
            "spec": {
                "clusterIP": "None",
                "selector": {**selector(site, "captions"), SERVING_LABEL: "true"},
                "ports": [service_port("http", CAPTIONS_PORT)],
            },
        },
        deployment(site, pod, part.replicas, surge=0),
        disruption_budget(site, "captions"),
    ]
