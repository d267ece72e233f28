"""A morning in the laboratory against the same morning in `simulate`: the same streams, the same knowledge.

Real: the captions proxies and every stream through them, the operator, the scheduler, the API server. Stand-ins:
Kyutai's servers, the subtitles agents, and the cloud that sells the nodes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

import live
import morning
from visio_lab.operator_process import free_lease, start_operator
from visio_operator.plan.servers import Limits
from visio_operator.simulation.cloud import Cloud

SPEED = 60.0
"""Seconds of the planners' clock in one second: a node takes five seconds in place of five minutes."""
SLOTS = 16
POOLS = 8
SUBTITLES = "app.kubernetes.io/component=subtitles"
TAIL_S = 3.0
"""Seconds for which a stream of the stand-in listens for its last words, with its slot."""
BEFORE, AFTER = 10 * 60, 40 * 60
START = morning.MONDAY + 7 * morning.WEEKS * morning.DAY + morning.OPENS - BEFORE
WARM_UP_S = 45.0
LEAD = Cloud(median=480.0, p95=600.0, fails=0.0)
"""Of the laboratory's nodes, their pods and models included, on the planners' clock."""


@pytest.fixture
def fast_operator(lab, operator, restart_operator) -> Iterator[object]:
    """Starts an operator whose planners' clock says START at a given time, in place of the session's."""
    started: list[object] = []

    def start(at: float) -> object:
        operator.stop()
        free_lease(lab)
        env = {
            "VISIO_OPERATOR_CLOCK_SPEED": str(SPEED),
            "VISIO_OPERATOR_CLOCK_AHEAD": str(START - SPEED * at),
            # What an operator has on a real cloud, as much shorter as everything else.
            "VISIO_OPERATOR_HOLD_SECONDS": str(150 / SPEED),
            "VISIO_OPERATOR_SETTLE_SECONDS": str(30 / SPEED),
            "VISIO_OPERATOR_RECHECK_SECONDS": str(30 / SPEED),
        }
        started.append(start_operator(lab, name="operator-morning", env=env))
        return started[-1]

    yield start
    for process in started:
        process.stop()
    restart_operator()


def _platform(namespace: str, knowledge: dict[str, object]) -> list[dict]:
    """Captions alone, on a group of pools of one node each."""
    names = [f"{namespace}-{index}" for index in range(POOLS)]

    def change(spec: dict) -> None:
        spec["captions"] |= {"slotsPerGpu": SLOTS, "max": POOLS, "pool": "captions"}
        spec["transcription"] = {"enabled": False}
        spec["recording"] = {"enabled": False}
        spec.pop("capacity", None)
        spec["gpuPools"] = [{"name": name, "group": "captions", "provider": "oks", "max": 1} for name in names]

    objects = live.deployment("evaluation-captions.yaml", namespace, change=change)
    template = next(one for one in objects if one["kind"] == "NodePool")
    objects = [one for one in objects if one["kind"] != "NodePool"]
    for name in names:
        spec = template["spec"] | {"maxNodes": 1, "nodeLabels": {"visio-operator.dev/pool": name}}
        objects.append(template | {"metadata": {"name": name}, "spec": spec})
    history = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "visio-forecast", "namespace": namespace}}
    return [history | {"data": {"planners.json": json.dumps(morning.kept(knowledge))}}, *objects]


def _play(lab, namespace: str, found: list[tuple[float, float]]) -> subprocess.Popen:
    pods = live.items(lab, "pods", namespace, SUBTITLES)
    agents = [f"--agent-service=http://{pod['status']['podIP']}:8081" for pod in pods]
    schedule = [((at - morning.OPENS + BEFORE) / SPEED, 1, stay / SPEED) for at, stay in found]
    file = lab.directory / "schedule.json"
    file.write_text(json.dumps(schedule))
    with file.open("rb") as source:
        return lab.enter(
            [sys.executable, "-m", "visio_lab.load", "play", *agents],
            stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def _counters(lab, namespace: str) -> dict[str, float]:
    """What became of all streams."""
    agents = [pod["metadata"]["name"] for pod in live.items(lab, "pods", namespace, SUBTITLES)]
    total: dict[str, float] = {}
    for agent in agents:
        path = f"/api/v1/namespaces/{namespace}/pods/{agent}:8081/proxy/lab/streams"
        for name, value in json.loads(lab.kubectl("get", "--raw", path)).items():
            total[name] = max(total.get(name, 0), value) if name.startswith("longest") else total.get(name, 0) + value
    return total


def _paid(lab, namespace: str, begins: float, ends: float) -> tuple[float, list[float]]:
    """Node seconds from order to return between two times, and the seconds from each order to its GPU."""
    ordered: dict[str, float] = {}
    paid, leads = 0.0, []
    for line in (lab.directory / "cloud.jsonl").read_text().splitlines():
        event = json.loads(line)
        if not event["pool"].startswith(f"{namespace}-"):
            continue
        if event["event"] == "ordered":
            ordered[event["node"]] = event["t"]
        elif event["event"] == "gpu":
            leads.append(event["t"] - ordered[event["node"]])
        elif event["event"] == "returned":
            paid += min(event["t"], ends) - max(ordered.pop(event["node"]), begins)
    return paid + sum(max(0.0, ends - max(at, begins)) for at in ordered.values()), leads


@pytest.mark.timeout(900)
def test_the_laboratory_pays_what_simulate_says(lab, namespace, fast_operator, request) -> None:
    day = morning.Morning(hours=3.0 if request.config.getoption("--whole-morning") else 1.0)
    limits = Limits(slots=SLOTS, maximum=POOLS)
    knowledge = morning.learned(day, limits, LEAD)
    found = morning.streams(day, seed=5)
    live.apply(lab, _platform(namespace, knowledge))
    began = time.time() + WARM_UP_S
    operator = fast_operator(began)
    live.wait_ready(lab, namespace)
    assert time.time() < began, "the platform was not Ready when the morning began"
    time.sleep(began - time.time())
    player = _play(lab, namespace, found)
    end = START + BEFORE + 3600 * day.hours + AFTER
    ends = began + (end - START) / SPEED
    _, complaint = player.communicate(timeout=ends - time.time() + 60)
    assert player.returncode == 0, complaint.decode()
    time.sleep(max(0.0, ends - time.time()))
    counters = _counters(lab, namespace)
    paid, leads = _paid(lab, namespace, began, ends)
    assert operator.alive
    cluster = SPEED * paid
    there = [(at, stay + TAIL_S * SPEED) for at, stay in found]
    expected = morning.simulated(there, START, end, limits, LEAD, knowledge)
    print(
        f"{len(found)} streams, {counters['opened']} opened, {counters['waited']} waited over 1 s, longest"
        f" {counters['longest_wait_s']:.1f} s, cut {counters['cut']}, refused {counters['refused']}\n"
        f"paid {cluster / 3600:.2f} h in the laboratory, {expected.server_seconds / 3600:.2f} h in simulate"
        f" ({cluster / expected.server_seconds:.3f}), waited there {expected.waited}, orders {len(leads)} and"
        f" {expected.orders}; GPU after {SPEED * sorted(leads)[len(leads) // 2]:.0f} s"
    )
    assert counters["done"] == len(found), "every stream was served to its end"
    assert (counters["cut"], counters["refused"], counters["missed"]) == (0, 0, 0)
    assert abs(cluster / expected.server_seconds - 1) <= live.limit("morningAgainstSimulate")
