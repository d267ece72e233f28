"""A deployment in mode Propose buys nothing until its plan is approved, by the command that its status names."""

from __future__ import annotations

import json
import time
from typing import Any

import live
from visio_lab.demo_load import Load
from visio_lab.operator_process import USER
from visio_operator.cli import main


def _approve(lab: Any, namespace: str, digest: str) -> int:
    """The command, in this process: starting another one takes longer than all else here."""
    arguments = ["--namespace", namespace, "--kubeconfig", str(lab.kubeconfig), "--digest", digest]
    return main(["approve", "visio", "-o", "json", *arguments])


def _plan(lab: Any, namespace: str) -> dict[str, Any]:
    return ((live.get(lab, "vd", "visio", namespace) or {}).get("status") or {}).get("plan") or {}


def _pool_writes(lab: Any, pool: str, since: float) -> int:
    return sum(
        entry["objectRef"]["resource"] == "nodepools" and entry["objectRef"].get("name") == pool
        for entry in live.writes(lab, since, USER)
    )


def test_a_node_is_bought_when_its_plan_is_approved_and_not_before(lab, operator, namespace, capsys) -> None:
    since, pool = time.time(), f"{namespace}-captions"

    def proposing(spec: dict[str, Any]) -> None:
        spec["capacity"] = {"mode": "Propose"}
        spec["recording"] = spec["transcription"] = {"enabled": False}
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

    def told() -> bool:
        return any(
            event["message"].startswith("ApprovalPending is True") for event in live.items(lab, "events", namespace)
        )

    live.eventually("an event tells it, which is written after the status", told, 15)

    before = live.get(lab, "nodepools.oks.dev", pool)
    # Past the command: an approval that fits no plan is ignored, and the plan goes on under a new name.
    annotation = "visio-operator.dev/approved-plan=000000000000"
    lab.kubectl("annotate", "vd", "visio", "--namespace", namespace, annotation)
    live.eventually("the plan has a new name", lambda: _plan(lab, namespace)["digest"] != plan["digest"], 10)
    present = _plan(lab, namespace)["digest"]
    assert "000000000000 is of another plan" in live.condition(lab, namespace, "ApprovalPending")["message"]
    assert _approve(lab, namespace, plan["digest"]) == 1
    told = capsys.readouterr()
    assert (told.out, told.err.count("\n")) == ("", 1)
    assert f"{plan['digest']} is stale, nothing is approved: the present plan is {present}" in told.err
    assert live.get(lab, "nodepools.oks.dev", pool)["metadata"]["generation"] == before["metadata"]["generation"]
    assert _pool_writes(lab, pool, since) == 0

    assert _approve(lab, namespace, present) == 0
    assert json.loads(capsys.readouterr().out)["takenUp"] is True
    assert live.get(lab, "nodepools.oks.dev", pool)["spec"]["desiredNodes"] == 1
    assert _pool_writes(lab, pool, since) == 1
    assert _plan(lab, namespace) == {}
    selector = f"visio-operator.dev/pool={pool}"
    live.eventually("the node is there", lambda: lab.kubectl("get", "nodes", "-l", selector, "-o", "name").strip(), 20)


def test_an_empty_node_of_a_group_goes_back_when_that_is_approved_beside_a_stream_that_runs_on(
    lab, operator, namespace, capsys
) -> None:
    """Outscale lets nobody choose the node that goes, so single nodes are pools of one group."""
    names = [f"{namespace}-{index}" for index in (1, 2)]

    def proposing(spec: dict[str, Any]) -> None:
        spec["capacity"] = {"mode": "Propose", "blockedTarget": "0.5"}
        spec["recording"] = spec["transcription"] = {"enabled": False}
        spec["captions"] |= {"pool": namespace, "slotsPerGpu": 8, "max": 2}
        spec["gpuPools"] = [{"name": name, "group": namespace, "provider": "oks", "max": 1} for name in names]

    objects = live.deployment("evaluation-captions.yaml", namespace, change=proposing)
    nodes = [one for one in objects if one["kind"] == "NodePool"]
    for document, name in zip(nodes, names, strict=True):
        document["metadata"]["name"] = name
        document["spec"] |= {"maxNodes": 1, "nodeLabels": {"visio-operator.dev/pool": name}}
    live.apply(lab, objects)
    live.wait_ready(lab, namespace)

    def sizes() -> list[int]:
        return [live.get(lab, "nodepools.oks.dev", name)["spec"]["desiredNodes"] for name in names]

    def proposed() -> list[tuple[str, int]]:
        return [(pool["name"], pool["toNodes"]) for pool in _plan(lab, namespace).get("pools") or ()]

    load = Load(lab, namespace, "visio")
    load.open_streams(1, seconds=90)
    load.open_streams(9, seconds=30)
    live.eventually("both nodes are proposed", lambda: proposed() == [(name, 1) for name in names], 30, shown=proposed)
    assert sizes() == [0, 0]
    assert _approve(lab, namespace, _plan(lab, namespace)["digest"]) == 0
    live.eventually("all streams have a slot", lambda: load.counters()["waiting"] == 0, 60, shown=load.counters)

    live.eventually("the short streams have ended", lambda: load.counters()["open"] == 1, 60, shown=load.counters)
    live.eventually("one node is proposed to go", lambda: [to for _, to in proposed()] == [0], 40, shown=proposed)
    ((name, _),) = proposed()
    [node] = json.loads(lab.kubectl("get", "nodes", "-l", f"visio-operator.dev/pool={name}", "-o", "json"))["items"]
    assert not node["spec"].get("unschedulable"), "nothing is closed before somebody approved it"
    assert sizes() == [1, 1]
    capsys.readouterr()
    assert _approve(lab, namespace, _plan(lab, namespace)["digest"]) == 0
    live.eventually("its pool is lowered, the other one is not", lambda: sizes() == [int(n != name) for n in names], 30)
    live.eventually("the node is gone", lambda: live.get(lab, "node", node["metadata"]["name"]) is None, 30)
    counters = load.counters()
    assert (counters["open"], counters["cut"], counters["missed"]) == (1, 0, 0), "the stream runs on"
