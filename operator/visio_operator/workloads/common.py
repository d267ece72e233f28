"""Names, labels, owner references, security and environment that all builders share."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from visio_operator.api.spec import API_VERSION, GROUP, KIND, VisioDeploymentSpec

Manifest = dict[str, Any]
"""One Kubernetes object as plain data."""

DEPLOYMENT_LABEL = f"{GROUP}/deployment"
SERVING_LABEL = f"{GROUP}/serving"
POOL_LABEL = f"{GROUP}/pool"
TRACK_LABEL = f"{GROUP}/track"
"""Label of a Deployment, and of its pods, that tries another release beside the part's own Deployment."""
CONFIG_DIGEST = f"{GROUP}/config-digest"
"""Annotation of pods that read a ConfigMap: they are replaced when its text changes."""
CONNECTIONS = f"{GROUP}/connections"
"""Annotation of a preflight Job: the digest of the connections that it checks."""
RELEASE = f"{GROUP}/release"
"""Annotation of workloads: the release that they were rendered from."""
PREVIOUS = f"{GROUP}/previous-release"
"""Annotation of the Jobs of a rung: the release that it leaves."""
FAILED = f"{GROUP}/failed"
"""Annotation of the Job that began a rung: why the rung failed and was taken back."""
RESTORED_BY = f"{GROUP}/restored-by"
"""Annotation of the backup of a rung: the digest of the restore that was approved, and what restores it."""
MANAGED_BY = "visio-operator"
PLATFORM = "platform"
"""Component label of objects that belong to no single part, such as the default deny policy."""
LONGEST_NAME = 63
LONGEST_CRON_NAME = 52
"""A CronJob leaves room for the 11 characters that it appends to the names of its Jobs."""


@dataclass(frozen=True)
class Site:
    """Where a deployment lives: what builders need besides its spec and its plan."""

    name: str
    namespace: str
    uid: str
    spec: VisioDeploymentSpec
    node_port: int | None = None
    """The first node port for media, once it is decided."""


def object_name(site: Site, part: str, longest: int = LONGEST_NAME) -> str:
    """The name of a part's objects.

    The API bounds deployment names, so that this is `<name>-<part>`; only where an object's own limit is lower is the
    name cut and made unique again by a digest.
    """
    name = f"{site.name}-{part}"
    if len(name) <= longest:
        return name
    mark = digest(name, 6)
    return f"{site.name[: longest - len(part) - len(mark) - 2].rstrip('-')}-{mark}-{part}"


def digest(value: object, length: int = 12) -> str:
    """The first `length` hexadecimal characters of the SHA-256 of plain data in canonical JSON."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]


def labels(site: Site, part: str) -> dict[str, str]:
    """The labels of every object of a part."""
    return {**selector(site, part), "app.kubernetes.io/managed-by": MANAGED_BY, DEPLOYMENT_LABEL: site.name}


def selector(site: Site, part: str) -> dict[str, str]:
    """The labels by which a part's pods are selected; they never change during an object's life."""
    return {
        "app.kubernetes.io/name": "visio",
        "app.kubernetes.io/instance": site.name,
        "app.kubernetes.io/component": part,
    }


def metadata(site: Site, part: str, name: str | None = None, *, owned: bool = True) -> dict[str, Any]:
    """Metadata of an object of a part; without an owner it survives the deployment (deletionPolicy Retain)."""
    meta: dict[str, Any] = {
        "name": name or object_name(site, part),
        "namespace": site.namespace,
        "labels": labels(site, part),
    }
    if owned:
        meta["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": site.name,
                "uid": site.uid,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]
    return meta


def env(variables: Mapping[str, str]) -> list[dict[str, Any]]:
    """Literal environment variables; `$(` is escaped, since the kubelet would expand it."""
    # An empty value is left out, as the API server does when it answers; the variable is then set and empty.
    return [
        {"name": key, "value": value.replace("$(", "$$(")} if value else {"name": key}
        for key, value in variables.items()
    ]


def env_secret(name: str, secret: str, key: str) -> dict[str, Any]:
    """An environment variable from a key of a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def env_composed(name: str, value: str) -> dict[str, Any]:
    """An environment variable in which the kubelet expands `$(OTHER)`; only for text that no user wrote."""
    return {"name": name, "value": value}


def env_field(name: str, path: str) -> dict[str, Any]:
    """An environment variable from a field of the pod itself, such as `status.podIP`."""
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


class Expanded(str):
    """Text in a configuration that the kubelet fills in, such as `$(REDIS_PASSWORD)`."""


class _ConfigDumper(yaml.SafeDumper):
    """YAML in which Expanded text is a literal block: there a value can contain any character and is always text.

    In quotes, a password with a quote would end the value; without them, a key of digits would become a number.
    """


_ConfigDumper.add_representer(
    Expanded, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style="|")
)


def config_text(config: Mapping[str, Any]) -> str:
    """A configuration as YAML, in the given order, for an environment variable made by env_composed."""
    return yaml.dump(config, Dumper=_ConfigDumper, sort_keys=False, default_flow_style=False, width=200)


def pod_security() -> dict[str, Any]:
    """The pod security context that PodSecurity `restricted` asks for."""
    return {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}


def container_security() -> dict[str, Any]:
    """The container security context that PodSecurity `restricted` asks for, with a read-only root file system."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def join(*groups: Iterable[Manifest]) -> tuple[Manifest, ...]:
    """Put the manifests of several builders one after another."""
    return tuple(manifest for group in groups for manifest in group)
