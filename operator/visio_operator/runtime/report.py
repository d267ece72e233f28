"""Say in status what was observed and decided; pure, except for the two functions that write."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from visio_operator.api.spec import API_VERSION, KIND, VisioDeploymentSpec
from visio_operator.api.status import MESSAGE_LENGTH, TRACE_LENGTH, TRACE_LINES
from visio_operator.plan.observed import GpuNode, Observed, Workload
from visio_operator.plan.pace import Pace
from visio_operator.plan.plan import Condition, PartPlan, Plan

from .compare import digest, merge_patch
from .kube import FIELD_MANAGER, Kube, KubeError
from .lead_status import lead_status
from .memory import Memory
from .plan_status import NOTHING_UNDONE, Undone, planned, rendering_pending
from .projections import instant
from .signal_status import signal_status
from .upgrade_status import upgrade_status

Status = dict[str, Any]

GOOD_WHEN_TRUE = frozenset({"Ready", "PolicyCompliant"})
"""Conditions whose True is good news; Progressing is neither good nor bad, all others are bad news when True."""


def report(
    previous: Mapping[str, Any],
    spec: VisioDeploymentSpec,
    plan: Plan,
    errors: Sequence[str],
    observed: Observed,
    generation: int,
    now: float,
    undone: Undone = NOTHING_UNDONE,
) -> Status:
    """The status after one full pass over `generation`; `undone` is what it has left for later."""
    was_ready = any(c["type"] == "Ready" and c["status"] == "True" for c in previous.get("conditions") or ())
    stated = (*plan.conditions, *(() if plan.invalid or plan.stopped else (rendering_pending(undone.rendering, spec),)))
    conditions = [_with_errors(condition, errors, was_ready) for condition in stated]
    status: Status = {
        "observedGeneration": generation,
        "conditions": merge_conditions(previous.get("conditions") or (), conditions, generation, now),
        "version": plan.release.version if plan.release and _all_run(plan, observed) else "",
        "parts": [_part(part, observed.workloads.get(part.part)) for part in plan.parts.values()],
        "embedded": _embedded(spec),
        "planDigest": digest(_substance(plan)),
        "trace": [line[:TRACE_LENGTH] for line in plan.trace[:TRACE_LINES]],
        "memory": dict(plan.memory),
        "signals": signal_status(previous.get("signals") or (), observed, now, instant(now), Pace()),
    }
    if approved := plan.approved or previous.get("approvedPlan"):
        status["approvedPlan"] = approved
    status |= upgrade_status(previous, spec.version, plan, now, all_ready=_all_run(plan, observed))
    if awaited := planned(plan.proposal, undone, plan.upgrade.restore if plan.upgrade is not None else None):
        status["plan"] = awaited
    if plan.invalid:
        # Nothing that runs was touched, so what was said of it stays true.
        status |= {key: previous[key] for key in ("version", "parts") if key in previous}
    if spec.gpu_pools:
        pools = [
            {**_pool(pool.name, plan, observed), **lead_status(previous, pool.name, observed, plan.ordered, now)}
            for pool in spec.gpu_pools
        ]
        status["pools"] = pools
        status["gpuNodes"] = f"{sum(p['gpuReady'] for p in pools)}/{sum(p['desired'] for p in pools)}"
    if spec.captions.enabled:
        status["captions"] = _captions(observed, plan)
    if spec.transcription.enabled:
        status["transcription"] = _transcription(observed)
    return status


def refusal(previous: Mapping[str, Any], reason: str, message: str, generation: int | None, now: float) -> Status:
    """The status when no plan could be made: what was known stays, Ready and Degraded say why.

    `generation` is None when the pass failed before it could judge the spec; observedGeneration then stays as it is.
    """
    reported = int(previous.get("observedGeneration") or 0) if generation is None else generation
    conditions = [Condition("Ready", "False", reason, message), Condition("Degraded", "True", reason, message)]
    kept = [
        Condition(c["type"], c["status"], c["reason"], c.get("message", ""))
        for c in previous.get("conditions") or ()
        if c["type"] not in ("Ready", "Degraded")
    ]
    merged = merge_conditions(previous.get("conditions") or (), [*conditions, *kept], reported, now)
    return {**previous, "observedGeneration": reported, "conditions": merged}


def merge_conditions(
    previous: Iterable[Mapping[str, Any]], conditions: Iterable[Condition], generation: int, now: float
) -> list[dict[str, Any]]:
    """Conditions with their transition times, which move only when the status does."""
    before = {entry["type"]: entry for entry in previous}
    merged = []
    for condition in conditions:
        old = before.get(condition.type)
        same = old is not None and old["status"] == condition.status
        merged.append(
            {
                "type": condition.type,
                "status": condition.status,
                "reason": condition.reason,
                "message": condition.message[:MESSAGE_LENGTH],
                "observedGeneration": generation,
                "lastTransitionTime": old["lastTransitionTime"] if old is not None and same else instant(now),
            }
        )
    return merged


def transitions(previous: Mapping[str, Any], status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Conditions whose status changed; a new one counts when it is bad news, except Ready: nothing is so at first."""
    before = {entry["type"]: entry["status"] for entry in previous.get("conditions") or ()}
    changed = []
    for entry in status.get("conditions") or ():
        old = before.get(entry["type"])
        news = entry["type"] != "Ready" and _is_bad(entry["type"], entry["status"])
        if old != entry["status"] and (old is not None or news):
            changed.append(entry)
    return changed


