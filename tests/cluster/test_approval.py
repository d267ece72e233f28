"""A deployment in mode Propose buys nothing until its plan is approved, by the command that its status names."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import live
from visio_lab.operator_process import USER


def _approve(lab: Any, namespace: str, digest: str) -> tuple[int, dict[str, Any], str]:
    command = [sys.executable, "-m", "visio_operator", "approve", "visio", "--namespace", namespace, "-o", "json"]
    ended = subprocess.run(
        [*command, "--digest", digest, "--kubeconfig", str(lab.kubeconfig)],
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, json.loads(ended.stdout or "{}"), ended.stderr.strip()


def _plan(lab: Any, namespace: str) -> dict[str, Any]:
    return ((live.get(lab, "vd", "visio", namespace) or {}).get("status") or {}).get("plan") or {}


def _pool_writes(lab: Any, pool: str, since: float) -> int:
    return sum(
        entry["objectRef"]["resource"] == "nodepools" and entry["objectRef"].get("name") == pool
        for entry in live.writes(lab, since, USER)
    )


def test_a_node_is_bought_when_its_plan_is_approved_and_not_before(lab, operator, namespace) -> None:
    since, pool = time.time(), f"{namespace}-captions"

    def proposing(spec: dict[str, Any]) -> None:
        spec["capacity"] = {"mode": "Propose"}
        spec["transcription"] = {"enabled": False}
        spec["captions"] |= {"min": 1, "pool": pool}
        spec["gpuPools"] = [{"name": pool, "provider": "oks", "max": 4, "pricePerHour": "2.35"}]

    objects = live.deployment("evaluation-captions.yaml", namespace, change=proposing)
    objects = [one for one in objects if one["metadata"]["name"] != "transcription-gpu"]
    [nodes] = [one for one in objects if one["kind"] == "NodePool"]
    nodes["metadata"]["name"] = pool
    nodes["spec"]["nodeLabels"] = {"visio-operator.dev/pool": pool}
    live.apply(lab, objects)

    plan = live.eventually("the plan is in status", lambda: _plan(lab, namespace), 15)
    [change] = plan["pools"]
    assert (change["name"], change.get("fromNodes", 0), change["toNodes"]) == (pool, 0, 1)
    assert change["eurosPerDay"] == plan["eurosPerDay"] == "+56.40"
    assert live.condition(lab, namespace, "ApprovalPending")["status"] == "True"
    events = live.items(lab, "events", namespace)
    assert [event for event in events if event["message"].startswith("ApprovalPending is True")]

    before = live.get(lab, "nodepools.oks.dev", pool)
    code, _, error = _approve(lab, namespace, "000000000000")
    assert (code, error.count("\n")) == (1, 0)
    assert f"the present plan is {plan['digest']}" in error
    # Also past the command: an approval of nothing is ignored, and the plan gets a new name.
    annotation = "visio-operator.dev/approved-plan=000000000000"
    lab.kubectl("annotate", "vd", "visio", "--namespace", namespace, annotation)
    said = lambda: "is ignored" in live.condition(lab, namespace, "ApprovalPending").get("message", "")  # noqa: E731
    live.eventually("status says that the approval is ignored", said, 10)
    after = live.get(lab, "nodepools.oks.dev", pool)
    assert after["metadata"]["generation"] == before["metadata"]["generation"]
    assert _pool_writes(lab, pool, since) == 0
    assert _approve(lab, namespace, plan["digest"])[0] == 1, "its digest was of the time before"

    code, answer, error = _approve(lab, namespace, _plan(lab, namespace)["digest"])
    assert (code, answer["takenUp"], error) == (0, True, "")
    assert live.get(lab, "nodepools.oks.dev", pool)["spec"]["desiredNodes"] == 1
    assert _pool_writes(lab, pool, since) == 1
    assert _plan(lab, namespace) == {}
    selector = f"visio-operator.dev/pool={pool}"
    live.eventually("the node is there", lambda: lab.kubectl("get", "nodes", "-l", selector, "-o", "name").strip(), 20)
