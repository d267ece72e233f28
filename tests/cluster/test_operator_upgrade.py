"""A new version of the operator restarts nothing: where it renders pods differently, that waits for the next window."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import live
from visio_lab.operator_process import free_lease, make_namespace, start_operator

NEWER = """
import visio_operator.runtime.version as version
from visio_operator.workloads import pods

version.OPERATOR_VERSION = "0.2.0"
rendered = pods.pod_template


def pod_template(site, pod):
    template = rendered(site, pod)
    template["spec"]["terminationGracePeriodSeconds"] += 1
    return template


pods.pod_template = pod_template
"""
"""What Python runs first in a process of the newer operator: another version, and another grace period for all pods."""
DAYS = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]


def _window(*, is_open: bool) -> dict[str, Any]:
    """A window of today, or of the day after tomorrow."""
    today = time.gmtime().tm_wday
    days = DAYS if is_open else [DAYS[(today + 2) % 7]]
    return {"days": days, "start": "00:00", "duration": "24h", "timeZone": "Europe/Paris"}


def _waits(spec: dict[str, Any]) -> None:
    spec["upgrade"] = {"windows": [_window(is_open=False)]}


@pytest.fixture
def rolled(lab, operator, restart_operator) -> Iterator[str]:
    """A Ready platform of the operator of this session, which comes back afterwards."""
    make_namespace(lab, "rolled")
    live.apply(lab, live.deployment("minimal.yaml", "rolled", change=_waits))
    live.wait_ready(lab, "rolled")
    yield "rolled"
    restart_operator()
    lab.kubectl("delete", "vd", "visio", "--namespace", "rolled", "--timeout=60s")
    lab.kubectl("delete", "namespace", "rolled", "--wait=false")


def _workloads(lab: Any, namespace: str) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one for one in live.items(lab, "deployments,statefulsets", namespace)}


def _grace(workloads: dict[str, dict[str, Any]]) -> dict[str, int]:
    return {name: one["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] for name, one in workloads.items()}


def _pods(lab: Any, namespace: str, part: str = "") -> set[str]:
    selector = f"app.kubernetes.io/component={part}" if part else ""
    return {one["metadata"]["uid"] for one in live.items(lab, "pods", namespace, selector)}


def _pending(lab: Any, namespace: str) -> str:
    return str(live.condition(lab, namespace, "RenderingPending").get("status"))


def test_a_newer_operator_adopts_its_rendering_in_a_window_and_not_before(
    lab, operator, rolled, tmp_path: Path
) -> None:
    assert _pending(lab, rolled) == "False"
    workloads, pods = _workloads(lab, rolled), _pods(lab, rolled)
    jobs = {one["metadata"]["uid"] for one in live.items(lab, "jobs", rolled)}
    operator.stop()
    free_lease(lab)
    (tmp_path / "sitecustomize.py").write_text(NEWER)
    newer = start_operator(lab, name="operator-newer", env={"PYTHONPATH": str(tmp_path)})
    try:
        live.eventually("the newer rendering waits", lambda: _pending(lab, rolled) == "True", 90)
        told = live.condition(lab, rolled, "RenderingPending")
        assert told["reason"] == "OutsideWindow"
        assert "operator 0.2.0 renders" in told["message"]
        planned = live.get(lab, "vd", "visio", rolled)["status"]["plan"]["rendering"]
        assert (planned["operator"], planned["objects"]) == ("0.2.0", len(workloads))
        assert {one["name"] for one in planned["restarts"]} == {name.removeprefix("visio-") for name in workloads}
        after = _workloads(lab, rolled)
        assert {name: one["spec"]["template"] for name, one in after.items()} == {
            name: one["spec"]["template"] for name, one in workloads.items()
        }
        assert _pods(lab, rolled) == pods

        # Drift goes back to what was applied last, not on to what waits.
        drift = '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":7}}}}'
        lab.kubectl("patch", "deployment", "visio-frontend", "--namespace", rolled, "--type=merge", "-p", drift)
        before = _grace(workloads)["visio-frontend"]
        live.eventually("it is restored", lambda: _grace(_workloads(lab, rolled))["visio-frontend"] == before, 60)

        # What the user asks for is done meanwhile, and restarts only what it concerns.
        def edited(spec: dict[str, Any]) -> None:
            _waits(spec)
            spec["recording"] = {"spare": 2}
            spec["overrides"] = [{"part": "celery-backend", "extraEnv": [{"name": "EDITED", "value": "yes"}]}]

        live.apply(lab, live.deployment("minimal.yaml", rolled, change=edited))
        live.eventually("both are done", lambda: _is_edited(_workloads(lab, rolled)), 60)
        grace = _grace(_workloads(lab, rolled))
        assert {name for name in grace if grace[name] != _grace(workloads)[name]} == {"visio-celery-backend"}
        assert _pods(lab, rolled, "sfu") <= pods
        assert _pending(lab, rolled) == "True"

        def opened(spec: dict[str, Any]) -> None:
            edited(spec)
            spec["upgrade"] = {"windows": [_window(is_open=True)]}

        live.apply(lab, live.deployment("minimal.yaml", rolled, change=opened))
        live.eventually("it is adopted", lambda: _pending(lab, rolled) == "False", 60)
        assert _grace(_workloads(lab, rolled)) == {name: value + 1 for name, value in _grace(workloads).items()}
        assert {one["metadata"]["uid"] for one in live.items(lab, "jobs", rolled)} == jobs, "no migration ran again"
        assert "plan" not in live.get(lab, "vd", "visio", rolled)["status"]
    finally:
        newer.stop()


def _is_edited(workloads: dict[str, dict[str, Any]]) -> bool:
    [worker] = workloads["visio-celery-backend"]["spec"]["template"]["spec"]["containers"]
    return workloads["visio-egress"]["spec"]["replicas"] == 2 and any(
        one["name"] == "EDITED" for one in worker.get("env", ())
    )
