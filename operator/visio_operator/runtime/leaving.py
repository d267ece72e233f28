"""Pods that were told to end and still work. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from visio_operator.plan.leaving import Leaving

from .projections import PART_LABEL, labels_of, seconds, terminating

Body = Mapping[str, Any]

DRAINING_PARTS = frozenset({"sfu", "egress", "subtitles", "metadata", "captions", "transcription"})
"""Parts whose pods carry sessions."""


def is_leaving(pod: Body) -> bool:
    """Whether a pod was told to end and still works."""
    phase = (pod.get("status") or {}).get("phase")
    return terminating(pod) and phase == "Running" and labels_of(pod).get(PART_LABEL) in DRAINING_PARTS


def leaving(pods: Iterable[Body], closed_nodes: frozenset[str]) -> tuple[Leaving, ...]:
    """The pods that are on their way out, by name.

    Kubernetes writes the moment of the kill as `deletionTimestamp`: that of the request and its grace period.
    """
    found = [_leaving(pod, closed_nodes) for pod in pods if is_leaving(pod)]
    return tuple(sorted(found, key=lambda one: one.pod))


def _leaving(pod: Body, closed_nodes: frozenset[str]) -> Leaving:
    meta, node = pod["metadata"], (pod.get("spec") or {}).get("nodeName") or ""
    deadline = seconds(meta["deletionTimestamp"])
    return Leaving(
        pod=meta["name"],
        part=labels_of(pod)[PART_LABEL],
        node=node,
        since=deadline - float(meta.get("deletionGracePeriodSeconds") or 0),
        deadline=deadline,
        node_closed=node in closed_nodes,
    )
