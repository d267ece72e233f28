"""What is read of pods on their way out, and what status, metrics and the terminal say of it."""

from __future__ import annotations

import time
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from builders import UID, a_deployment
from visio_operator.api.status import VisioDeploymentStatus
from visio_operator.cli.drain import _RefusedError, choose, drain_lines
from visio_operator.plan.drains import Drain
from visio_operator.runtime import livekit_api, metrics, rooms
from visio_operator.runtime.drain_status import announcement_status, drain_status, publish_drains
from visio_operator.runtime.leaving import leaving
from visio_operator.runtime.livekit_api import LivekitError
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.report import instant
from visio_operator.workloads.common import Site

NOW = 1_800_000_000.0
DRAIN = Drain("sfu", "sfu-a", "n1", 2, 7, NOW, NOW + 3600, oldest=NOW - 60, expected_end=NOW + 400, policy="Force")


def a_pod(name: str, part: str = "sfu", phase: str = "Running", **meta: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": part}
    status = {"phase": phase, "podIP": "127.0.0.1"}
    return {"metadata": {"name": name, "labels": labels, **meta}, "spec": {"nodeName": "n1"}, "status": status}


GOING = {"deletionTimestamp": "2026-01-01T05:00:00Z", "deletionGracePeriodSeconds": 18_000}


def test_a_pod_was_told_to_end_its_grace_before_its_deletion_timestamp() -> None:
    [found] = leaving([a_pod("a"), a_pod("b", **GOING)], frozenset({"n1"}))
    assert (found.pod, found.part, found.node, found.node_closed) == ("b", "sfu", "n1", True)
    assert (instant(found.since), instant(found.deadline)) == ("2026-01-01T00:00:00Z", "2026-01-01T05:00:00Z")


def test_pods_without_sessions_or_that_have_ended_do_not_drain() -> None:
    assert leaving([a_pod("a", "backend", **GOING), a_pod("b", phase="Failed", **GOING)], frozenset()) == ()


async def test_rooms_are_given_to_servers_by_their_node_id(monkeypatch: pytest.MonkeyPatch) -> None:
    async def listed(*_: Any) -> dict[str, float]:
        return {"one": NOW - 600, "two": NOW - 1200, "elsewhere": NOW - 60, "no-time": 0.0}

    async def table(_: Any) -> dict[str, str]:
        return {"one": "ND_a", "two": "ND_a", "elsewhere": "ND_b", "gone": "ND_a"}

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text='livekit_room_total{node_id="ND_a",node_type="SERVER"} 2\n')

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(rooms, "METRICS_PORT", int(runner.addresses[0][1]))
    monkeypatch.setattr(rooms, "_list", listed)
    monkeypatch.setattr(rooms, "_table", table)
    site, memory = Site("visio", "visio", UID, a_deployment().spec()), Memory()
    async with aiohttp.ClientSession() as session:
        times = await rooms.read_rooms(session, site, "", {"sfu-a": a_pod("sfu-a", **GOING)}, {}, memory, NOW)
        again = await rooms.read_rooms(session, site, "", {"sfu-a": a_pod("sfu-a", **GOING)}, {}, memory, NOW + 5)
    await runner.cleanup()
    assert sorted(times.began["sfu-a"]) == [NOW - 1200, NOW - 600] and times.mean_age == 620
    assert memory.rooms is not None and memory.rooms.names == {"sfu-a": ("gone", "one", "two")}
    assert again is times, "no second look within a few seconds"


async def test_rooms_that_cannot_be_read_are_an_error_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: Any) -> dict[str, float]:
        raise LivekitError("ListRooms was answered with 401")

    monkeypatch.setattr(livekit_api, "rooms", refused)
    site, memory = Site("visio", "visio", UID, a_deployment().spec()), Memory()
    async with aiohttp.ClientSession() as session:
        times = await rooms.read_rooms(session, site, "no Redis", {"a": a_pod("a", **GOING)}, {}, memory, NOW)
    assert (times.began, times.mean_age) == ({}, None) and times.error
    async with aiohttp.ClientSession() as session:
        assert (await rooms.read_rooms(session, site, "no Redis", {}, {}, memory, NOW)).error == ""
    assert memory.rooms is None


