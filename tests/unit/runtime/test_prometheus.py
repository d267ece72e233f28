"""What is made of a Prometheus' samples, of its silence and of its flaws."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import aiohttp
import pytest
from aiohttp import web
from prometheus_world import ALL, CAPTIONS, EVERYTHING, PROXIES, SERVING, Objects, a_pod, a_world

from builders import a_deployment
from prometheus_stand_in import error
from visio_operator.plan.observed import Source
from visio_operator.runtime import prometheus, prometheus_signals, signals
from visio_operator.runtime.memory import Slots
from visio_operator.runtime.prometheus_signals import FromPrometheus


async def test_one_question_tells_all_signals_with_the_time_of_their_samples() -> None:
    async with a_world() as world:
        world.scrape(EVERYTHING, age=20.0)
        told = await world.read(deployment=a_deployment().with_captions(slots=48))
        assert told.known == ALL.keys()
        assert len(world.server.asked) == 1
        slots = world.memory.slots["visio-captions-a"]
        assert (slots.used, slots.total) == (7, 48)
        assert slots.at == pytest.approx(time.time() - 20.0, abs=2.0)
        assert signals.usable(slots, slots.at + 59.0) == slots, "it stands for a minute, not for 15 seconds"
        assert signals.usable(slots, slots.at + 61.0) is None
        addresses = dict.fromkeys(PROXIES, "127.0.0.1")
        waits = await signals.waiting_streams(world.session, addresses, world.memory, world.started, told.known)
        assert waits == (3, 12.5)
        assert world.memory.waiting_read_at == pytest.approx(time.time() - 20.0, abs=2.0)
        values = world.memory.metrics["visio-sfu-0"].values
        assert (values["livekit_packet_total"], values["livekit_participant_total"]) == (6000, 17)
        for name in ("captionsSlots", "waitingStreams", "mediaServers", "recorders"):
            assert told.sources[name] == Source("all")
        assert told.sources["transcriptionQueue"] == Source(
            "none", "only the messages in Redis tell how much audio waits"
        )


async def test_without_a_prometheus_nobody_is_asked() -> None:
    async with a_world() as world:
        site = a_deployment().site()
        told = await prometheus_signals.read(Objects(), world.session, site, ALL, world.memory, 1.0)  # type: ignore[arg-type]
        assert (told, world.server.asked) == (FromPrometheus(), [])


@pytest.mark.parametrize(
    "second", [{"job": "other", "container": "x"}, {"replica": "prometheus-1"}, {"some_new_label": "b"}]
)
async def test_a_pod_that_two_scrape_is_counted_once_as_the_newest_sample_says(second: dict[str, str]) -> None:
    async with a_world() as world:
        world.scrape(EVERYTHING, age=20.0, some_new_label="a")
        later = {"visio-captions-a": {'asr_open_channels{handler="all"}': 9}, "visio-sfu-0": EVERYTHING["visio-sfu-0"]}
        world.scrape(later, age=5.0, **second)
        await world.read()
        assert world.memory.slots["visio-captions-a"].used == 9
        assert world.memory.slots["visio-captions-a"].at == pytest.approx(time.time() - 5.0, abs=2.0)
        assert world.memory.metrics["visio-sfu-0"].values["livekit_packet_total"] == 6000


async def test_metrics_of_another_container_of_the_pod_are_not_mixed_in() -> None:
    async with a_world() as world:
        world.scrape(EVERYTHING, age=5.0)
        world.scrape({"visio-sfu-0": {"process_cpu_seconds_total": 999.0}}, age=1.0, instance="visio-sfu-0:15090")
        await world.read()
        assert world.memory.metrics["visio-sfu-0"].values["process_cpu_seconds_total"] == 12.5


async def test_series_that_ended_with_a_restart_do_not_count() -> None:
    async with a_world() as world:
        world.scrape({"visio-sfu-0": {'livekit_room_total{node_id="before"}': 40}}, age=25.0)
        world.scrape({"visio-sfu-0": {'livekit_room_total{node_id="now"}': 1}}, age=10.0)
        await world.read()
        assert world.memory.metrics["visio-sfu-0"].values == {"livekit_room_total": 1}


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf", "", "many"])
async def test_a_value_that_is_no_number_is_no_sample(value: str) -> None:
    async with a_world() as world:
        world.scrape({**EVERYTHING, "visio-captions-a": {'asr_open_channels{handler="all"}': value}})
        told = await world.read()
        assert ALL.keys() - told.known == {"visio-captions-a"}
        assert "visio-captions-a" not in world.memory.slots
        reason = "Prometheus has no asr_open_channels of visio-captions-a younger than 45 s"
        assert told.sources["captionsSlots"] == Source("some", reason)


async def test_a_stale_sample_sends_to_the_pod_itself_and_for_a_while() -> None:
    async with a_world() as world:
        world.scrape({"visio-captions-a": {"asr_open_channels": 7}}, age=50.0)
        world.scrape({"visio-captions-b": {"asr_open_channels": 1}}, age=3.0)
        told = await world.read(CAPTIONS)
        assert told.known == {"visio-captions-b"}
        assert world.memory.slots["visio-captions-a"].used == 7, "it is known how old it is, and a direct reading wins"
        world.server.series.clear()
        world.scrape({"visio-captions-a": {"asr_open_channels": 8}, "visio-captions-b": {"asr_open_channels": 1}})
        again = await world.read(CAPTIONS, after=15.0)
        assert again == told, "a source that comes and goes with each scrape would be a write of status each time"
        later = await world.read(CAPTIONS, after=301.0)
        assert later.sources["captionsSlots"].prometheus == "none", "these samples are old by then"
        assert world.memory.slots["visio-captions-a"].used == 8


async def test_a_direct_reading_is_not_replaced_by_an_older_sample() -> None:
    async with a_world() as world:
        world.scrape({"visio-captions-a": {"asr_open_channels": 7}}, age=30.0)
        newer = Slots(2, 64, at=time.time() - 5.0)
        world.memory.slots["visio-captions-a"] = newer
        await world.read(CAPTIONS)
        assert world.memory.slots["visio-captions-a"] == newer


async def test_a_new_pod_is_asked_itself_without_a_word_until_it_is_scraped() -> None:
    async with a_world() as world:
        world.scrape({"visio-captions-a": {"asr_open_channels": 7}})
        fresh = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(world.started - 60))
        pods = {**CAPTIONS, "visio-captions-b": a_pod("visio-captions-b", "captions", fresh, **SERVING)}
        told = await world.read(pods)
        assert told.known == {"visio-captions-a"}
        assert told.sources["captionsSlots"] == Source("all")


async def test_a_closed_captions_server_is_asked_itself_before_it_goes() -> None:
    async with a_world() as world:
        world.scrape(EVERYTHING)
        told = await world.read({**CAPTIONS, "visio-captions-b": a_pod("visio-captions-b", "captions")})
        assert told.known == {"visio-captions-a"}
        assert told.sources["captionsSlots"] == Source("all")


async def test_the_clock_of_prometheus_may_be_ahead() -> None:
    async with a_world() as world:
        world.scrape({"visio-captions-a": {"asr_open_channels": 7}}, age=-0.5)
        world.server.series = [(labels, [(world.started + 20.0, "7")]) for labels, _ in world.server.series]
        await world.read(CAPTIONS)
        assert world.memory.slots["visio-captions-a"].at == world.started


def _plain(status: int, **headers: str) -> Callable[[web.Request], web.Response]:
    return lambda _: web.Response(status=status, text="<html>secret-token</html>", headers=headers)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (lambda _: error(422, "execution", "secret-token"), "answers 422 (execution)"),
        (lambda _: error(400, "bad_data", "secret-token"), "answers 400 (bad_data)"),
        (lambda _: error(503, "Secret-Token!", "x"), "answers 503"),
        (_plain(401), "answers 401"),
        (_plain(502), "answers 502"),
        (_plain(302, Location="http://127.0.0.1:1/login"), "answers 302"),
        (_plain(200), "answers with something else than JSON"),
        (lambda _: web.Response(text="[" * 100_000), "answers with something else than JSON"),
        (lambda _: web.json_response([]), "answers with something else than a matrix"),
        (
            lambda _: web.json_response({"status": "success", "data": {"resultType": "vector", "result": []}}),
            "answers with something else than a matrix",
        ),
        (lambda _: web.Response(body=b" " * (prometheus.LARGEST + 1)), "answers with more than 16 MiB"),
    ],
)
async def test_what_is_wrong_is_said_and_all_pods_are_asked(
    fault: Callable[[web.Request], web.Response], said: str
) -> None:
    async with a_world() as world:
        world.scrape(EVERYTHING)
        world.server.fault = fault
        told = await world.read()
        assert told.known == frozenset()
        assert told.sources["captionsSlots"] == Source("none", f"Prometheus at {world.url} {said}")
        assert "oken" not in json.dumps({name: one.reason for name, one in told.sources.items()})
        assert await world.read(after=10.0) == told
        assert len(world.server.asked) == 1, "it is left alone for half a minute"
        world.server.fault = None
        assert (await world.read(after=31.0)).sources["captionsSlots"] == Source("all")


async def test_a_prometheus_that_hangs_costs_a_pass_two_seconds_and_one_that_is_gone_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with a_world() as world:
        monkeypatch.setattr(prometheus, "TIMEOUT", aiohttp.ClientTimeout(total=0.2))
        world.server.delay = 5.0
        began = time.monotonic()
        told = await world.read()
        assert time.monotonic() - began < 2.0
        assert told.sources["recorders"] == Source("none", f"Prometheus at {world.url} does not answer in time")
        world.url = "http://127.0.0.1:1"
        told = await world.read(after=60.0)
        assert told.sources["recorders"] == Source("none", "Prometheus at http://127.0.0.1:1 cannot be reached")


async def test_the_query_asks_for_this_deployment_and_this_cluster_only() -> None:
    async with a_world() as world:
        site = a_deployment().having(signals={"prometheus": {"url": world.url, "labels": {"cluster": 'p"\\'}}}).site()
        await prometheus_signals.read(Objects(), world.session, site, ALL, world.memory, world.started)  # type: ignore[arg-type]
        [request] = world.server.asked
        text = request.query["query"]
        assert text.endswith(
            'pod=~"visio-(captions|subtitles|sfu|egress)-.+",namespace="visio",cluster="p\\"\\\\"}[1m]'
        )
        assert len(str(request.url)) < 2000, "it goes by GET"
