"""Media servers come and go under running calls: real LiveKit servers, real WebRTC participants on the pod network."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from math import inf
from pathlib import Path
from typing import Any

import pytest

import live
import trusted

WITH_SOUND = (sys.executable, str(Path(live.__file__).with_name("room_participants.py")))
"""The program whose participants send a tone and hear it."""
PEOPLE = 3
"""Participants of a room."""
JOINED_S = 60.0
WATCHED_S = 15.0
"""How long the calls are watched while a server is on its way out: three of LiveKit's own looks for participants."""
EMPTIED_S = 30.0
BACK_S = 15.0
SFU = "app.kubernetes.io/component=sfu"
LOST = ("disconnected", "rejoined", "failed", "gone")
"""What makes a call cut, besides silence. A participant whose signalling went by way of the server that has just left
resumes it by the other one (`reconnecting`, `reconnected`), stays in the room meanwhile and hears on."""
CUT_S = 3.0
"""How much longer than in the room of the other server a silence may be, since a busy machine makes all calls pause."""


class Calls:
    """Participants in a pod of their own, steered by a ConfigMap, followed by their log."""

    def __init__(self, lab: Any, namespace: str, people: int = PEOPLE, program: Sequence[str] = WITH_SOUND) -> None:
        self.lab, self.namespace, self.people, self.program = lab, namespace, people, program
        self.rooms: dict[str, dict[str, Any]] = {}
        self._write()
        live.apply(lab, [self._pod()])

    def open(self, room: str, node: str | None = None) -> None:
        """A room in which everybody hears everybody, on the server with this node id or any."""
        self.rooms[room] = {"people": self.people, **({"node": node} if node else {})}
        self._write()
        live.eventually(f"all hear each other in {room}", lambda: self.hearing(room) == self.people, JOINED_S)

    def close(self, room: str) -> None:
        """Everybody leaves."""
        del self.rooms[room]
        self._write()

    def events(self, room: str, since: float = 0.0) -> list[dict[str, Any]]:
        """What happened to the participants of a room."""
        log = self.lab.directory / "logs" / "pods" / f"{self.namespace}_participants_people.log"
        lines = log.read_text().splitlines() if log.exists() else []
        parsed = [json.loads(line) for line in lines if line.startswith('{"t"') and line.endswith("}")]
        return [each for each in parsed if each["room"] == room and each["t"] >= since]

    def hearing(self, room: str) -> int:
        """Participants who hear all others, by what they said last."""
        last = {each["who"]: each["hears"] for each in self.events(room) if each["event"] == "present"}
        return sum(hears == self.people - 1 for hears in last.values())

    def lost(self, room: str, since: float) -> list[dict[str, Any]]:
        """Every cut of a call."""
        return [each for each in self.events(room, since) if each["event"] in LOST]

    def pause(self, room: str, since: float) -> float:
        """The longest silence, in seconds; 0 when there was none to speak of."""
        return max((each.get("gap", 0.0) for each in self.events(room, since)), default=0.0)

    def resumed(self, room: str, since: float) -> list[float]:
        """Seconds that each resumption of signalling took; endless for one that never ended."""
        took = {}
        for each in self.events(room, since):
            if each["event"] == "reconnecting":
                took[each["who"], each["t"]] = inf
            elif each["event"] == "reconnected":
                began = max(at for who, at in took if who == each["who"])
                took[each["who"], began] = each["t"] - began
        return [*took.values()]

    def _write(self) -> None:
        work = json.dumps({"url": "ws://visio-sfu:7880", "rooms": self.rooms})
        live.apply(
            self.lab,
            [
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "participants", "namespace": self.namespace},
                    "data": {"work.json": work},
                }
            ],
        )

    def _pod(self) -> dict[str, Any]:
        secret = [
            {"name": name, "valueFrom": {"secretKeyRef": {"name": "visio-keys", "key": key}}}
            for name, key in (("LIVEKIT_API_KEY", "livekitApiKey"), ("LIVEKIT_API_SECRET", "livekitApiSecret"))
        ]
        context = {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "runAsUser": 1001,
            "seccompProfile": {"type": "RuntimeDefault"},
        }
        container = {
            "name": "people",
            "image": "lab-process",
            "command": [*self.program],
            "env": [{"name": "PARTICIPANTS", "value": "/participants/work.json"}, *secret],
            "volumeMounts": [{"name": "work", "mountPath": "/participants"}],
            "securityContext": context,
        }
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "participants", "namespace": self.namespace},
            "spec": {
                "containers": [container],
                "volumes": [{"name": "work", "configMap": {"name": "participants"}}],
                "terminationGracePeriodSeconds": 1,
            },
        }


