"""From live objects to the records that a decision looks at. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from visio_operator.api.spec import GROUP
from visio_operator.plan.canary import CANARY
from visio_operator.plan.observed import CaptionsServer, GpuNode, PodTimes, TranscriptionWorker, Workload
from visio_operator.workloads.common import (
    FAILED,
    POOL_LABEL,
    PREVIOUS,
    RELEASE,
    RESTORED_BY,
    SERVING_LABEL,
    TRACK_LABEL,
)
from visio_operator.workloads.restarts import KEY_PAIRS
from visio_operator.workloads.sfu import TRACK_CANARY

from .compare import DIGEST
from .job_result import why_failed
from .memory import Slots

Body = Mapping[str, Any]

PART_LABEL = "app.kubernetes.io/component"
OWNER = f"{GROUP}/owner"
"""Annotation of a node pool: namespace/name of the deployment that sizes it."""
APPROVED_PLAN = f"{GROUP}/approved-plan"
"""Annotation of a VisioDeployment: digest of the proposal in its status that a user approves."""
APPROVED_UPGRADE = f"{GROUP}/approved-upgrade"
"""The same for the upgrade that waits; one of its own, since both can wait at the same time."""
APPROVED_RESTORE = f"{GROUP}/approved-restore"
"""The same for the restore that is offered."""
CORDONED = f"{GROUP}/cordoned"
"""Annotation of a node that we cordoned: namespace/name of the deployment."""
DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"
_RANK = {"Deployment": 0, "StatefulSet": 1, "Job": 2, "CronJob": 3, "Backup": 4}


def seconds(text: str | None) -> float:
    """A Kubernetes timestamp as unix seconds; 0 when it is missing."""
    return datetime.fromisoformat(text).timestamp() if text else 0.0


def instant(moment: float) -> str:
    """Unix seconds in the form of the Kubernetes API."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def condition(live: Body, kind: str) -> Body:
    """One condition of an object's status; empty when it is not there."""
    for entry in (live.get("status") or {}).get("conditions") or ():
        if entry.get("type") == kind:
            return dict(entry)
    return {}


def is_ready(live: Body) -> bool:
    """Whether the condition Ready of a pod or node is True."""
    return condition(live, "Ready").get("status") == "True"


def labels_of(live: Body) -> Mapping[str, str]:
    """The labels of an object."""
    return live["metadata"].get("labels") or {}


def annotations_of(live: Body) -> Mapping[str, str]:
    """The annotations of an object."""
    return live["metadata"].get("annotations") or {}


def is_canary(live: Body) -> bool:
    """Whether it is the media server that tries another release, or its Deployment."""
    return labels_of(live).get(TRACK_LABEL) == TRACK_CANARY[TRACK_LABEL]


def terminating(live: Body) -> bool:
    """Whether an object is being deleted."""
    return bool(live["metadata"].get("deletionTimestamp"))


def workloads(live: Mapping[tuple[str, str], Body], pods: Iterable[Body] = ()) -> dict[str, Workload]:
    """The workload of each part. Where a part has several, its servers come before its Jobs, and newer before older.

    A Job whose pod has succeeded counts as done at once: its controller says so up to a second later, since it batches
    what it reads of pods.
    """
    pods = list(pods)
    done = {
        owner["uid"] for pod in pods if _has_succeeded(pod) for owner in pod["metadata"].get("ownerReferences") or ()
    }
    found: dict[str, tuple[tuple[int, float], Workload]] = {}
    for (kind, _), body in live.items():
        part = CANARY if is_canary(body) else labels_of(body).get(PART_LABEL)
        if kind not in _RANK or part is None or terminating(body):
            continue
        rank = (_RANK[kind], -seconds(body["metadata"].get("creationTimestamp")))
        if part not in found or rank < found[part][0]:
            found[part] = (rank, workload(kind, part, body, pods, done=body["metadata"]["uid"] in done))
    return {part: entry for part, (_, entry) in found.items()}


