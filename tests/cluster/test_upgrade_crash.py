"""The operator may die at any moment of an upgrade: started again, it ends in the same state, and migrates once."""

from __future__ import annotations

import json
import re
import time
from typing import Any

import pytest

import live
from visio_lab.operator_process import USER, make_namespace

OLD, NEW = "1.26.0", "1.27.0"
MOMENTS = (1, 6, 17)
"""Writes after which the operator is killed: the check's Job, around the migrations, among the parts."""
WRITES_OF_A_RUNG = 40


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-write")
        metafunc.parametrize("moment", range(1, WRITES_OF_A_RUNG + 1) if every else MOMENTS)


@pytest.fixture(scope="module")
def undisturbed(lab, session_operator):
    """The state that an undisturbed upgrade ends in."""
    make_namespace(lab, "undisturbed-upgrade")
    _install(lab, "undisturbed-upgrade")
    since = time.time()
    _upgrade(lab, "undisturbed-upgrade")
    live.eventually("upgraded", lambda: _version(lab, "undisturbed-upgrade") == NEW, 120)
    state = _state(lab, "undisturbed-upgrade")
    writes = len(live.writes(lab, since, USER))
    assert writes <= WRITES_OF_A_RUNG + 20, "the moments no longer cover the upgrade"
    lab.kubectl("delete", "vd", "visio", "--namespace", "undisturbed-upgrade", "--timeout=60s")
    return state


def test_killed_during_an_upgrade_it_ends_in_the_same_state_and_migrates_once(
    lab, undisturbed, operator, namespace, restart_operator, moment
) -> None:
    _install(lab, namespace)
    since = time.time()
    _upgrade(lab, namespace)
    end = time.monotonic() + 60
    while len(live.writes(lab, since, USER)) < moment and time.monotonic() < end:
        time.sleep(0.005)
    operator.kill()
    restart_operator()
    live.eventually("upgraded", lambda: _version(lab, namespace) == NEW, 120)
    assert _state(lab, namespace) == undisturbed
    made = [
        entry["objectRef"]["name"]
        for entry in live.writes(lab, since, USER)
        if entry["objectRef"].get("resource") == "jobs"
        and entry["objectRef"].get("namespace") == namespace
        and entry["responseStatus"]["code"] == 201
    ]
    assert len([name for name in made if name.startswith("visio-migrate-1-27-0")]) == 1
    assert len(made) == len(set(made)), "no Job of a rung is made twice"


def _install(lab: Any, namespace: str) -> None:
    def change(spec: dict[str, Any]) -> None:
        spec["version"] = OLD

    live.apply(lab, live.deployment("minimal.yaml", namespace, change=change))
    live.wait_ready(lab, namespace)


def _upgrade(lab: Any, namespace: str) -> None:
    patch = json.dumps({"spec": {"version": NEW}})
    lab.kubectl("patch", "vd", "visio", "--namespace", namespace, "--type=merge", "-p", patch)


def _version(lab: Any, namespace: str) -> str:
    return str((live.get(lab, "vd", "visio", namespace) or {}).get("status", {}).get("version", ""))


def _state(lab: Any, namespace: str) -> dict[tuple[str, str], tuple[str, tuple[str, ...]]]:
    """Of every object: the release that it is of, and its images. The name of a check changes with random marks."""
    return {
        (kind, re.sub(r"^(visio-preflight)-[0-9a-f]{12}$", r"\1", name)): (
            (item["metadata"].get("annotations") or {}).get("visio-operator.dev/release", ""),
            _images(item),
        )
        for (kind, name), item in live.owned(lab, namespace).items()
    }


def _images(item: dict[str, Any]) -> tuple[str, ...]:
    pod = item.get("spec", {}).get("template", {}).get("spec", {})
    return tuple(one["image"] for one in (*pod.get("initContainers", ()), *pod.get("containers", ())))
