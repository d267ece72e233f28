"""A morning in the laboratory against the same morning in `simulate`: the same streams, the same knowledge.

Real: the captions proxies and every stream through them, the operator, the scheduler, the API server. Stand-ins:
Kyutai's servers, the subtitles agents, and the cloud that sells the nodes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

import live
import morning
import morning_keda
import morning_live
from morning_live import AFTER, BEFORE, SPEED, Row
from visio_lab.operator_process import free_lease, start_operator
from visio_operator.plan.servers import Limits
from visio_operator.simulation.baselines import utilization
from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.world import World

SLOTS = 16
POOLS = 8
TAIL_S = 3.0
"""Seconds for which a stream of the stand-in listens for its last words, with its slot."""
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


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    """What each way to run the morning came to."""
    return []


@pytest.fixture
def day(request: pytest.FixtureRequest) -> morning.Morning:
    """The morning that is played."""
    return morning.Morning(hours=3.0 if request.config.getoption("--whole-morning") else 1.0)


def _played(lab: Any, namespace: str, day: morning.Morning, began: float) -> tuple[dict[str, float], float]:
    """Play the morning from a unix time on; what became of the streams, and when it was over."""
    assert time.time() < began, "the platform was not Ready when the morning began"
    time.sleep(began - time.time())
    player = morning_live.play(lab, namespace, _streams(day))
    ends = began + (BEFORE + 3600 * day.hours + AFTER) / SPEED
    _, complaint = player.communicate(timeout=ends - time.time() + 60)
    assert player.returncode == 0, complaint.decode()
    time.sleep(max(0.0, ends - time.time()))
    return morning_live.counters(lab, namespace), ends


def _streams(day: morning.Morning) -> list[tuple[float, float]]:
    return morning.streams(day, seed=5)


def _there(day: morning.Morning) -> tuple[list[tuple[float, float]], float, float]:
    """The streams as they hold their slots, and the time of the planners' clock in which `simulate` plays them."""
    there = [(at, stay + TAIL_S * SPEED) for at, stay in _streams(day)]
    return there, START, START + BEFORE + 3600 * day.hours + AFTER


@pytest.mark.alone
@pytest.mark.timeout(900)
def test_the_laboratory_pays_what_simulate_says(lab, namespace, fast_operator, day, rows) -> None:
    limits = Limits(slots=SLOTS, maximum=POOLS)
    knowledge = morning.learned(day, limits, LEAD)
    live.apply(lab, _platform(namespace, knowledge))
    began = time.time() + WARM_UP_S
    operator = fast_operator(began)
    live.wait_ready(lab, namespace)
    counters, ends = _played(lab, namespace, day, began)
    paid = morning_live.bill(lab, f"{namespace}-", began, ends)
    assert operator.alive
    cluster, streams = SPEED * paid.seconds, len(_streams(day))
    expected = morning.simulated(*_there(day), limits, LEAD, knowledge)
    rows += [
        morning_live.played("planner, played", paid, counters, streams),
        morning_live.simulated("planner, simulated", expected),
    ]
    print(
        f"\n{morning_live.table(rows)}\nplayed of simulated {cluster / expected.server_seconds:.3f};"
        f" GPU after {SPEED * sorted(paid.leads)[len(paid.leads) // 2]:.0f} s"
    )
    assert counters["done"] == streams, "every stream was served to its end"
    assert (counters["cut"], counters["refused"], counters["missed"]) == (0, 0, 0)
    assert abs(cluster / expected.server_seconds - 1) <= live.limit("morningAgainstSimulate")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("proxies", [True, False], ids=["proxies", "service"])
def test_what_a_pod_autoscaler_pays_for_the_same_morning(
    lab, namespace, operator, external_metrics, restart_operator, day, rows, proxies
) -> None:
    """Nothing is asked of the baseline but that it was one: its figures are printed beside the planner's."""
    limits = Limits(slots=SLOTS, maximum=POOLS)
    live.apply(lab, morning_keda.platform(namespace, SLOTS, POOLS))
    live.wait_ready(lab, namespace)
    operator.stop()
    try:
        morning_keda.hand_over(lab, namespace, SLOTS, POOLS, proxies=proxies, keda=external_metrics == "KEDA")
        began = time.time() + 1.0
        counters, ends = _played(lab, namespace, day, began)
    finally:
        morning_keda.take_back(lab, namespace)
        restart_operator()
    paid = morning_live.bill(lab, morning_keda.group(namespace), began, ends)
    there, start, end = _there(day)
    trace = morning.trace({7 * morning.WEEKS: there}, start, end)
    how = "our proxies" if proxies else "a Service"
    without = "" if proxies else " by least connections"
    world = World(trace, SLOTS, LEAD, 1, rehome=proxies, spread=not proxies)
    rows += [
        morning_live.played(f"HPA + {external_metrics}, {how}, played", paid, counters, len(there)),
        morning_live.simulated(f"HPA, {how}{without}, simulated", world.run(utilization(limits, morning_keda.TARGET))),
    ]
    print(f"\n{morning_live.table(rows)}\nsizes that the HPA asked for: {morning_keda.sizes(lab, namespace)}")
    assert paid.nodes > 1, "the autoscaler bought nodes as streams came"