def servers(lab: Any, namespace: str) -> dict[str, dict[str, Any]]:
    return {pod["metadata"]["name"]: pod for pod in live.items(lab, "pods", namespace, SFU)}


def is_ready(pod: dict[str, Any]) -> bool:
    return any(each["type"] == "Ready" and each["status"] == "True" for each in pod["status"].get("conditions", []))


def node_id(lab: Any, namespace: str, pod: str) -> str:
    """The name that LiveKit gave itself when it last started in this pod."""
    text = (lab.directory / "logs" / "pods" / f"{namespace}_{pod}_sfu.log").read_text()
    return str(re.findall(r'"nodeID": ?"(ND_\w+)"', text)[-1])


def holder(lab: Any, namespace: str, room: str) -> str:
    """The node id of the server that has a room, from LiveKit's own table in Redis."""
    secret = live.get(lab, "secret", "visio-redis", namespace) or {}
    pod = live.items(lab, "pods", namespace, "app.kubernetes.io/component=redis")[0]
    ask = (
        "import base64, os, redis\n"
        f"r = redis.Redis('{pod['status']['podIP']}', password=base64.b64decode(os.environ['P']).decode())\n"
        f"print((r.hget('room_node_map', '{room}') or b'').decode())"
    )
    password = secret.get("data", {}).get("password", "")
    process = lab.enter([sys.executable, "-c", ask], env={**os.environ, "P": password}, stdout=subprocess.PIPE)
    return str(process.communicate(timeout=30)[0].decode().strip())


def process_of(pod: str) -> int:
    """The process of a media server, by the host name that the lab's kubelet gave it."""
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if not folder.name.isdigit() or (folder / "comm").read_text().strip() != "livekit-server":
                continue
            if f"HOSTNAME={pod}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                return int(folder.name)
    raise AssertionError(f"no livekit-server of pod {pod}")


@pytest.fixture
def platform(real_lab: Any) -> Iterator[str]:
    """The smallest platform with two media servers, in a namespace of its own."""

    def two(spec: dict[str, Any]) -> None:
        spec["sfu"] = {"min": 2, "max": 2}

    with trusted.space(real_lab, "sfu") as namespace:
        live.apply(real_lab, trusted.deployment(real_lab, "minimal.yaml", namespace, two))
        wait_for_both(real_lab, namespace)
        yield namespace


def wait_for_both(lab: Any, namespace: str) -> None:
    """Until two media servers are ready, whatever else is not yet."""

    def both() -> bool:
        found = servers(lab, namespace)
        return len(found) == 2 and all(is_ready(pod) for pod in found.values())

    live.eventually("two media servers are ready", both, 240)


@pytest.fixture
def calls(real_lab: Any, platform: str) -> Iterator[Calls]:
    made = Calls(real_lab, platform)
    yield made
    real_lab.kubectl("delete", "pod", "participants", "--namespace", platform, "--wait=false", check=False)


