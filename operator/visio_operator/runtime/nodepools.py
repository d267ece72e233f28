"""What is written to GPU pods and GPU nodes. Pure."""

from __future__ import annotations

from typing import Any

from visio_operator.plan.plan import NodeMark, PodMark
from visio_operator.workloads.common import SERVING_LABEL, Site
from visio_operator.workloads.media import ANNOUNCED, SLOT

from .projections import CORDONED, DELETION_COST, annotations_of, labels_of

Body = dict[str, Any]


def owner_of(site: Site) -> str:
    """How a pool names the deployment that sizes it."""
    return f"{site.namespace}/{site.name}"


def pod_patch(mark: PodMark, pod: Body | None) -> Body:
    """The patch that marks a pod; empty when it is marked already or gone."""
    if pod is None:
        return {}
    meta: Body = {}
    if mark.serving is not None and (labels_of(pod).get(SERVING_LABEL) == "true") != mark.serving:
        meta["labels"] = {SERVING_LABEL: "true" if mark.serving else "false"}
    if mark.slot is not None and labels_of(pod).get(SLOT) != str(mark.slot):
        meta["labels"] = {**meta.get("labels", {}), SLOT: str(mark.slot)}
    cost = None if mark.deletion_cost is None else str(mark.deletion_cost)
    if cost is not None and annotations_of(pod).get(DELETION_COST, "0") != cost:
        meta["annotations"] = {DELETION_COST: cost}
    if mark.address is not None and annotations_of(pod).get(ANNOUNCED) != mark.address:
        meta["annotations"] = {**meta.get("annotations", {}), ANNOUNCED: mark.address}
    return {"metadata": meta} if meta else {}


def node_patch(owner: str, mark: NodeMark, node: Body | None) -> Body:
    """The patch that cordons a node or takes our cordon back; empty when there is nothing to change.

    The annotation says that the cordon is ours; a cordon without it is somebody else's and stays.
    """
    if node is None or bool((node.get("spec") or {}).get("unschedulable")) == mark.cordon:
        return {}
    if mark.cordon:
        return {"metadata": {"annotations": {CORDONED: owner}}, "spec": {"unschedulable": True}}
    if CORDONED not in annotations_of(node):
        return {}
    return {"metadata": {"annotations": {CORDONED: None}}, "spec": {"unschedulable": None}}
