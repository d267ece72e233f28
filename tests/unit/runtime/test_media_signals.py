"""What is read of media servers, recorders and queues, and what is written on pods; no cluster is needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from builders import a_deployment
from livekit_loopback import free_port
from visio_operator.plan.plan import PodMark
from visio_operator.runtime.media_addresses import balancer_address, external_address
from visio_operator.runtime.media_signals import count_taken, media_servers, recorders, sums, worker_queues
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.nodepools import pod_patch
from visio_operator.runtime.replicas import kept_replicas, with_initial_replicas
from visio_operator.runtime.signals import Broker

SFU_TEXT = """\
# HELP livekit_room_total rooms
livekit_room_total{node_id="ND_a",node_type="SERVER"} 3
livekit_participant_total{node_id="ND_a",node_type="SERVER"} 17
livekit_packet_total{direction="incoming",type="in"} 1e+06
livekit_packet_total{direction="outgoing",type="out"} 500000
livekit_packet_total_created 7
process_cpu_seconds_total 12.5
"""
EGRESS_TEXT = """\
livekit_egress_available{node_id="NE_a"} 0
livekit_egress_can_accept_request{node_id="NE_a"} 1
livekit_egress_requests{node_id="NE_a",type="room_composite"} 1
"""


def a_pod(name: str, ip: str = "127.0.0.1", **meta: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "creationTimestamp": "2026-01-01T00:00:00Z", **meta},
        "spec": {"nodeName": "node-1"},
        "status": {"podIP": ip, "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def test_metrics_are_summed_over_their_labels_and_never_mixed_up_by_prefix() -> None:
    names = ("livekit_room_total", "livekit_packet_total", "process_cpu_seconds_total", "absent")
    assert sums(SFU_TEXT, names) == {
        "livekit_room_total": 3.0, "livekit_packet_total": 1.5e6, "process_cpu_seconds_total": 12.5,
    }  # fmt: skip
    assert sums("<html>", names) == {}


def test_fetched_messages_are_counted_by_their_queue() -> None:
    messages = [json.dumps([{"body": "x"}, "", queue]) for queue in ("a", "b", "a")]
    assert count_taken([*messages, b"no json", "[1]", '{"a": 1}', "[1, 2, 3]"]) == {"a": 2, "b": 1}


async def _read(texts: Mapping[str, str], monkeypatch: pytest.MonkeyPatch, times: list[float]) -> Any:
    """Both readings, at these times, of one pod each whose metrics are `texts`."""

    async def serve(name: str) -> tuple[web.AppRunner, int]:
        async def answer(_: web.Request) -> web.Response:
            return web.Response(text=texts[name])

        app = web.Application()
        app.router.add_get("/metrics", answer)
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner, int(runner.addresses[0][1])

    running = [await serve("sfu"), await serve("egress")]
    monkeypatch.setattr("visio_operator.runtime.media_signals.SFU_PORT", running[0][1])
    monkeypatch.setattr("visio_operator.runtime.media_signals.EGRESS_PORT", running[1][1])
    memory, found = Memory(), []
    async with aiohttp.ClientSession() as session:
        for now in times:
            pods = {"sfu-1": a_pod("sfu-1", labels={"visio-operator.dev/media-slot": "2"})}
            servers = await media_servers(session, pods, {"sfu-1": "192.0.2.1"}, memory, now)
            found.append((servers[0], (await recorders(session, {"egress-1": a_pod("egress-1")}, memory, now))[0]))
            texts = {**texts, "sfu": texts["sfu"].replace("1e+06", "1.6e+06").replace("12.5", "15.5")}
    for runner, _ in running:
        await runner.cleanup()
    return found


async def test_load_is_read_from_the_servers_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    [(first, recorder), (second, _)] = await _read(
        {"sfu": SFU_TEXT, "egress": EGRESS_TEXT}, monkeypatch, [1000.0, 1010.0]
    )
    assert (first.rooms, first.participants, first.packets, first.cpu, first.read_at) == (3, 17, None, None, 1000.0)
    assert (first.slot, first.reachable_at, first.node) == (2, "192.0.2.1", "node-1")
    assert (recorder.accepts, recorder.busy) == (True, True)
    assert (second.packets, second.cpu) == (60_000.0, 0.3)


async def test_a_pod_that_does_not_answer_is_unknown_and_an_old_reading_keeps_its_time() -> None:
    memory = Memory()
    async with aiohttp.ClientSession() as session:
        [server] = await media_servers(session, {"a": a_pod("a", ip="127.0.0.2")}, {}, memory, 1000.0)
        assert (server.rooms, server.participants, server.read_at) == (None, None, 0.0)
        [recorder] = await recorders(session, {"b": a_pod("b", ip="127.0.0.2")}, memory, 1000.0)
        assert (recorder.accepts, recorder.busy, recorder.read_at) == (None, None, 0.0)


async def test_a_pod_that_refuses_is_asked_again_in_the_next_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, port = Memory(), free_port()
    monkeypatch.setattr("visio_operator.runtime.media_signals.SFU_PORT", port)

    async def metrics(_: web.Request) -> web.Response:
        return web.Response(text=SFU_TEXT)

    app = web.Application()
    app.router.add_get("/metrics", metrics)
    runner = web.AppRunner(app)
    async with aiohttp.ClientSession() as session:
        [before] = await media_servers(session, {"a": a_pod("a")}, {}, memory, 1000.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        [after] = await media_servers(session, {"a": a_pod("a")}, {}, memory, 1000.5)
    await runner.cleanup()
    assert (before.participants, after.participants) == (None, 17)


async def test_a_broker_that_cannot_be_read_is_named_and_left_alone_for_a_while() -> None:
    memory = Memory()
    broker = Broker("127.0.0.2", 9)
    [found] = (await worker_queues(broker, ["call-webhook", "backend"], memory, 1000.0)).values()
    assert found.waiting is None
    assert found.error == "Redis at 127.0.0.2:9 cannot be read"
    assert memory.silent_until["redis-workers"] > 1000.0
    missing = await worker_queues("the embedded Redis does not exist yet", ["summarize"], memory, 1000.0)
    assert missing["summarize"].error == "the embedded Redis does not exist yet"


def test_addresses_are_those_of_the_type_that_the_world_sees() -> None:
    def node(*addresses: tuple[str, str]) -> dict[str, Any]:
        return {"status": {"addresses": [{"type": kind, "address": text} for kind, text in addresses]}}

    both = node(("InternalIP", "10.0.0.4"), ("ExternalIP", "2001:db8::1"), ("ExternalIP", "192.0.2.4"))
    assert external_address(both) == "192.0.2.4"
    assert external_address(node(("InternalIP", "10.0.0.4"))) == ""
    assert external_address(None) == ""
    assert balancer_address({"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}}}) == "192.0.2.9"
    assert balancer_address({"status": {"loadBalancer": {"ingress": [{"hostname": "lb.example.fr"}]}}}) == ""
    assert balancer_address({"status": {}}) == balancer_address(None) == ""


def test_a_pod_is_told_its_load_balancer_and_its_address_in_one_patch_and_once() -> None:
    mark = PodMark("a", slot=1, address="192.0.2.1", deletion_cost=-100)
    patch = pod_patch(mark, a_pod("a"))
    assert patch == {
        "metadata": {
            "labels": {"visio-operator.dev/media-slot": "1"},
            "annotations": {
                "controller.kubernetes.io/pod-deletion-cost": "-100",
                "visio-operator.dev/announced-address": "192.0.2.1",
            },
        }
    }
    assert pod_patch(mark, a_pod("a", **patch["metadata"])) == {}


def test_replicas_are_handed_over_before_nobody_holds_them() -> None:
    wanted = next(
        one
        for one in a_deployment().manifests()
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", "visio-backend")
    )
    assert with_initial_replicas(wanted)["spec"]["replicas"] == 2
    held = [{"manager": "visio-operator", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    live = {**wanted, "metadata": {**wanted["metadata"], "managedFields": held}, "spec": {"replicas": 5}}
    kept = kept_replicas(wanted, live, "visio-operator")
    assert kept is not None
    assert kept["spec"] == {"replicas": 5}
    others = [*held, {"manager": "kube-controller-manager", "fieldsV1": {"f:spec": {"f:replicas": {}}}}]
    none = {**live, "spec": {"replicas": 0}}
    assert kept_replicas(wanted, none, "visio-operator") is None, "with none its autoscaler would leave it alone"
    already = {**live, "metadata": {**live["metadata"], "managedFields": others}}
    assert kept_replicas(wanted, already, "visio-operator") is None
    fixed = {**wanted, "spec": {**wanted["spec"], "replicas": 3}}
    assert kept_replicas(fixed, live, "visio-operator") is None
    assert with_initial_replicas(fixed) == fixed
