"""GPU nodes follow real load: caption streams through real proxies, recordings on a real Redis queue."""

from __future__ import annotations

import json
import time

import pytest

import live
from visio_lab.demo_load import Load
from visio_lab.operator_process import USER


@pytest.fixture
def platform(lab, operator, namespace) -> str:
    """The evaluation example with pools of its own: 8 slots a GPU, at most 3 captions servers and 2 workers."""
    pools = {"captions-gpu": f"{namespace}-captions", "transcription-gpu": f"{namespace}-transcription"}

    def small(spec: dict) -> None:
        spec["captions"] |= {"slotsPerGpu": 8, "max": 3, "pool": pools["captions-gpu"]}
        spec["transcription"]["pool"] = pools["transcription-gpu"]
        for pool in spec["gpuPools"]:
            pool["name"] = pools[pool["name"]]

    objects = live.deployment("evaluation-captions.yaml", namespace, change=small)
    for document in objects:
        if document["kind"] == "NodePool":
            name = pools[document["metadata"]["name"]]
            document["metadata"]["name"] = name
            document["spec"]["nodeLabels"] = {"visio-operator.dev/pool": name}
    live.apply(lab, objects)
    live.wait_ready(lab, namespace)
    return namespace


def _nodes(lab, pool: str) -> list[dict]:
    return json.loads(lab.kubectl("get", "nodes", "-l", f"visio-operator.dev/pool={pool}", "-o", "json"))["items"]


def _bill(lab, pool: str) -> dict[str, int]:
    lines = [json.loads(line) for line in (lab.directory / "cloud.jsonl").read_text().splitlines()]
    events = [line["event"] for line in lines if line["pool"] == pool]
    return {event: events.count(event) for event in ("ordered", "returned")}


def test_nodes_are_bought_for_streams_and_recordings_and_returned_when_empty(lab, platform) -> None:
    pool, other = f"{platform}-captions", f"{platform}-transcription"
    since = time.time()
    load = Load(lab, platform, "visio")
    assert _nodes(lab, pool) == []
    assert load.queue_recordings(jobs=3, audio_seconds=40) == 3
    load.open_streams(14, seconds=15)
    load.open_streams(2, seconds=40)
    first = live.eventually(
        "a captions pod exists",
        lambda: live.items(lab, "pods", platform, "app.kubernetes.io/component=captions"),
        60,
        every=0.1,
    )
    node = live.get(lab, "node", first[0]["spec"].get("nodeName") or _nodes(lab, pool)[0]["metadata"]["name"])
    assert node["status"]["allocatable"].get("nvidia.com/gpu") == "1", "no pod before its GPU can be allocated"
    live.eventually("all streams have a slot", lambda: load.counters()["waiting"] == 0, 60)
    lead = live.eventually("the lead of the first server is known", lambda: _pool(lab, platform, pool).get("lead"), 30)
    assert {"boot", "image", "weights"} <= {stage["name"] for stage in lead["stages"]}
    assert 0 < lead["medianSeconds"] <= lead["p95Seconds"] <= time.time() - since
    states = {one["name"]: one["state"] for one in live.get(lab, "vd", "visio", platform)["status"]["signals"]}
    # Media servers and recorders are no processes in this laboratory, and their silence is news only after a minute.
    del states["mediaServers"], states["recorders"]
    assert states.keys() >= {"captionsSlots", "waitingStreams", "agentLoad", "transcriptionQueue", "workerQueues"}
    assert set(states.values()) == {"Fresh"}
    assert 2 <= len(_nodes(lab, pool)) <= 3
    assert {entry["responseStatus"]["code"] for entry in _pool_writes(lab, pool, since)} == {200}
    assert len(_pool_writes(lab, pool, since)) <= 2, "desired, minimum and maximum move in one patch"
    live.eventually("the short streams have ended", lambda: load.counters()["open"] <= 2, 90)
    # Two streams run on: OKS lets nobody choose which node goes, so none may be given back now.
    time.sleep(8)
    assert load.counters()["open"] == 2
    assert _bill(lab, pool)["returned"] == 0
    live.eventually("all nodes are returned", lambda: not _nodes(lab, pool) and not _nodes(lab, other), 120)
    counters = load.counters()
    assert (counters["cut"], counters["refused"], counters["missed"]) == (0, 0, 0)
    assert counters["done"] == 16
    kept = json.loads(live.get(lab, "configmap", "visio-forecast", platform)["data"]["planners.json"])
    assert kept["captions"]["demand"]["ever"], "what was learned survives the operator"
    assert load.recordings_done() == 3, "recordings went through the real queue and none was lost"
    for name, most in ((pool, 3), (other, 2)):
        bill = _bill(lab, name)
        assert 1 <= bill["ordered"] == bill["returned"] <= most


def _pool(lab, namespace: str, name: str) -> dict:
    pools = live.get(lab, "vd", "visio", namespace)["status"].get("pools") or ()
    return next((pool for pool in pools if pool["name"] == name), {})


def _pool_writes(lab, pool: str, since: float) -> list[dict]:
    return [
        entry
        for entry in live.audit(lab, since, USER)
        if entry["verb"] in live.WRITES
        and entry.get("objectRef", {}).get("resource") == "nodepools"
        and entry["objectRef"].get("name") == pool
    ]


def test_nodes_of_a_deployment_deleted_while_the_operator_was_gone_are_returned(
    lab, operator, platform, restart_operator
) -> None:
    pool = f"{platform}-captions"
    Load(lab, platform, "visio").open_streams(2, seconds=60)
    live.eventually("a node is there", lambda: _nodes(lab, pool), 30)
    operator.kill()
    lab.kubectl("delete", "vd", "visio", "--namespace", platform, "--wait=false")
    restart_operator()
    live.eventually("the deployment is gone", lambda: live.get(lab, "vd", "visio", platform) is None, 45)
    live.eventually("its nodes are returned", lambda: not _nodes(lab, pool), 45)
    spec = live.get(lab, "nodepools.oks.dev", pool)["spec"]
    assert (spec["desiredNodes"], spec["minNodes"]) == (0, 0)
