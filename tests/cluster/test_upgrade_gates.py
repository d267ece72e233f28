"""A later ring waits for an earlier one, an approval has to fit, and an emergency stop writes nothing but status."""

from __future__ import annotations

import json
import time
from typing import Any

import live
from visio_lab.operator_process import USER
from visio_operator.cli import main

OLD, NEW = "1.26.0", "1.27.0"


def _patch(lab: Any, namespace: str, name: str, **spec: Any) -> None:
    body = json.dumps({"spec": spec})
    lab.kubectl("patch", "vd", name, "--namespace", namespace, "--type=merge", "-p", body)


def _held(lab: Any, namespace: str, name: str, reason: str) -> dict[str, Any]:
    found = live.condition(lab, namespace, "UpgradeHeld", name)
    return found if found.get("reason") == reason else {}


def _upgrade(lab: Any, namespace: str, name: str) -> dict[str, Any]:
    return dict((live.get(lab, "vd", name, namespace) or {}).get("status", {}).get("upgrade", {}))


def _runs(lab: Any, namespace: str, name: str, version: str) -> bool:
    return _upgrade(lab, namespace, name).get("from") == version


def _approve(lab: Any, namespace: str, name: str, digest: str) -> int:
    arguments = ["--namespace", namespace, "--kubeconfig", str(lab.kubeconfig), "--digest", digest]
    return main(["approve", name, "-o", "json", *arguments])


def test_a_broad_deployment_is_approved_waits_for_a_stopped_pilot_and_follows_it(
    lab, operator, namespace, capsys
) -> None:
    def of_ring(name: str, **upgrade: Any) -> list[dict[str, Any]]:
        def change(spec: dict[str, Any]) -> None:
            spec["version"], spec["host"] = OLD, f"{name}.example.gouv.fr"
            spec["upgrade"] = {"ring": name, "soak": "0s", **upgrade}

        return live.deployment("minimal.yaml", namespace, name, change)

    live.apply(lab, of_ring("pilot", paused=True))
    live.apply(lab, of_ring("broad", mode="Approve"))
    for name in ("pilot", "broad"):
        live.wait_ready(lab, namespace, name)
        live.eventually("it says since when", lambda name=name: _upgrade(lab, namespace, name).get("runningSince"), 20)
        _patch(lab, namespace, name, version=NEW)

    # Approval: a stale digest is refused by the command, and ignored and named where it was written past it.
    live.eventually("approval is asked for", lambda: _held(lab, namespace, "broad", "ApprovalNeeded"), 20)
    digest = _upgrade(lab, namespace, "broad")["approvalDigest"]
    assert _approve(lab, namespace, "broad", "000000000000") == 1
    assert f"is stale, nothing is approved: the present plan is {digest}" in capsys.readouterr().err
    annotation = "visio-operator.dev/approved-upgrade=000000000000"
    lab.kubectl("annotate", "vd", "broad", "--namespace", namespace, annotation)
    live.eventually(
        "the stale approval is named",
        lambda: "000000000000 is of another plan" in _held(lab, namespace, "broad", "ApprovalNeeded")["message"],
        20,
    )
    present = _upgrade(lab, namespace, "broad")["approvalDigest"]
    assert present != digest
    assert _approve(lab, namespace, "broad", present) == 0
    assert json.loads(capsys.readouterr().out)["takenUp"] is True

    # The ring: a paused pilot never comes, and that is said.
    stalled = live.eventually("the broad one waits", lambda: _held(lab, namespace, "broad", "RingStalled"), 20)
    assert f"pilot {namespace}/pilot runs {OLD} and has spec.upgrade.paused" in stalled["message"]
    assert _held(lab, namespace, "pilot", "Paused")
    since = time.time()
    time.sleep(4)
    assert live.changes(lab, namespace, since, USER) == [], "waiting writes nothing"

    # Emergency stop: not even what was deleted comes back.
    _patch(lab, namespace, "pilot", emergencyStop=True, upgrade={"paused": False})
    live.eventually(
        "stopped", lambda: live.condition(lab, namespace, "EmergencyStop", "pilot").get("status") == "True", 20
    )
    since = time.time()
    lab.kubectl("delete", "deployment", "pilot-frontend", "--namespace", namespace)
    time.sleep(4)
    assert live.get(lab, "deployment", "pilot-frontend", namespace) is None
    written = [one for one in live.changes(lab, namespace, since, USER) if one[:2] != ("visiodeployments", "broad")]
    assert set(written) <= {("visiodeployments", "pilot", "status")}, written
    assert not _migrated(lab, namespace, "pilot")

    # And on: the pilot climbs, the broad one follows it and not before.
    _patch(lab, namespace, "pilot", emergencyStop=False)
    live.eventually("the pilot runs it", lambda: _runs(lab, namespace, "pilot", NEW), 120)
    assert not _migrated(lab, namespace, "broad") or _runs(lab, namespace, "pilot", NEW)
    live.eventually("the broad one follows", lambda: _runs(lab, namespace, "broad", NEW), 120)
    order = {name: _since(lab, namespace, name) for name in ("pilot", "broad")}
    assert order["pilot"] < order["broad"]


def _migrated(lab: Any, namespace: str, name: str) -> bool:
    jobs = live.items(lab, "jobs", namespace, f"visio-operator.dev/deployment={name}")
    return any(NEW.replace(".", "-") in job["metadata"]["name"] for job in jobs)


def _since(lab: Any, namespace: str, name: str) -> str:
    return str(_upgrade(lab, namespace, name)["runningSince"])
