"""Announcements on their way: to rooms by LiveKit's API, to a webhook, and what is said of failures."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from livekit.api import TokenVerifier

from builders import UID, a_deployment
from visio_operator.plan.announce import Announcement, Channel, told_key
from visio_operator.plan.leaving import RoomTimes
from visio_operator.runtime import announce as announcing
from visio_operator.runtime import livekit_api
from visio_operator.runtime.announce import announce, message, notice, signature
from visio_operator.runtime.kube import KubeError
from visio_operator.runtime.livekit_api import KeyPair, LivekitError, token
from visio_operator.runtime.memory import Memory, Rooms
from visio_operator.workloads.common import Site

NOW = 1_800_000_000.0
KEY, SECRET = "key", "s" * 48
HOOK = {"url": "https://hooks.example.fr/visio", "secretRef": {"name": "hook"}}


def encoded(**values: str) -> dict[str, Any]:
    return {"data": {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}}


KEYS = {"visio-keys": encoded(livekitApiKey=KEY, livekitApiSecret=SECRET)}
POD = {"metadata": {"name": "sfu-a"}, "status": {"podIP": "127.0.0.1", "phase": "Running"}}


def one(*channels: Channel, phase: str = "start", **more: Any) -> Announcement:
    fields = {"pods": ("sfu-a",), "seconds_left": 900.0, "interrupts": True, "contact": "help@example.fr", **more}
    return Announcement(f"drain-{phase}-1", "drain", phase, "sfu-a", channels, NOW, NOW + 900, **fields)


def a_site() -> Site:
    return Site("visio", "visio", UID, a_deployment().having(upgrade={"announce": {"webhook": HOOK}}).spec())


class Cluster:
    """As much of a cluster as is asked for here: its Secrets."""

    def __init__(self, **secrets: dict[str, Any]) -> None:
        self.secrets = secrets

    async def get(self, kind: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        if name not in self.secrets:
            return None
        if not self.secrets[name]:
            raise KubeError(403, "Forbidden", "no")
        return self.secrets[name]


class Livekit:
    """LiveKit's room service: it checks tokens as the real one does."""

    def __init__(self) -> None:
        self.rooms = {"secret-room": NOW - 600, "other": 0.0}
        self.sent: list[dict[str, Any]] = []

    async def answer(self, request: web.Request) -> web.Response:
        method, body = request.match_info["method"], await request.json()
        claims = TokenVerifier(KEY, SECRET).verify(request.headers["Authorization"].removeprefix("Bearer "))
        if method == "ListRooms":
            assert claims.video is not None and claims.video.room_list
            rooms = [{"name": name, "creation_time": str(int(at))} for name, at in self.rooms.items()]
            return web.json_response({"rooms": rooms})
        assert claims.video is not None and claims.video.room_admin and claims.video.room == body["room"]
        if body["room"] not in self.rooms:
            return web.json_response({"code": "not_found"}, status=404)
        self.sent.append(body)
        return web.json_response({})


