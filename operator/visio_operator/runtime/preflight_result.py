"""What the Job that checks the connections has said: read from its pods' last words. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from visio_operator.plan.observed import Preflight
from visio_operator.plan.preflight import PREFLIGHT
from visio_operator.workloads.common import CONNECTIONS

from .projections import PART_LABEL, annotations_of, condition, labels_of, seconds, terminating

Body = Mapping[str, Any]
LONGEST = 400
"""Characters of a fault that go into status; a pod's last words are not ours until they are parsed."""


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
    own = [pod for pod in pods if _belongs(pod, newest["metadata"]["uid"])]
    succeeded = condition(newest, "Complete").get("status") == "True" or any(
        (pod.get("status") or {}).get("phase") == "Succeeded" for pod in own
    )
    faults: dict[str, str] = {}
    for pod in sorted(own, key=lambda pod: seconds(pod["metadata"].get("creationTimestamp"))):
        faults.update(_faults(pod))
    return Preflight(
        digest=annotations_of(newest).get(CONNECTIONS, ""),
        succeeded=succeeded,
        faults=() if succeeded else tuple(sorted(faults.items())),
    )


def _belongs(pod: Body, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ())


def _faults(pod: Body) -> Iterator[tuple[str, str]]:
    """Connections at fault in the last attempt that has ended, each with its field, problem and next step."""
    for status in (pod.get("status") or {}).get("containerStatuses") or ():
        ended = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
        try:
            results = json.loads(ended.get("message") or "{}").get("results") or []
            for result in results:
                if result.get("ok") is False:
                    text = f"{result['field']}: {result['detail']}; {result['next']}"
                    yield str(result["check"]), text[:LONGEST]
        except (ValueError, AttributeError, TypeError, KeyError):
            continue
