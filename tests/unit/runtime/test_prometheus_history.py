"""The history of a new deployment from a Prometheus: once, in bounded questions, and harmless where it fails."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web

from builders import a_deployment
from prometheus_stand_in import PrometheusStandIn, error
from visio_operator.plan.errors import BUCKET, WEEK
from visio_operator.plan.observed import Source
from visio_operator.plan.pace import Pace
from visio_operator.plan.planners import Planners
from visio_operator.runtime import prometheus_history, signals
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.prometheus import Connection, Series
from visio_operator.workloads.common import Site

NOW = 1_800_010_123.0


def office_hours(at: float) -> float:
    """What a working day has at a time: 80 streams from eight to eighteen, and a meeting on Tuesdays at ten."""
    day, hour = int(at // 86_400 + 3) % 7, at % 86_400 / 3600
    if day > 4 or not 8 <= hour < 18:
        return 0.0
    return 300.0 if day == 1 and 10 <= hour < 11 else 80.0


@dataclass
class World:
    """A Prometheus, and what one process of the operator remembers of a new deployment."""

    server: PrometheusStandIn
    session: aiohttp.ClientSession
    site: Site
    memory: Memory

    async def passes(self, at: float, pace: Pace | None = None, most: int = 600) -> None:
        """Passes at one moment until nothing is under way any more."""
        for _ in range(most):
            await prometheus_history.advance(None, self.session, self.site, self.memory, at, pace or Pace())  # type: ignore[arg-type]
            task = self.memory.filling.task
            if task is None:
                return
            await asyncio.wait([task], timeout=0.05)
        raise AssertionError("the history does not come")

    @property
    def source(self) -> Source:
        return prometheus_history.source(self.site, self.memory)["captionsHistory"]


@asynccontextmanager
async def a_world(*, kept: bool = False) -> AsyncIterator[World]:
    server = PrometheusStandIn(load=office_hours)
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    given = {"prometheus": {"url": f"http://127.0.0.1:{runner.addresses[0][1]}"}}
    site = a_deployment().with_captions().having(signals=given).site()
    async with signals.session() as session:
        yield World(server, session, site, Memory(planners=Planners(), kept=kept, kept_at=NOW))
    await runner.cleanup()


async def test_a_new_deployment_knows_the_last_weeks_at_once() -> None:
    async with a_world() as world:
        assert world.memory.planners is not None
        world.memory.planners.captions.leads.arrived(111.0)
        leads = world.memory.planners.captions.leads.state()
        await world.passes(NOW)
        demand = world.memory.planners.captions.demand
        coming = int(NOW // BUCKET)
        for ahead in (1, 12, 500, WEEK - 1):
            bucket = coming + ahead
            assert demand.usual(bucket) == pytest.approx(office_hours((bucket + 0.5) * BUCKET), abs=8.0), ahead
        tuesday = next(b for b in range(coming, coming + WEEK) if office_hours((b + 0.5) * BUCKET) == 300.0) + 6
        assert demand.usual(tuesday) > 200.0, "what is usual on one day of the week is known too"
        assert world.memory.planners.captions.leads.state() == leads, "what it knew besides stays"
        assert (world.memory.learned, world.memory.kept_at) == (True, 0.0), "it is written at once"
        assert world.source == Source("all")


async def test_it_is_asked_for_in_days_and_once() -> None:
    async with a_world() as world:
        await world.passes(NOW)
        assert not prometheus_history.pending(world.memory)
        asked = [request.query for request in world.server.asked]
        assert len(asked) == 42
        spans = [(float(one["start"]), float(one["end"])) for one in asked]
        assert all((end - start) / BUCKET == 287 for start, end in spans)
        assert all(spans[n][1] + BUCKET == spans[n + 1][0] for n in range(41)), "no bucket is missed or had twice"
        assert NOW - BUCKET < spans[-1][1] <= NOW
        await world.passes(NOW + 10_000.0)
        assert len(world.server.asked) == 42


async def test_nothing_is_asked_where_something_was_learned() -> None:
    async with a_world(kept=True) as world:
        await world.passes(NOW)
        assert world.server.asked == []
        assert world.source == Source("none", "what was learned before is kept in the cluster")
        assert not prometheus_history.pending(world.memory)


async def test_what_is_written_before_a_prometheus_is_named_is_not_thrown_away() -> None:
    async with a_world() as world:
        bare = World(world.server, world.session, a_deployment().with_captions().site(), world.memory)
        await bare.passes(NOW)
        world.memory.kept = True
        await bare.passes(NOW + 300.0)
        await world.passes(NOW + 600.0)
        assert world.server.asked == []


async def test_a_failure_is_said_tried_again_and_given_up_in_the_end() -> None:
    async with a_world() as world:
        world.server.fault = lambda _: error(422, "execution", "query processing would load too many samples")
        for attempt in range(1, 8):
            await world.passes(NOW + 61.0 * attempt)
            assert prometheus_history.pending(world.memory) == (attempt < 5)
        assert len(world.server.asked) == 5
        assert world.source.prometheus == "none"
        assert world.source.reason.endswith("answers 422 (execution)")
        assert world.memory.planners is not None
        assert world.memory.planners.state() == Planners().state()


async def test_it_comes_when_prometheus_is_back() -> None:
    async with a_world() as world:
        world.server.fault = lambda _: web.Response(status=503)
        await world.passes(NOW)
        assert prometheus_history.pending(world.memory), "nothing is kept that would stand in its way"
        world.server.fault = None
        await world.passes(NOW + 30.0)
        assert len(world.server.asked) == 1, "not before a minute is over"
        await world.passes(NOW + 61.0)
        assert world.source == Source("all")


@pytest.mark.parametrize("nothing", [None, 0.0])
async def test_a_prometheus_without_streams_changes_nothing(nothing: float | None) -> None:
    async with a_world() as world:
        world.server.load = lambda _: nothing
        await world.passes(NOW)
        assert world.memory.planners is not None
        assert world.memory.planners.state() == Planners().state()
        assert world.source == Source("none", "Prometheus has no captions streams of the last six weeks")


async def test_a_laboratory_asks_on_the_clock_of_its_planners() -> None:
    async with a_world() as world:
        pace = Pace(speed=60.0, ahead=1000.0)
        world.server.load = lambda at: office_hours(pace.clock(at))
        await world.passes(NOW, pace)
        [first, *_] = world.server.asked
        assert first.query["step"] == "5.000"
        assert "[5s:1s]" in first.query["query"]
        demand, coming = world.memory.planners.captions.demand, int(pace.clock(NOW) // BUCKET)  # type: ignore[union-attr]
        for ahead in (12, 500):
            expected = office_hours((coming + ahead + 0.5) * BUCKET)
            assert demand.usual(coming + ahead) == pytest.approx(expected, abs=8.0)


async def test_the_passes_go_on_meanwhile() -> None:
    async with a_world() as world:
        world.server.delay = 0.05
        await prometheus_history.advance(None, world.session, world.site, world.memory, NOW, Pace())  # type: ignore[arg-type]
        task = world.memory.filling.task
        assert task is not None
        slowest, began = 0.0, time.monotonic()
        while not task.done():
            before = time.monotonic()
            await asyncio.sleep(0.001)
            slowest = max(slowest, time.monotonic() - before)
        assert time.monotonic() - began > 2.0
        assert slowest < 1.0
        assert world.source == Source("none", "it is being asked for")


def test_samples_go_to_the_bucket_that_they_end_and_the_highest_counts() -> None:
    found = [
        Series({}, ((600.0, 3.0), (900.0, -1.0))),
        Series({"cluster": "b"}, ((600.0, 5.0), (1200.0, 1e12))),
    ]
    assert prometheus_history.by_bucket(found, Pace()) == [(450.0, 5.0), (1050.0, 65_000.0)]


def test_each_pod_counts_once_served_and_waiting_or_by_the_channels_of_the_servers() -> None:
    text = prometheus_history.expression(Connection("http://p", {"namespace": "visio"}), "main", 300.0)
    pods = 'pod=~"main-subtitles-.+",namespace="visio"'
    assert text == (
        f'max_over_time((sum(max by (pod) ({{__name__=~"visio_captions_streams",{pods}}}))'
        f' + sum(max by (pod) ({{__name__=~"visio_captions_waiting_streams",{pods}}}))'
        ' or sum(max by (pod) ({__name__=~"asr_open_channels",pod=~"main-captions-.+",namespace="visio"})))[300s:30s])'
    )
