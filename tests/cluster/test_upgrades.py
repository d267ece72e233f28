"""Upgrades on a real API server: rungs one after another, migrations once each, failures that hold, retries."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import live
from visio_lab.operator_process import USER
from visio_lab.stages import ABSENT, BROKEN

OLD, NEW = "1.25.0", "1.27.0"


@pytest.fixture
def platform(lab, operator, namespace) -> str:
    """A deployment of an older release, Ready."""
    live.apply(lab, _deployment(namespace, OLD))
    live.wait_ready(lab, namespace)
    return namespace


def _deployment(namespace: str, version: str, **upgrade: Any) -> list[dict[str, Any]]:
    def change(spec: dict[str, Any]) -> None:
        spec["version"] = version
        spec["upgrade"] = {"soak": "0s", **upgrade}

    return live.deployment("minimal.yaml", namespace, change=change)


def _version(lab: Any, namespace: str) -> str:
    return str((live.get(lab, "vd", "visio", namespace) or {}).get("status", {}).get("version", ""))


def _patch(lab: Any, namespace: str, spec: dict[str, Any]) -> None:
    patch = json.dumps({"spec": spec})
    lab.kubectl("patch", "vd", "visio", "--namespace", namespace, "--type=merge", "-p", patch)


def _created_jobs(lab: Any, since: float, namespace: str, part: str) -> list[str]:
    """Names of the Jobs of a part that the operator made, from the audit log."""
    names = [
        entry["objectRef"]["name"]
        for entry in live.writes(lab, since, USER)
        if entry["objectRef"].get("resource") == "jobs"
        and entry["objectRef"].get("namespace") == namespace
        and entry["responseStatus"]["code"] == 201
    ]
    return [name for name in names if name.startswith(f"visio-{part}-")]


def _uids(lab: Any, namespace: str, part: str) -> set[str]:
    pods = live.items(lab, "pods", namespace, f"app.kubernetes.io/component={part}")
    return {pod["metadata"]["uid"] for pod in pods}


def test_two_rungs_are_climbed_with_each_migration_once_and_media_servers_left_alone(lab, platform) -> None:
    since, started = time.time(), time.monotonic()
    servers = _uids(lab, platform, "sfu")
    assert servers
    _patch(lab, platform, {"version": NEW})
    live.eventually(f"{NEW} runs", lambda: _version(lab, platform) == NEW, 240)
    took = time.monotonic() - started
    migrations = _created_jobs(lab, since, platform, "migrate")
    assert [name.rsplit("-", 1)[0] for name in migrations] == ["visio-migrate-1-26-0", "visio-migrate-1-27-0"]
    assert len(_created_jobs(lab, since, platform, "upgrade-check")) == 2
    assert _uids(lab, platform, "sfu") == servers, "no image of theirs changed, so no call had to move"
    assert live.condition(lab, platform, "UpgradeHeld")["status"] == "False"
    print(f"{took / 2:.1f} s for each rung")
    assert took / 2 <= live.limit("upgradeRungSeconds")


@pytest.fixture
def release(lab) -> Iterator[Callable[..., None]]:
    """Puts images of the laboratory's faults into a release, and takes them out again."""
    made = []

    def override(version: str, **images: str) -> None:
        body = {
            "apiVersion": "visio-operator.dev/v1alpha1",
            "kind": "VisioRelease",
            "metadata": {"name": version},
            "spec": {"version": version, "images": images},
        }
        live.apply(lab, [body])
        made.append(version)

    yield override
    for version in made:
        lab.kubectl("delete", "visiorelease", version, check=False)


@pytest.mark.parametrize(
    ("image", "reason", "text"),
    [
        (f"{ABSENT}lasuite/meet-frontend:v1.26.0", "CheckFailed", "ImagePullBackOff"),
        (f"{BROKEN}lasuite/meet-frontend:v1.26.0", "CheckFailed", "broken by the laboratory"),
    ],
)
def test_an_image_that_is_not_there_or_a_check_that_fails_holds_and_changes_nothing(
    lab, platform, release, image, reason, text
) -> None:
    before = {key: item["metadata"].get("generation") for key, item in live.owned(lab, platform).items()}
    release("1.26.0", frontend=image)
    _patch(lab, platform, {"version": "1.26.0"})
    held = live.eventually("held", lambda: _held(lab, platform, reason), 90)
    assert text in held["message"]
    after = live.owned(lab, platform)
    assert {key: after[key]["metadata"].get("generation") for key in before} == before
    assert live.condition(lab, platform, "Ready")["status"] == "True"


def test_a_downgrade_is_held_and_the_release_that_runs_goes_on(lab, platform) -> None:
    since = time.time()
    _patch(lab, platform, {"version": "1.24.0"})
    held = live.eventually("held", lambda: _held(lab, platform, "VersionStepNotAllowed"), 30)
    assert "set it to 1.25.0 or newer" in held["message"]
    assert not [
        one
        for one in live.writes(lab, since, USER)
        if one["objectRef"].get("namespace") == platform
        and one["objectRef"]["resource"] in ("deployments", "jobs", "statefulsets")
    ]
    _patch(lab, platform, {"version": OLD})
    live.eventually("not held", lambda: _held(lab, platform, "NotHeld"), 30)


def _held(lab: Any, namespace: str, reason: str) -> dict[str, Any]:
    found = live.condition(lab, namespace, "UpgradeHeld")
    return found if found.get("reason") == reason else {}
