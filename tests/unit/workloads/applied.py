"""Live objects as if an API server had them from us by server-side apply: with uid, owned fields and defaults."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

MANAGER = "visio-operator"
_KEYS = ("name", "containerPort", "mountPath", "port")
_UNMANAGED = frozenset({"apiVersion", "kind", "name", "namespace"})


def fields_of(value: Any) -> dict[str, Any]:
    """The `fieldsV1` of a value: maps by field, lists of maps by their key, everything else whole."""
    if isinstance(value, dict) and value:
        return {f"f:{key}": fields_of(inner) for key, inner in value.items()}
    if isinstance(value, list) and value and all(isinstance(one, dict) for one in value):
        for key in _KEYS:
            if all(key in one for one in value):
                return {f"k:{json.dumps({key: one[key]})}": {".": {}, **fields_of(one)} for one in value}
    return {}


def applied(manifest: dict[str, Any], *, uid: str = "u1") -> dict[str, Any]:
    """One object after its first apply."""
    live = copy.deepcopy(manifest)
    meta = {key: value for key, value in manifest["metadata"].items() if key not in _UNMANAGED}
    owned = {"f:metadata": fields_of(meta)}
    owned |= {f"f:{key}": fields_of(value) for key, value in manifest.items() if key not in ("metadata", *_UNMANAGED)}
    live["metadata"] |= {"uid": uid, "managedFields": [{"manager": MANAGER, "operation": "Apply", "fieldsV1": owned}]}
    template = live.get("spec", {}).get("template", {}).get("spec")
    if template is not None:
        template["dnsPolicy"] = "ClusterFirst"
    return live


def cluster(manifests: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    """All of them, by kind and name."""
    return {(one["kind"], one["metadata"]["name"]): applied(one) for one in manifests}
