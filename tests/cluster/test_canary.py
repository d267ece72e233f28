"""A media server of a new release is tried on new rooms: real LiveKit servers, real WebRTC participants.

The new release differs from the running one in the tag of its LiveKit image, which the laboratory starts as the same
program: what is tested is the operator's way with it, not LiveKit.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_sfu import PEOPLE, WATCHED_S, Calls, is_ready, node_id, servers

import live
import trusted

JOINER = Path(live.__file__).with_name("joining_load.py")
RUNNING, NEXT = "1.27.0", "1.27.1"
LIVEKIT = "docker.io/livekit/livekit-server"
TRACK = "visio-operator.dev/track"


def is_canary(pod: dict[str, Any]) -> bool:
    return pod["metadata"]["labels"].get(TRACK) == "canary"


def image_of(pod: dict[str, Any]) -> str:
    return next(str(one["image"]) for one in pod["spec"]["containers"] if one["name"] == "sfu")


def canary(lab: Any, namespace: str) -> dict[str, Any] | None:
    """The canary, once it is ready, unless it is on its way out."""
    found = [pod for pod in servers(lab, namespace).values() if is_canary(pod) and is_ready(pod)]
    return next((pod for pod in found if "deletionTimestamp" not in pod["metadata"]), None)


def leaving(lab: Any, namespace: str) -> dict[str, dict[str, Any]]:
    return {name: pod for name, pod in servers(lab, namespace).items() if "deletionTimestamp" in pod["metadata"]}


def upgrade(lab: Any, namespace: str, tag: str) -> None:
    """Make the next release, which has another LiveKit, and ask for it."""
    known = {key: f"docker.io/lasuite/meet-{key}:v{RUNNING}" for key in ("backend", "frontend", "summary", "agents")}
    body = {
        "apiVersion": "visio-operator.dev/v1alpha1",
        "kind": "VisioRelease",
        "metadata": {"name": NEXT},
        "spec": {"version": NEXT, "previous": RUNNING, "images": {**known, "livekit": f"{LIVEKIT}:{tag}"}},
    }
    live.apply(lab, [body])
    patch = json.dumps({"spec": {"version": NEXT}})
    lab.kubectl("patch", "vd", "visio", "--namespace", namespace, "--type=merge", "-p", patch)


@pytest.fixture
def platform(real_lab: Any) -> Iterator[str]:
    """The smallest platform with one media server, whose canaries are watched for less than a minute."""

    def small(spec: dict[str, Any]) -> None:
        spec["version"] = RUNNING
        spec["sfu"] = {"min": 1, "max": 1}
        spec["upgrade"] = {"soak": "0s", "canaryFor": "45s"}

    with trusted.platform(real_lab, "canary", small) as namespace:
        yield namespace
    real_lab.kubectl("delete", "visiorelease", NEXT, check=False)


@pytest.fixture
def calls(real_lab: Any, platform: str) -> Iterator[Calls]:
    made = Calls(real_lab, platform)
    yield made
    real_lab.kubectl("delete", "pod", "participants", "--namespace", platform, "--wait=false", check=False)


def test_a_canary_takes_a_new_room_and_the_others_follow_without_a_cut(
    real_lab: Any, platform: str, calls: Calls
) -> None:
    [old] = servers(real_lab, platform)
    calls.open("room-old", node_id(real_lab, platform, old))
    since = time.time()
    upgrade(real_lab, platform, "v9.9.9")
    tried = live.eventually("the canary is ready", lambda: canary(real_lab, platform), 240)
    assert image_of(tried) == f"{LIVEKIT}:v9.9.9"
    began = time.time()
    name = tried["metadata"]["name"]
    calls.open("room-new", node_id(real_lab, platform, name))
    assert [*leaving(real_lab, platform)] == [], "the old server serves on"

    def following() -> bool:
        return old in leaving(real_lab, platform)

    live.eventually("the canary has passed and the other server follows", following, 150)
    passed = time.time()
    assert name in servers(real_lab, platform), "the canary carries new rooms meanwhile"
    assert calls.lost("room-old", since) == []
    calls.close("room-old")
    live.eventually("the canary leaves when the other is ready", lambda: name in leaving(real_lab, platform), 120)
    live.eventually("the old server leaves with its last room", lambda: old not in servers(real_lab, platform), 30)
    [successor] = [pod for pod in servers(real_lab, platform).values() if not is_canary(pod)]
    assert image_of(successor) == f"{LIVEKIT}:v9.9.9"
    time.sleep(WATCHED_S)
    assert calls.lost("room-new", since) == []
    assert name in servers(real_lab, platform), "it stays for its room, which is on no other server"
    assert calls.hearing("room-new") == PEOPLE
    print(f"passed {passed - began:.0f} s after it was ready")
    calls.close("room-new")
    live.eventually("it is gone", lambda: name not in servers(real_lab, platform), 30)


def load(lab: Any, namespace: str, targets: dict[str, dict[str, Any]]) -> None:
    """A pod whose participants join rooms of these servers, one after another."""
    work = {pod["metadata"]["name"]: pod["status"]["podIP"] for pod in targets.values()}
    plan = [
        {"ip": work[pod["metadata"]["name"]], "node": node, "lose": 20 if is_canary(pod) else 0, "weight": weight}
        for node, pod, weight in ((node, pod, 1 if is_canary(pod) else 2) for node, pod in targets.items())
    ]
    secret = [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": "visio-keys", "key": key}}}
        for name, key in (("LIVEKIT_API_KEY", "livekitApiKey"), ("LIVEKIT_API_SECRET", "livekitApiSecret"))
    ]
    container = {
        "name": "load",
        "image": "lab-process",
        "command": [sys.executable, str(JOINER)],
        "env": [{"name": "SERVERS", "value": json.dumps(plan)}, *secret],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 1001,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "joining", "namespace": namespace},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
    }
    live.apply(lab, [body])


def test_a_canary_that_loses_five_percent_of_joins_is_taken_back_with_the_evidence(
    real_lab: Any, platform: str
) -> None:
    """The fault: a relay before the canary's signalling port cuts every twentieth connection once the server has
    answered, so that the participant never gets media. The server itself is whole."""
    real_lab.kubectl(
        "patch", "vd", "visio", "-n", platform, "--type=merge", "-p", '{"spec": {"upgrade": {"canaryFor": "5m"}}}'
    )
    [old] = servers(real_lab, platform)
    upgrade(real_lab, platform, "v9.9.8")
    tried = live.eventually("the canary is ready", lambda: canary(real_lab, platform), 240)
    name = tried["metadata"]["name"]
    both = servers(real_lab, platform)
    load(real_lab, platform, {node_id(real_lab, platform, pod): both[pod] for pod in (old, name)})
    began = time.time()

    def held() -> str:
        found = live.condition(real_lab, platform, "UpgradeHeld")
        return str(found.get("message")) if found.get("reason") == "CanaryFailed" else ""

    def joined() -> str:
        trace = live.get(real_lab, "vd", "visio", platform)["status"].get("trace")
        return f"{trace}\n{real_lab.kubectl('logs', 'joining', '--namespace', platform, '--tail=20', check=False)}"

    message = live.eventually("the upgrade is held", held, 150, shown=joined)
    took = time.time() - began
    seen = re.search(r"joins without media: (\d+) of (\d+)", message)
    assert seen, message
    print(f"held {took:.0f} s after the first join, {seen.group(0)}")
    live.eventually("it is taken back", lambda: canary(real_lab, platform) is None, 15)
    assert [*leaving(real_lab, platform)] in ([], [name])
    kept = servers(real_lab, platform)[old]
    assert is_ready(kept)
    assert not image_of(kept).endswith(":v9.9.8"), "the others stay as they are"