def _has_succeeded(pod: Body) -> bool:
    return (pod.get("status") or {}).get("phase") == "Succeeded"


def workload(kind: str, part: str, live: Body, pods: Iterable[Body] = (), *, done: bool = False) -> Workload:
    """One workload as its controller last reported it; `done` is a Job whose pod has succeeded."""
    meta, spec, status = live["metadata"], live.get("spec") or {}, live.get("status") or {}
    template = template_of(live)
    pod = template.get("spec") or {}
    containers = (*(pod.get("initContainers") or ()), *(pod.get("containers") or ()))
    failed = ""
    if kind == "Job":
        desired, ready, updated, current = 1, int(status.get("ready") or 0), 1, True
        failed = why_failed(live, pods, condition(live, "Failed"))
    elif kind == "Backup":
        desired, ready, updated, current = 1, 0, 1, True
        failed = str(status.get("error") or "it failed") if status.get("phase") == "failed" else ""
    elif kind == "CronJob":
        desired, ready, updated, current = 0 if spec.get("suspend") else 1, 1, 1, True
    else:
        desired = int(spec.get("replicas", 1))
        ready, updated = int(status.get("readyReplicas") or 0), int(status.get("updatedReplicas") or 0)
        current = int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 1)
        failed = _rollout_failure(live)
    return Workload(
        kind=kind,
        name=meta["name"],
        part=part,
        desired=desired,
        ready=ready,
        updated=updated,
        images=tuple(container.get("image", "") for container in containers),
        current=current,
        succeeded=_succeeded(kind, live, done=done),
        failed=failed,
        fingerprint=annotations_of(live).get(DIGEST, ""),
        livekit_keys=key_pairs(template),
        release=annotations_of(live).get(RELEASE, ""),
        finished_at=_finished_at(live) if kind == "Job" else 0.0,
        previous=annotations_of(live).get(PREVIOUS, ""),
        note=annotations_of(live).get(FAILED, ""),
        saved_at=_saved_at(kind, status),
        restore=annotations_of(live).get(RESTORED_BY, ""),
    )


def _succeeded(kind: str, live: Body, *, done: bool) -> bool:
    if kind == "Backup":
        return bool((live.get("status") or {}).get("phase") == "completed")
    return kind == "Job" and (done or condition(live, "Complete").get("status") == "True")


def _saved_at(kind: str, status: Body) -> float:
    """The time whose state a backup holds: a dump shows the database when it began, a base backup when it ended."""
    return seconds(status.get("stoppedAt" if kind == "Backup" else "startTime"))


def _finished_at(job: Body) -> float:
    ends = (condition(job, kind) for kind in ("Complete", "Failed"))
    return max((seconds(end.get("lastTransitionTime")) for end in ends if end.get("status") == "True"), default=0.0)


def template_of(live: Body) -> Body:
    """The pod template of a workload; empty for other objects."""
    spec = live.get("spec") or {}
    template = spec.get("template") or ((spec.get("jobTemplate") or {}).get("spec") or {}).get("template")
    return template if isinstance(template, Mapping) else {}


def key_pairs(pod: Body) -> tuple[str, ...]:
    """The LiveKit key pairs that a pod or a pod template says it knows."""
    said = ((pod.get("metadata") or {}).get("annotations") or {}).get(KEY_PAIRS, "")
    return tuple(said.split(",")) if said else ()