async def test_rooms_that_could_not_be_read_are_soon_read_again_and_then_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A server that does not say its node id is no server without rooms: who is told of the drain depends on it."""
    asked: list[float] = []

    async def listed(*_: Any) -> dict[str, float]:
        return {"one": NOW - 600}

    async def table(_: Any) -> dict[str, str]:
        return {"one": "ND_a"}

    async def silent(*arguments: Any) -> dict[str, str]:
        asked.append(arguments[-1] - NOW)
        return {}

    monkeypatch.setattr(rooms, "_list", listed)
    monkeypatch.setattr(rooms, "_table", table)
    monkeypatch.setattr(rooms, "_node_ids", silent)
    site, memory, pods = (
        Site("visio", "visio", UID, a_deployment().spec()),
        Memory(),
        {"sfu-a": a_pod("sfu-a", **GOING)},
    )
    async with aiohttp.ClientSession() as session:
        assert rooms.retry_in(memory) is None
        for second in range(60):
            times = await rooms.read_rooms(session, site, "", pods, {}, memory, NOW + second)
            assert "sfu-a" in times.error
        assert asked == [0, 3, 9, 21, 36, 51]
        assert rooms.retry_in(memory) == rooms.READ_EVERY

        async def answers(*_: Any) -> dict[str, str]:
            return {"sfu-a": "ND_a"}

        monkeypatch.setattr(rooms, "_node_ids", answers)
        times = await rooms.read_rooms(session, site, "", pods, {}, memory, NOW + 70)
    assert (times.began, times.error, rooms.retry_in(memory)) == ({"sfu-a": (NOW - 600,)}, "", None)


def test_status_has_times_of_the_cluster_and_estimates_in_steps() -> None:
    [entry] = drain_status((DRAIN,))
    assert entry == {
        "pod": "sfu-a", "part": "sfu", "node": "n1", "rooms": 2, "participants": 7, "since": instant(NOW),
        "oldest": instant(NOW - 60), "expectedEnd": instant(NOW + 600), "deadline": instant(NOW + 3600),
        "policy": "Force", "message": "",
    }  # fmt: skip
    VisioDeploymentStatus.model_validate({"drains": [entry]})


def test_status_is_bounded_and_keeps_the_most_urgent_and_the_newest() -> None:
    assert len(drain_status((DRAIN,) * 99)) == 20
    old = [{"id": f"i{n:02}", "at": instant(NOW + n), "kind": "drain", "phase": "start"} for n in range(12)]
    new = {"i05": {**old[5], "at": instant(NOW + 99)}, "new": {**old[0], "id": "new", "at": instant(NOW + 98)}}
    found = announcement_status({"announcements": old}, new)
    assert [each["id"] for each in found][:3] == ["i05", "new", "i11"] and len(found) == 12
    VisioDeploymentStatus.model_validate({"announcements": found})


def test_metrics_tell_what_drains_by_part_and_forget_it_afterwards() -> None:
    late = Drain("sfu", "sfu-b", "n1", None, None, NOW, time.time() + 100)
    publish_drains("visio/main", (DRAIN, late, Drain("captions", "captions-1", "n2", None, 4, NOW, None)))
    lines = metrics.text().decode().splitlines()
    sfu = '{deployment="visio/main",part="sfu"}'
    assert f"visio_operator_drain_pods{sfu} 2.0" in lines and f"visio_operator_drain_participants{sfu} 7.0" in lines
    [left] = [x for x in lines if x.startswith("visio_operator_drain_seconds_to_deadline")]
    assert 90 < float(left.split()[-1]) <= 100
    publish_drains("visio/main", ())
    assert "visio/main" not in metrics.text().decode()


def test_the_terminal_shows_drains_and_announcements_that_failed() -> None:
    failed = {"kind": "drain", "about": "sfu-a", "phase": "start", "message": "webhook: answered with 500; tried again"}
    assert list(drain_lines({"drains": drain_status((DRAIN,)), "announcements": [failed, {"message": ""}]})) == [
        f"  drain sfu            sfu-a: 2 rooms, 7 participants, since {instant(NOW)}, oldest room {instant(NOW - 60)},"
        f" expected end about {instant(NOW + 600)}, deadline {instant(NOW + 3600)} (Force)",
        "  announcement of drain sfu-a (start)  webhook: answered with 500; tried again",
    ]


def test_the_pod_to_drain_has_to_be_named_where_there_are_several() -> None:
    one, two, going = a_pod("one"), a_pod("two"), a_pod("going", **GOING)
    assert choose([one, going], "sfu", None) is one and choose([one, two], "sfu", "two") is two
    for pods, name, words, code in (
        ([one, two], None, "name one with --pod: one, two", 2),
        ([one, going], "going", "going is on its way out already", 1),
        ([one], "three", "sfu has no pod three; it has one", 2),
        ([going], None, "no pod that could drain", 2),
    ):
        with pytest.raises(_RefusedError, match=words) as refused:
            choose(pods, "sfu", name)
        assert refused.value.code == code