@pytest.fixture
async def livekit(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Livekit]:
    served, app = Livekit(), web.Application()
    app.router.add_post("/twirp/livekit.RoomService/{method}", served.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(livekit_api, "LIVEKIT_PORT", int(runner.addresses[0][1]))
    yield served
    await runner.cleanup()


def a_memory(*rooms: str, error: str = "") -> Memory:
    unread = frozenset({"sfu-a"}) if error else frozenset()
    return Memory(rooms=Rooms({"sfu-a": rooms}, RoomTimes(read_at=NOW, error=error), unread))


async def make(due: list[Announcement], memory: Memory, cluster: Cluster, now: float = NOW) -> dict[str, float]:
    kube: Any = cluster
    async with aiohttp.ClientSession() as session:
        return await announce(kube, session, a_site(), due, {"sfu-a": POD}, KEYS, memory, now)


def test_tokens_are_those_of_livekit() -> None:
    made = token(KeyPair(KEY, SECRET), {"roomList": True}, time.time())
    claims = TokenVerifier(KEY, SECRET).verify(made)
    assert claims.video is not None and claims.video.room_list and not claims.video.room_admin
    assert SECRET not in repr(KeyPair(KEY, SECRET))


async def test_rooms_of_a_server_that_drains_are_told_and_counted(livekit: Livekit) -> None:
    memory = a_memory("secret-room", "ended meanwhile")
    told = await make([one("rooms")], memory, Cluster())
    assert told == {told_key("rooms", "drain-start-1"): NOW}
    [sent] = livekit.sent
    assert (sent["room"], sent["topic"], sent["kind"]) == ("secret-room", "lk-chat-topic", "RELIABLE")
    body = json.loads(base64.b64decode(sent["data"]))
    assert (body["type"], body["timestamp"]) == ("maintenanceAnnounced", 1000 * NOW)
    [entry] = memory.announced.values()
    assert (entry["rooms"], entry["message"]) == (1, "") and "secret-room" not in json.dumps(entry)


async def test_all_rooms_are_told_of_maintenance(livekit: Livekit) -> None:
    maintenance = Announcement("m", "maintenance", "before", "1.28.0", ("rooms",), NOW, None)
    await make([maintenance], Memory(), Cluster())
    assert sorted(each["room"] for each in livekit.sent) == ["other", "secret-room"]


async def test_a_room_that_cannot_be_told_is_tried_again_after_a_growing_pause(livekit: Livekit) -> None:
    memory = a_memory(error="Redis at r:6379 cannot be read")
    assert await make([one("rooms")], memory, Cluster()) == {}
    assert memory.announced["drain-start-1"]["message"] == "rooms: Redis at r:6379 cannot be read; tried again"
    memory.rooms = Rooms({"sfu-a": ("secret-room",)}, RoomTimes(read_at=NOW))
    assert await make([one("rooms")], memory, Cluster(), NOW + 4) == {}
    assert await make([one("rooms")], memory, Cluster(), NOW + 5) != {}
    assert (memory.tell_after, memory.announced["drain-start-1"]["message"]) == ({}, "")


async def test_errors_of_livekit_name_no_room(livekit: Livekit) -> None:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(LivekitError) as refused:
            await livekit_api.send(session, "127.0.0.1", KeyPair(KEY, SECRET), "gone-room", b"{}", "t")
    assert str(refused.value) == "SendData was answered with 404"


@pytest.mark.parametrize(
    "cluster, why",
    [
        (Cluster(), "Secret hook has no key secret; create it in namespace visio"),
        (Cluster(hook=encoded(other="x")), "Secret hook has no key secret; create it in namespace visio"),
        (Cluster(hook={}), "Secret hook cannot be read"),
        (Cluster(hook=encoded(secret="x")), "spec.upgrade.announce.webhook.url cannot be reached"),
    ],
)
async def test_what_is_wrong_with_the_webhook_is_said(cluster: Cluster, why: str) -> None:
    memory = Memory()
    assert await make([one("webhook"), one("webhook", phase="15m")], memory, cluster) == {}
    [entry] = memory.announced.values()
    assert entry["webhook"] == "Failed" and why in entry["message"]


async def test_a_pass_gives_announcements_a_few_seconds_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: Any) -> None:
        await __import__("asyncio").sleep(60)

    monkeypatch.setattr(announcing, "_post", never)
    monkeypatch.setattr(announcing, "BUDGET", 0.1)
    memory, began = Memory(), time.monotonic()
    await make([one("webhook"), one("webhook", phase="15m")], memory, Cluster())
    assert time.monotonic() - began < 2
    assert "no answer within" in memory.announced["drain-start-1"]["message"]


def test_a_page_of_visio_finds_what_it_looks_for() -> None:
    """A type that it does not know, and what a chat message has (meet 1.27.0, components-core 0.12.13)."""
    body = json.loads(message(one("rooms"), NOW))
    assert {"type", "id", "timestamp", "message"} <= body.keys() and "ignoreLegacy" not in body
    french, english = body["message"].split("\n\n")
    assert "dans 15 minutes" in french and "in 15 minutes" in english


def test_a_notice_has_start_end_nature_impact_and_contact_and_is_signed() -> None:
    body = notice(a_site(), one("webhook", rooms=2, participants=7))
    said = json.loads(body)
    assert (said["start"], said["end"], said["expectedSeconds"]) == (
        "2027-01-15T08:00:00Z",
        "2027-01-15T08:15:00Z",
        900,
    )
    assert said["nature"] and said["impact"] == {"interruptionSeconds": 10, "inSeconds": 900}
    assert (said["contact"], said["participants"], said["rooms"]) == ("help@example.fr", 7, 2)
    expected = hmac.new(b"secret", b"5." + body, hashlib.sha256).hexdigest()
    assert signature("secret", 5, body) == f"sha256={expected}"
