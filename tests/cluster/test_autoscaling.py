"""Replicas that an autoscaler decides: the operator neither fights it nor lets the number drop while it hands over."""

from __future__ import annotations

import json
import time
from typing import Any

import live


def _replicas(lab: Any, namespace: str) -> int:
    return int((live.get(lab, "deployment", "visio-backend", namespace) or {})["spec"]["replicas"])


def _set(lab: Any, namespace: str, low: int, high: int) -> None:
    patch = json.dumps({"spec": {"api": {"min": low, "max": high}}})
    lab.kubectl("patch", "vd", "visio", "--namespace", namespace, "--type=merge", "-p", patch)


def _bounds(lab: Any, namespace: str) -> tuple[int, int] | None:
    found = live.get(lab, "horizontalpodautoscaler", "visio-backend", namespace)
    return (found["spec"]["minReplicas"], found["spec"]["maxReplicas"]) if found else None


def test_an_autoscaler_gets_the_replicas_and_gives_them_back_without_a_dip(lab, operator, namespace) -> None:
    live.apply(
        lab, live.deployment("minimal.yaml", namespace, change=lambda spec: spec.update(api={"min": 3, "max": 3}))
    )
    live.wait_ready(lab, namespace)
    assert (_replicas(lab, namespace), _bounds(lab, namespace)) == (3, None)

    _set(lab, namespace, 2, 9)
    live.eventually("there is an autoscaler", lambda: _bounds(lab, namespace) == (2, 9))
    for _ in range(12):
        assert _replicas(lab, namespace) == 3
        time.sleep(0.25)

    # Somebody who may scale, here in place of the autoscaler: this cluster has no metrics.
    lab.kubectl("scale", "deployment", "visio-backend", "--namespace", namespace, "--replicas=5")
    time.sleep(3)
    assert _replicas(lab, namespace) == 5

    _set(lab, namespace, 4, 4)
    live.eventually("the operator decides again", lambda: _replicas(lab, namespace) == 4)
    live.eventually("the autoscaler is gone", lambda: _bounds(lab, namespace) is None)


def test_a_new_deployment_begins_with_its_minimum(lab, operator, namespace) -> None:
    live.apply(lab, live.deployment("minimal.yaml", namespace))
    live.wait_ready(lab, namespace)
    assert _bounds(lab, namespace) == (2, 10)
    assert _replicas(lab, namespace) == 2
