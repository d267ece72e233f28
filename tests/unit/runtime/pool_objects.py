"""Pool objects of all providers, as an API server would send them, and a server that merges patches into them."""

from __future__ import annotations

from typing import Any

from visio_operator.api.parts import GpuPool
from visio_operator.runtime.pool_adapter import Seen

OWNER = "visio/visio"
LABELS = {"visio-operator.dev/pool": "l40"}
TEMPLATE = {"metadata": {"labels": LABELS}}
SPECS: dict[str, dict[str, Any]] = {
    "oks": {"nodeType": "inference7-l40.medium", "desiredNodes": 0, "minNodes": 0, "maxNodes": 0},
    "ovh": {"flavor": "l40s-90", "desiredNodes": 0, "minNodes": 0, "maxNodes": 100, "template": TEMPLATE},
    "clusterAPI": {"clusterName": "prod", "replicas": 0, "template": TEMPLATE},
    "karpenter": {"replicas": 0, "template": TEMPLATE},
}
"""The spec of a fresh pool by provider; that of Karpenter is a static one."""
SIZED = tuple(SPECS)


def a_pool(provider: str, **fields: Any) -> GpuPool:
    return GpuPool(name="l40", provider=provider, **fields)  # type: ignore[arg-type]


def an_object(provider: str, *, owner: str = "", status: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    annotations = {"visio-operator.dev/owner": owner} if owner else {}
    meta = {"name": "l40", "namespace": "machines", "annotations": annotations}
    return {"metadata": meta, "spec": {**SPECS[provider], **spec}, "status": status or {}}


def a_machine(name: str, node: str = "", mark: str | None = None, **status: Any) -> dict[str, Any]:
    annotations = {} if mark is None else {"cluster.x-k8s.io/delete-machine": mark}
    reference = {"nodeRef": {"name": node}} if node else {}
    meta = {"name": name, "namespace": "machines", "annotations": annotations}
    return {"metadata": meta, "status": {**reference, **status}}


def a_node(name: str, **spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": name, "labels": LABELS}, "spec": spec}


def a_pod(node: str = "", **meta: Any) -> dict[str, Any]:
    return {"metadata": {"name": f"on-{node}", **meta}, "spec": {"nodeSelector": LABELS, "nodeName": node}}


def seen(body: dict[str, Any] | None = None, *machines: dict[str, Any], **more: Any) -> Seen:
    return Seen(body=body, machines=machines, **more)


def merged(body: Any, patch: Any) -> Any:
    """The object after a JSON merge patch (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    result = dict(body) if isinstance(body, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result