def media_keys(pods: Iterable[Body]) -> tuple[frozenset[str], ...]:
    """The key pairs that each media server accepts, also while it drains; one that has ended is left out."""
    running = (pod for pod in pods if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed"))
    return tuple(frozenset(key_pairs(pod)) for pod in running)


def _rollout_failure(live: Body) -> str:
    stuck = condition(live, "Progressing")
    if stuck.get("reason") == "ProgressDeadlineExceeded":
        return str(stuck.get("message") or "the rollout does not progress")
    refused = condition(live, "ReplicaFailure")
    return str(refused.get("message") or refused.get("reason")) if refused.get("status") == "True" else ""


def captions_server(pod: Body, slots: Slots | None, read_at: float) -> CaptionsServer:
    """One captions pod; `slots` is None when they could not be read lately."""
    return CaptionsServer(
        pod=pod["metadata"]["name"],
        node=(pod.get("spec") or {}).get("nodeName") or "",
        ready=is_ready(pod),
        serving=labels_of(pod).get(SERVING_LABEL) == "true",
        used=slots.used if slots else None,
        total=slots.total if slots else None,
        read_at=read_at,
        created=seconds(pod["metadata"].get("creationTimestamp")),
        terminating=terminating(pod),
        deletion_cost=deletion_cost(pod),
        times=pod_times(pod),
    )


def transcription_worker(
    pod: Body, busy: bool | None, busy_since: float | None = None, read_at: float = 0.0
) -> TranscriptionWorker:
    """One transcription pod; `read_at` is when it was last known whether it works."""
    return TranscriptionWorker(
        pod=pod["metadata"]["name"],
        node=(pod.get("spec") or {}).get("nodeName") or "",
        ready=is_ready(pod),
        busy=busy,
        created=seconds(pod["metadata"].get("creationTimestamp")),
        terminating=terminating(pod),
        deletion_cost=deletion_cost(pod),
        busy_since=busy_since,
        read_at=read_at,
        times=pod_times(pod),
    )


def reached_at(live: Body, kind: str) -> float:
    """Since when a condition of a pod or node is True, in unix seconds; 0 while it is not."""
    found = condition(live, kind)
    return seconds(found.get("lastTransitionTime")) if found.get("status") == "True" else 0.0


def pod_times(pod: Body) -> PodTimes:
    """The steps of one pod's start."""
    return PodTimes(scheduled=reached_at(pod, "PodScheduled"), started=_started(pod), ready=reached_at(pod, "Ready"))


def _started(pod: Body) -> float:
    """When the first container that still runs started, a sidecar too; 0 when any was started again."""
    status = pod.get("status") or {}
    containers = [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]
    if any(one.get("restartCount") for one in containers):
        return 0.0
    starts = [seconds(((one.get("state") or {}).get("running") or {}).get("startedAt")) for one in containers]
    return min((start for start in starts if start), default=0.0)


def deletion_cost(pod: Body) -> int:
    """The deletion cost of a pod; 0 when it has none that is a number."""
    try:
        return int(annotations_of(pod).get(DELETION_COST, "0"))
    except ValueError:
        return 0


def gpu_node(node: Body, gpu_at: float = 0.0) -> GpuNode:
    """One node of a GPU pool; `gpu_at` is when its GPU was first seen."""
    status = node.get("status") or {}
    return GpuNode(
        name=node["metadata"]["name"],
        pool=labels_of(node).get(POOL_LABEL, ""),
        ready=is_ready(node),
        gpus=int((status.get("allocatable") or {}).get("nvidia.com/gpu") or 0),
        cordoned=bool((node.get("spec") or {}).get("unschedulable")),
        created=seconds(node["metadata"].get("creationTimestamp")),
        zone=labels_of(node).get("topology.kubernetes.io/zone", ""),
        cordoned_by_us=CORDONED in annotations_of(node),
        ready_at=reached_at(node, "Ready"),
        gpu_at=gpu_at,
    )


def running_addresses(pods: Iterable[Body]) -> dict[str, str]:
    """Addresses of the pods that can be asked: they have one and are ready or on their way out."""
    found: dict[str, str] = {}
    for pod in pods:
        status = pod.get("status") or {}
        if status.get("podIP") and status.get("phase") == "Running" and (is_ready(pod) or terminating(pod)):
            found[pod["metadata"]["name"]] = status["podIP"]
    return found
