"""Hand the number of replicas over to an autoscaler without a moment in which nobody holds it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visio_operator.workloads.autoscalers import INITIAL_REPLICAS

Body = Mapping[str, Any]

KEEPER = "visio-operator-replicas"
"""Field manager that keeps the number while an autoscaler has not changed it yet."""


def with_initial_replicas(wanted: Body) -> dict[str, Any]:
    """The manifest of a Deployment that has no pods yet, with the number that its autoscaler would not go below."""
    first = (wanted["metadata"].get("annotations") or {}).get(INITIAL_REPLICAS)
    if first is None or "replicas" in wanted["spec"]:
        return dict(wanted)
    return {**wanted, "spec": {**wanted["spec"], "replicas": int(first)}}


def kept_replicas(wanted: Body, live: Body, manager: str) -> dict[str, Any] | None:
    """What KEEPER has to apply before `wanted`, which says no number of replicas any more; None when nothing.

    A field that its last manager leaves out is reset by the server: a Deployment would go down to one replica, until
    the autoscaler notices.
    """
    if wanted["kind"] != "Deployment" or "replicas" in wanted["spec"]:
        return None
    holders = {
        entry.get("manager")
        for entry in live["metadata"].get("managedFields") or ()
        if "f:replicas" in ((entry.get("fieldsV1") or {}).get("f:spec") or {})
    }
    if holders != {manager} or not live.get("spec", {}).get("replicas"):
        return None
    meta = wanted["metadata"]
    return {
        "apiVersion": wanted["apiVersion"],
        "kind": wanted["kind"],
        "metadata": {"name": meta["name"], "namespace": meta["namespace"]},
        "spec": {"replicas": live["spec"]["replicas"]},
    }
