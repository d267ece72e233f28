"""Names, labels, owner references, security and environment that all builders share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from visio_operator.api.spec import API_VERSION, GROUP, KIND, VisioDeploymentSpec

Manifest = dict[str, Any]
"""One Kubernetes object as plain data."""

DEPLOYMENT_LABEL = f"{GROUP}/deployment"
SERVING_LABEL = f"{GROUP}/serving"
POOL_LABEL = f"{GROUP}/pool"
MANAGED_BY = "visio-operator"


@dataclass(frozen=True)
class Site:
    """Where a deployment lives: what builders need besides its spec and its plan."""

    name: str
    namespace: str
    uid: str
    spec: VisioDeploymentSpec


def object_name(site: Site, part: str) -> str:
    """The name of a part's objects."""
    return f"{site.name}-{part}"


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
    return [{"name": key, "value": value.replace("$(", "$$(")} for key, value in variables.items()]


def env_secret(name: str, secret: str, key: str) -> dict[str, Any]:
    """An environment variable from a key of a Secret."""
    return {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}


def env_composed(name: str, value: str) -> dict[str, Any]:
    """An environment variable in which the kubelet expands `$(OTHER)`; only for text that no user wrote."""
    return {"name": name, "value": value}


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