async def write_status(kube: Kube, live: Mapping[str, Any], status: Status, memory: Memory) -> bool:
    """Write the status when it says something new; True when it was written."""
    previous = live.get("status") or {}
    patch = merge_patch(previous, status)
    if not patch or (memory.status == status and memory.status_seen == previous):
        return False
    meta = live["metadata"]
    written = await kube.patch_status(KIND, meta["name"], meta["namespace"], patch)
    # A server with an older CRD drops fields; what it kept is what the next comparison must not write again.
    memory.status, memory.status_seen = status, written.get("status") or {}
    return True


async def post_events(kube: Kube, live: Mapping[str, Any], changed: Iterable[Mapping[str, Any]], now: float) -> None:
    """Post one event for each transition. An event that cannot be posted is nobody's concern."""
    meta = live["metadata"]
    for entry in changed:
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": f"{meta['name']}.{secrets.token_hex(8)}", "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": API_VERSION,
                "kind": KIND,
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
                "resourceVersion": meta.get("resourceVersion", ""),
            },
            "type": "Warning" if _is_bad(entry["type"], entry["status"]) else "Normal",
            "reason": entry["reason"],
            "message": f"{entry['type']} is {entry['status']}: {entry.get('message', '')}"[:MESSAGE_LENGTH],
            "source": {"component": FIELD_MANAGER},
            "reportingComponent": FIELD_MANAGER,
            "firstTimestamp": instant(now),
            "lastTimestamp": instant(now),
            "count": 1,
        }
        try:
            await kube.create(event)
        except KubeError:
            return


def _is_bad(kind: str, status: str) -> bool:
    if kind == "Progressing":
        return False
    return (status == "False") if kind in GOOD_WHEN_TRUE else (status == "True")


def _with_errors(condition: Condition, errors: Sequence[str], was_ready: bool) -> Condition:
    """What could not be written makes a deployment degraded, and keeps a new one from becoming Ready.

    One that was Ready stays so: whether it serves people is a question of its parts.
    """
    if not errors or not (condition.type == "Degraded" or (condition.type == "Ready" and not was_ready)):
        return condition
    more = f" (and {len(errors) - 3} more)" if len(errors) > 3 else ""
    status = "True" if condition.type == "Degraded" else "False"
    return Condition(condition.type, status, "ApplyFailed", "; ".join(errors[:3]) + more)


def _all_run(plan: Plan, observed: Observed) -> bool:
    return all(_state(part, observed.workloads.get(part.part))[0] == "Ready" for part in plan.parts.values())


