"""What the Job that checks the connections has said: read from its pods' last words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from visio_operator.plan.observed import Preflight
from visio_operator.plan.preflight import PREFLIGHT
from visio_operator.workloads.common import CONNECTIONS

from .job_result import belongs_to, faults
from .projections import PART_LABEL, annotations_of, condition, labels_of, seconds, terminating

Body = Mapping[str, Any]


def preflight(live: Mapping[tuple[str, str], Body], pods: Iterable[Body]) -> Preflight | None:
    """The outcome of the newest Job; None while there is none."""
    jobs = [
        body
        for (kind, _), body in live.items()
        if kind == "Job" and labels_of(body).get(PART_LABEL) == PREFLIGHT and not terminating(body)
    ]
    if not jobs:
        return None
    newest = max(jobs, key=lambda body: seconds(body["metadata"].get("creationTimestamp")))
    own = [pod for pod in pods if belongs_to(pod, newest["metadata"]["uid"])]
    succeeded = condition(newest, "Complete").get("status") == "True" or any(
        (pod.get("status") or {}).get("phase") == "Succeeded" for pod in own
    )
    found: dict[str, str] = {}
    for pod in sorted(own, key=lambda pod: seconds(pod["metadata"].get("creationTimestamp"))):
        found.update(faults(pod))
    return Preflight(
        digest=annotations_of(newest).get(CONNECTIONS, ""),
        succeeded=succeeded,
        faults=() if succeeded else tuple(sorted(found.items())),
    )
