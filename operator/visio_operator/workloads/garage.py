"""Garage inside the platform, for evaluation: an S3-compatible store on one volume.

Garage 2.3.0 and later make their layout, key and bucket by themselves on first start (Garage's Quick Start).
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from visio_operator.plan.plan import Plan, Release

from .common import CONFIG_DIGEST, Manifest, Site, digest, env, metadata, object_name
from .connections import GARAGE_PORT, SecretKey, from_secret, storage
from .containers import PLAIN, amounts, container, mount, port, tcp_probe
from .pods import Pod, service, service_account, service_port, stateful_set

RPC_PORT = 3901
_DATA = "/var/lib/garage"
_CONFIG = "/etc/garage"


def garage(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The object store with its volume and its configuration."""
    spec = site.spec.object_storage
    if plan.part("garage") is None or spec.embedded is None:
        return []
    name = object_name(site, "garage")
    store = storage(site)
    text = _config(site)
    main = container(
        "garage",
        release.images["garage"],
        command=["/garage", "server", "--single-node", "--default-bucket"],
        env=[
            *env({"GARAGE_CONFIG_FILE": f"{_CONFIG}/garage.toml", "GARAGE_DEFAULT_BUCKET": spec.bucket}),
            from_secret("GARAGE_DEFAULT_ACCESS_KEY", store.access_key),
            from_secret("GARAGE_DEFAULT_SECRET_KEY", store.secret_key),
            from_secret("GARAGE_RPC_SECRET", SecretKey(name, "rpcSecret")),
        ],
        ports=[port("s3", GARAGE_PORT)],
        startupProbe=tcp_probe("s3", period=2, failures=60),
        livenessProbe=tcp_probe("s3", period=15, failures=4),
        readinessProbe=tcp_probe("s3", period=5, failures=3),
        resources=amounts({"cpu": "100m", "memory": "256Mi"}, {"memory": "1Gi"}),
        volumeMounts=[mount("data", _DATA), mount("config", _CONFIG, read_only=True)],
    )
    pod = Pod(
        "garage",
        PLAIN,
        30,
        (main,),
        volumes=({"name": "config", "configMap": {"name": name}},),
        annotations={CONFIG_DIGEST: digest(text)},
    )
    return [
        service_account(site, "garage"),
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata(site, "garage"), "data": {"garage.toml": text}},
        service(site, "garage", service_port("s3", GARAGE_PORT)),
        stateful_set(site, pod, spec.embedded.storage),
    ]


def _config(site: Site) -> str:
    """Garage's configuration without its secrets; JSON writes the basic strings and numbers of TOML."""
    top = {
        "metadata_dir": f"{_DATA}/meta",
        "data_dir": f"{_DATA}/data",
        "db_engine": "sqlite",
        "replication_factor": 1,
        # Nothing else takes part in this cluster of one.
        "rpc_bind_addr": f"127.0.0.1:{RPC_PORT}",
        "rpc_public_addr": f"127.0.0.1:{RPC_PORT}",
    }
    s3_api = {"s3_region": storage(site).region, "api_bind_addr": f"0.0.0.0:{GARAGE_PORT}"}
    lines = [*_lines(top), "", "[s3_api]", *_lines(s3_api)]
    return "\n".join(lines) + "\n"


def _lines(values: Mapping[str, object]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in values.items()]