def _state(part: PartPlan, workload: Workload | None) -> tuple[str, str]:
    if workload is None:
        return ("Waiting", part.waiting_for) if not part.write else ("Progressing", "")
    if workload.failed:
        return "Failed", workload.failed
    if part.stopped:
        return "Waiting", part.stopped
    if workload.kind == "Job":
        return ("Ready" if workload.succeeded else "Progressing"), ""
    done = workload.current and workload.updated >= workload.desired and workload.ready >= workload.desired
    return ("Ready" if done else "Progressing"), ""


def _part(part: PartPlan, workload: Workload | None) -> dict[str, Any]:
    state, message = _state(part, workload)
    ready = 0
    if workload is not None:
        ready = int(workload.succeeded) if workload.kind == "Job" else workload.ready
        if state == "Ready" and workload.kind != "Job" and ready < part.replicas:
            # What was asked for is there, and more is asked for by now.
            state = "Progressing"
    # The part's own program is the last container; sidecars come before it.
    return {
        "name": part.part,
        "desired": part.replicas,
        "ready": ready,
        "version": image_version(workload.images[-1]) if workload is not None and workload.images else "",
        "state": state,
        "message": message[:MESSAGE_LENGTH],
    }


def image_version(image: str) -> str:
    """The version that an image's tag names, without a leading v; empty for an image that has none."""
    _, colon, tag = image.partition("@")[0].rpartition("/")[2].partition(":")
    return tag.removeprefix("v") if colon else ""


def _pool(name: str, plan: Plan, observed: Observed) -> dict[str, Any]:
    nodes: list[GpuNode] = [node for node in observed.nodes if node.pool == name]
    ready = sum(node.ready for node in nodes)
    found = observed.pools.get(name)
    there = found.desired if found is not None and found.found else len(nodes)
    planned = next((pool.desired for pool in plan.pools if pool.name == name), there)
    return {
        "name": name,
        "desired": planned,
        "ready": ready,
        "gpuReady": sum(node.ready and node.gpus > 0 for node in nodes),
        **({} if found is None or found.joining is None else {"joining": found.joining}),
        "error": (found.error if found else "")[:MESSAGE_LENGTH],
    }


def _captions(observed: Observed, plan: Plan) -> dict[str, Any]:
    waits: dict[str, Any] = {}
    if observed.captions_waiting is not None:
        waits["waiting"] = observed.captions_waiting
    if observed.captions_longest_wait is not None:
        waits["longestWait"] = int(observed.captions_longest_wait)
    if plan.panic_since is not None:
        waits["panicSince"] = instant(plan.panic_since)
    return {
        **waits,
        "used": sum(server.used or 0 for server in observed.captions),
        "total": sum(server.total or 0 for server in observed.captions),
        "serving": sum(server.ready and server.serving and not server.terminating for server in observed.captions),
    }


def _transcription(observed: Observed) -> dict[str, Any]:
    load: dict[str, Any] = {
        "workers": sum(worker.ready and not worker.terminating for worker in observed.transcribers),
        "busy": sum(worker.busy is True for worker in observed.transcribers),
    }
    if observed.queue.waiting is not None:
        load["waiting"] = observed.queue.waiting
    return load


def _embedded(spec: VisioDeploymentSpec) -> list[str]:
    services = {
        "postgres": spec.database.embedded,
        "redis": spec.redis.embedded,
        "garage": spec.object_storage.embedded,
    }
    return [name for name, embedded in services.items() if embedded is not None]


def _substance(plan: Plan) -> dict[str, Any]:
    """What the plan does, without its words and its memory."""
    return {
        "version": plan.release.version if plan.release else "",
        "parts": [asdict(part) for part in plan.parts.values()],
        "pools": [asdict(pool) for pool in plan.pools],
        "pods": [asdict(mark) for mark in plan.pods],
        "nodes": [asdict(mark) for mark in plan.nodes],
        "invalid": list(plan.invalid),
    }
