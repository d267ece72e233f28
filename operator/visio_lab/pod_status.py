"""The status of a process pod as a kubelet writes it. Pure: from the states of its containers to the API's form."""

from collections.abc import Mapping, Sequence
from typing import Any

from visio_lab.container_process import Container, now

Json = dict[str, Any]


def pod_status(
    pod: Json,
    init: Sequence[Container],
    main: Sequence[Container],
    *,
    started_at: str,
    node_ip: str,
    pod_ip: str | None,
) -> Json:
    """The whole status, for a strategic merge: conditions of others, such as readiness gates, are left alone.

    `pod` is the pod as last seen, for its readiness gates and for the times of conditions that stay as they are.
    """
    sidecars = [each for each in init if each.is_sidecar]
    initialized = all(each.is_started if each.is_sidecar else each.has_succeeded for each in init)
    ready = initialized and all(each.is_ready for each in [*main, *sidecars])
    seen = {each["type"]: each for each in (pod.get("status") or {}).get("conditions") or []}
    gates = [each["conditionType"] for each in pod["spec"].get("readinessGates") or []]
    holds = {
        "PodReadyToStartContainers": pod_ip is not None,
        "Initialized": initialized,
        "ContainersReady": ready,
        "Ready": ready and all(seen.get(gate, {}).get("status") == "True" for gate in gates),
    }
    status: Json = {
        "phase": phase(pod["spec"].get("restartPolicy", "Always"), init, main),
        "startTime": started_at,
        "hostIP": node_ip,
        "hostIPs": [{"ip": node_ip}],
        "conditions": [_condition(kind, value, seen) for kind, value in holds.items()],
        "containerStatuses": [each.status() for each in main],
    }
    if init:
        statuses = [each.status() for each in init]
        done = [
            {**each, "ready": True} if state.has_succeeded else each for each, state in zip(statuses, init, strict=True)
        ]
        status["initContainerStatuses"] = done
    if pod_ip:
        status |= {"podIP": pod_ip, "podIPs": [{"ip": pod_ip}]}
    return status


def phase(policy: str, init: Sequence[Container], main: Sequence[Container]) -> str:
    """Pending until the main containers have begun; Succeeded or Failed once none of them will run again."""
    if any(not each.is_sidecar and each.has_failed and policy == "Never" for each in init):
        return "Failed"
    if all("waiting" in each.state and not each.last_state for each in main):
        return "Pending"
    if policy != "Always" and all("terminated" in each.state for each in main):
        if all(each.exit_code == 0 for each in main):
            return "Succeeded"
        if policy == "Never":
            return "Failed"
    return "Running"


def _condition(kind: str, holds: bool, seen: Mapping[str, Json]) -> Json:
    value = "True" if holds else "False"
    before = seen.get(kind, {})
    since = before.get("lastTransitionTime") if before.get("status") == value else None
    return {"type": kind, "status": value, "lastTransitionTime": since or now()}
