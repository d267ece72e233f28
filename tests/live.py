"""What the tests on a real cluster share: applying examples, waiting, listing what is owned, reading the audit log."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import yaml

import api_reader
from visio_lab.errors import LabError

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
OWNED_KINDS = (
    "deployments.apps,statefulsets.apps,jobs.batch,cronjobs.batch,services,configmaps,secrets,serviceaccounts,"
    "persistentvolumeclaims,poddisruptionbudgets.policy,networkpolicies.networking.k8s.io,ingresses.networking.k8s.io,"
    "horizontalpodautoscalers.autoscaling"
)
NEAR = 100_000
"""Bytes of the audit log that are read rather than searched."""
SLACK_S = 2.0
"""How much later than a later line one may say that it was completed."""
WRITES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


def limit(name: str) -> float:
    """A bound from ranges.yaml."""
    return float(yaml.safe_load((ROOT / "tests" / "ranges.yaml").read_text())[name]["max"])


def documents(example: str) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all((EXAMPLES / example).read_text()) if document]


def deployment(
    example: str, namespace: str, name: str = "visio", change: Callable[[dict[str, Any]], None] | None = None
) -> list[dict[str, Any]]:
    """The documents of an example for a namespace, the VisioDeployment renamed and changed."""
    result = []
    for document in documents(example):
        if document["kind"] == "Namespace":
            continue
        if document["kind"] != "NodePool":
            document["metadata"]["namespace"] = namespace
        if document["kind"] == "VisioDeployment":
            document["metadata"]["name"] = name
            if change:
                change(document["spec"])
        result.append(document)
    return result


def apply(lab: Any, objects: list[dict[str, Any]], *, check: bool = True) -> str:
    return lab.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(objects), check=check)


def get(lab: Any, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
    return api_reader.read(lab, kind, namespace, name)


def items(lab: Any, kinds: str, namespace: str, selector: str = "", fields: str = "") -> list[dict[str, Any]]:
    return [
        item
        for kind in kinds.split(",")
        for item in api_reader.read_list(lab, kind, namespace, labelSelector=selector, fieldSelector=fields)
    ]


def owned(lab: Any, namespace: str, name: str = "visio") -> dict[tuple[str, str], dict[str, Any]]:
    """Everything of a deployment, by kind and name."""
    found = items(lab, OWNED_KINDS, namespace, f"visio-operator.dev/deployment={name}")
    return {(item["kind"], item["metadata"]["name"]): item for item in found}


def wait_ready(lab: Any, namespace: str, name: str = "visio", timeout: int = 90) -> float:
    start = time.monotonic()
    try:
        lab.kubectl("wait", "--for=condition=Ready", f"vd/{name}", "--namespace", namespace, f"--timeout={timeout}s")
    except LabError as error:
        raise AssertionError(f"{error}\n{_state(lab, namespace, name)}") from error
    return time.monotonic() - start


def _state(lab: Any, namespace: str, name: str) -> str:
    """What a reader of a failed test wants to know first: conditions, pods and their events."""
    told = (get(lab, "vd", name, namespace) or {}).get("status", {}).get("conditions", [])
    lines = [f"{entry['type']}={entry['status']} {entry['reason']}: {entry.get('message', '')}" for entry in told]
    wide = ("--namespace", namespace, "-o", "wide")
    return "\n".join([*lines, lab.kubectl("get", "pods,jobs", *wide), lab.kubectl("get", "events", *wide)])


def condition(lab: Any, namespace: str, kind: str, name: str = "visio") -> dict[str, Any]:
    found = get(lab, "vd", name, namespace) or {}
    for entry in found.get("status", {}).get("conditions", []):
        if entry["type"] == kind:
            return dict(entry)
    return {}


def eventually(
    what: str,
    check: Callable[[], Any],
    timeout: float = 20.0,
    every: float = 0.25,
    shown: Callable[[], Any] = lambda: "nothing more is known",
) -> Any:
    """Wait until `check()` gives something true, and return it; else the failure tells what `shown()` gives."""
    end = time.monotonic() + timeout
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < end, f"not within {timeout:.0f} s: {what}; {shown()}"
        time.sleep(every)


def audit(lab: Any, since: float, user: str = "") -> Iterator[dict[str, Any]]:
    """Completed requests in the audit log since a unix time, of one user or of all."""
    with Path(lab.audit_log).open("rb") as lines:
        lines.seek(_start(lines, since))
        for line in lines:
            entry = _entry(line)
            if entry.get("stage") != "ResponseComplete" or (user and entry["user"]["username"] != user):
                continue
            if received(entry) >= since:
                yield entry


def _start(lines: BinaryIO, since: float) -> int:
    """A place in the audit log before all that was completed since a unix time: lines come in that order, or nearly."""
    low, high = 0, lines.seek(0, os.SEEK_END)
    while high - low > NEAR:
        middle = (low + high) // 2
        lines.seek(middle)
        lines.readline()
        entry = _entry(lines.readline())
        if entry and _instant(entry["stageTimestamp"]) < since - SLACK_S:
            low = middle
        else:
            high = middle
    lines.seek(low)
    if low:
        lines.readline()
    return lines.tell()


def _entry(line: bytes) -> dict[str, Any]:
    try:
        return dict(json.loads(line))
    except ValueError:
        return {}  # the line being written right now


def received(entry: dict[str, Any]) -> float:
    return _instant(entry["requestReceivedTimestamp"])


def _instant(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def writes(lab: Any, since: float, user: str) -> list[dict[str, Any]]:
    """Writes of a user since a unix time, without the renewals of its Lease."""
    return [
        entry
        for entry in audit(lab, since, user)
        if entry["verb"] in WRITES and entry.get("objectRef", {}).get("resource") != "leases"
    ]


def quiet(lab: Any, seconds: float = 3.0, timeout: float = 60.0) -> None:
    """Wait until nobody has written for some seconds, but leases, events and what nodes say of themselves."""
    kept = frozenset({"leases", "events", "nodes"})

    def written() -> list[str]:
        found = (entry for entry in audit(lab, time.time() - seconds) if entry["verb"] in WRITES)
        refs = (entry.get("objectRef", {}) for entry in found)
        return [f"{ref.get('namespace')}/{ref.get('name')}" for ref in refs if ref.get("resource") not in kept]

    eventually("nobody writes", lambda: not written(), timeout, shown=written)


def intent(item: dict[str, Any]) -> dict[str, Any]:
    """An object without what differs between two runs: identity, times, random values, allocated addresses."""
    metadata = item["metadata"]
    kept = {key: value for key, value in item.items() if key not in ("metadata", "status")}
    kept["metadata"] = {key: metadata.get(key, {}) for key in ("name", "labels")}
    if item["kind"] == "Secret":
        kept["data"] = sorted(item.get("data", {}))
    if item["kind"] == "Service":
        spec = kept["spec"] = dict(item["spec"])
        for key in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
            if spec.get(key) != "None" and spec.get(key) != ["None"]:
                spec.pop(key, None)
        spec["ports"] = [{k: v for k, v in port.items() if k != "nodePort"} for port in spec.get("ports", [])]
    if item["kind"] == "Job":
        kept["spec"] = {"template": _without_controller_labels(item["spec"]["template"])}
        kept["metadata"]["labels"] = {k: v for k, v in metadata["labels"].items() if "controller-uid" not in k}
    if item["kind"] == "PersistentVolumeClaim":
        kept["spec"] = {key: value for key, value in item["spec"].items() if key != "volumeName"}
    return kept


def _without_controller_labels(template: dict[str, Any]) -> dict[str, Any]:
    labels = template.get("metadata", {}).get("labels", {})
    return {**template, "metadata": {"labels": {k: v for k, v in labels.items() if "controller-uid" not in k}}}


def changes(lab: Any, namespace: str, since: float, user: str) -> list[tuple[str, str, str]]:
    """Resource, name and subresource of what a user wrote in a namespace since a unix time; events are no state."""
    references = [entry["objectRef"] for entry in writes(lab, since, user)]
    return [
        (one["resource"], one.get("name", ""), one.get("subresource", ""))
        for one in references
        if one.get("namespace") == namespace and one["resource"] != "events"
    ]