def test_scale_in_cuts_no_participant(real_lab: Any, platform: str, calls: Calls) -> None:
    ids = {pod: node_id(real_lab, platform, pod) for pod in servers(real_lab, platform)}
    rooms = {pod: f"room-{number}" for number, pod in enumerate(ids)}
    for pod, room in rooms.items():
        calls.open(room, ids[pod])
        assert holder(real_lab, platform, room) == ids[pod]
    since = time.time()
    real_lab.kubectl("patch", "vd", "visio", "-n", platform, "--type=merge", "-p", '{"spec": {"sfu": {"min": 1}}}')

    def leaving() -> list[str]:
        return [name for name, pod in servers(real_lab, platform).items() if "deletionTimestamp" in pod["metadata"]]

    [gone] = live.eventually("one server is on its way out", leaving, 60)
    [kept] = ids.keys() - {gone}
    time.sleep(WATCHED_S)
    assert gone in servers(real_lab, platform), "it stays for its room"
    calls.open("room-new")
    assert holder(real_lab, platform, "room-new") == ids[kept]
    assert [event for room in rooms.values() for event in calls.lost(room, since)] == []
    assert [calls.hearing(room) for room in rooms.values()] == [PEOPLE, PEOPLE]
    assert calls.pause(rooms[gone], since) < calls.pause(rooms[kept], since) + CUT_S
    print("longest pauses:", {room: calls.pause(room, since) for room in rooms.values()})
    calls.close(rooms[gone])
    emptied = time.time()
    live.eventually("it leaves when its room is empty", lambda: gone not in servers(real_lab, platform), EMPTIED_S)
    left = time.time()
    others = (rooms[kept], "room-new")
    live.eventually(
        "signalling is resumed", lambda: all(took < inf for room in others for took in calls.resumed(room, since))
    )
    assert [*servers(real_lab, platform)] == [kept]
    assert [event for room in others for event in calls.lost(room, since)] == []
    assert [calls.hearing(room) for room in others] == [PEOPLE, PEOPLE]
    resumed = [round(took, 1) for room in others for took in calls.resumed(room, since)]
    print(f"the server left {left - emptied:.1f} s after its room; signalling resumed in {resumed} s")


def kill_process(lab: Any, namespace: str, pod: str) -> None:
    """A crash: the kubelet starts the server again at once, under another name."""
    os.kill(process_of(pod), signal.SIGKILL)


def lose_machine(lab: Any, namespace: str, pod: str) -> None:
    """The server is gone with its machine, and there is no place for another one."""
    lab.kubectl("cordon", "--selector=!no-such-label")
    lab.kubectl("delete", "pod", pod, "--namespace", namespace, "--grace-period=0", "--force")


@pytest.mark.parametrize("lose", [kill_process, lose_machine])
def test_participants_of_a_killed_server_are_back_in_their_room(
    real_lab: Any, platform: str, calls: Calls, lose: Callable[[Any, str, str], None]
) -> None:
    ids = {pod: node_id(real_lab, platform, pod) for pod in servers(real_lab, platform)}
    victim, other = sorted(ids)
    calls.open("room-victim", ids[victim])
    calls.open("room-other", ids[other])
    since = time.time()
    try:
        lose(real_lab, platform, victim)
        live.eventually("the loss is noticed", lambda: calls.hearing("room-victim") == 0, BACK_S)
        live.eventually("all are back", lambda: calls.hearing("room-victim") == PEOPLE, 2 * BACK_S)
    finally:
        real_lab.kubectl("uncordon", "--selector=!no-such-label")
    now_at = holder(real_lab, platform, "room-victim")
    heard = [each for each in calls.events("room-victim", since) if each["event"] == "heard"]
    outage = max(each["gap"] for each in heard)
    where = "the other server" if now_at == ids[other] else "the one started again"
    print(f"{lose.__name__}: back on {where} after {outage:.1f} s")
    assert now_at == ids[other] or (lose is kill_process and now_at != ids[victim])
    assert {each["who"] for each in heard} == {f"room-victim-{number}" for number in range(PEOPLE)}
    assert outage < BACK_S
    # Whose signalling went by way of the lost server may have to join the other room anew; media go on until then.
    live.eventually("the other room is whole", lambda: calls.hearing("room-other") == PEOPLE, BACK_S)
    assert calls.pause("room-other", since) < BACK_S
