"""The history of a new deployment, as far as a Prometheus has it: six weeks of captions streams at five-minute grain.

Without it the planner is blind for its first week. It is asked for once, beside the passes, and only where the cluster
holds nothing that was learned. Failing costs nothing but a first week without history.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import aiohttp

from visio_operator.plan.errors import BUCKET, DAY, WEEK
from visio_operator.plan.forecast import WEEKS, Demand
from visio_operator.plan.foresight import STEP
from visio_operator.plan.observed import Source
from visio_operator.plan.pace import Pace
from visio_operator.workloads.common import Site

from . import log
from .kube import Kube, KubeError
from .memory import Filling, Memory
from .prometheus import Connection, PrometheusError, connect, query

ATTEMPTS = 5
PAUSE = 60.0
"""Seconds between two attempts."""
PATIENCE = aiohttp.ClientTimeout(total=30.0, sock_connect=2.0)
"""For one of the requests, of a day each."""
DEADLINE = 600.0
"""Seconds for all requests of an attempt."""
MOST_STREAMS = 65_000.0
"""What the kept history can hold."""


def source(site: Site, memory: Memory) -> dict[str, Source]:
    """Where the history is from, as a signal of `status.signals`; nothing where it cannot be from Prometheus."""
    if site.spec.signals.prometheus is None or not site.spec.captions.enabled:
        return {}
    filling = memory.filling
    if not filling.attempts:
        why = "what was learned before is kept in the cluster"
    elif filling.done:
        why = filling.problem
    else:
        why = filling.problem or "it is being asked for"
    return {"captionsHistory": Source("none" if why else "all", why)}


def pending(memory: Memory) -> bool:
    """Whether the history may still come, so that nothing is kept that would stand in its way."""
    return memory.filling.attempts > 0 and not memory.filling.done


async def advance(
    kube: Kube, session: aiohttp.ClientSession, site: Site, memory: Memory, now: float, pace: Pace
) -> None:
    """Begin to fetch the history, look whether it is there, give it to the planner, or try again later.

    Raises nothing; the passes go on meanwhile.
    """
    filling = memory.filling
    given = site.spec.signals.prometheus
    if filling.done or memory.planners is None:
        return
    if given is None or not site.spec.captions.enabled or (memory.kept and not filling.attempts):
        if filling.task is not None:
            filling.task.cancel()
        # What is learned from here on is not thrown away for a Prometheus that is named later.
        memory.filling = Filling(done=memory.kept)
        return
    if filling.task is None and now >= filling.next_at:
        filling.attempts += 1
        ahead = memory.planners.captions.leads.p95() + STEP
        filling.task = asyncio.create_task(_fetch(kube, session, site, memory, now, pace, ahead))
    if filling.task is not None and filling.task.done():
        _settle(site, memory, filling, filling.task, now)


def _settle(
    site: Site, memory: Memory, filling: Filling, task: asyncio.Task[dict[str, Any] | None], now: float
) -> None:
    filling.task = None
    try:
        state = task.result()
    except (PrometheusError, KubeError, TimeoutError, asyncio.CancelledError) as error:
        filling.problem = str(error) or "it took too long"
        filling.next_at = now + PAUSE
        filling.done = filling.attempts >= ATTEMPTS
        rest = "begins without it" if filling.done else "is tried again"
        log.warning(f"no history from Prometheus, {rest}", deployment=site.name, problem=filling.problem)
        return
    filling.done, filling.problem = True, ""
    if state is None or memory.planners is None:
        filling.problem = "Prometheus has no captions streams of the last six weeks"
        log.info("no history from Prometheus", deployment=site.name, problem=filling.problem)
        return
    captions = memory.planners.captions
    captions.restore({**captions.state(), "demand": state})
    memory.learned, memory.kept_at = True, 0.0
    log.info("took the history of captions streams from Prometheus", deployment=site.name)


async def _fetch(
    kube: Kube,
    session: aiohttp.ClientSession,
    site: Site,
    memory: Memory,
    now: float,
    pace: Pace,
    ahead: float,
) -> dict[str, Any] | None:
    """The state of a planner's demand that has seen it all; None when there is nothing."""
    given = site.spec.signals.prometheus
    if given is None:
        return None
    async with asyncio.timeout(DEADLINE):
        connection = await connect(kube, site, given, memory)
        loads = [load async for load in _loads(session, connection, site.name, now, pace)]
    if not any(load for _, load in loads):
        return None
    return await asyncio.to_thread(learned, loads, ahead)


async def _loads(session: aiohttp.ClientSession, connection: Connection, name: str, now: float, pace: Pace) -> Any:
    """Time on the planners' clock and load of each bucket that is known, in the order of time."""
    step = BUCKET / pace.speed
    following = int(pace.clock(now) // BUCKET)
    for first in range(following - WEEKS * WEEK, following, DAY):
        last = min(first + DAY, following)
        parameters = {
            "query": expression(connection, name, step),
            # The peak of a bucket is that of the time before its end.
            "start": f"{pace.unix((first + 1) * BUCKET):.3f}",
            "end": f"{pace.unix(last * BUCKET):.3f}",
            "step": f"{step:.3f}",
        }
        for at, load in by_bucket(await query(session, connection, "query_range", parameters, PATIENCE), pace):
            yield at, load


def by_bucket(found: Iterable[Any], pace: Pace) -> list[tuple[float, float]]:
    """Middle of each bucket on the planners' clock and its peak; of several values the highest."""
    peaks: dict[int, float] = {}
    for series in found:
        for at, load in series.samples:
            bucket = round(pace.clock(at) / BUCKET) - 1
            if load >= 0.0:
                peaks[bucket] = max(peaks.get(bucket, 0.0), min(load, MOST_STREAMS))
    return [((bucket + 0.5) * BUCKET, peaks[bucket]) for bucket in sorted(peaks)]


def expression(connection: Connection, name: str, step: float) -> str:
    """The highest number of streams, served and waiting, of each `step` seconds.

    Each pod counts once, however many scrape it. Where there were no captions proxies the servers' channels say it.
    """
    proxies = f"{name}-subtitles-.+"
    served = connection.selector("visio_captions_streams", proxies)
    waiting = connection.selector("visio_captions_waiting_streams", proxies)
    channels = connection.selector("asr_open_channels", f"{name}-captions-.+")
    load = f"sum(max by (pod) ({served})) + sum(max by (pod) ({waiting})) or sum(max by (pod) ({channels}))"
    fine = max(1, round(step / 10))
    return f"max_over_time(({load})[{max(1, round(step))}s:{fine}s])"


def learned(loads: Iterable[tuple[float, float]], ahead: float) -> dict[str, Any]:
    """The state of a demand that was told these loads one after another, with forecasts judged so far ahead."""
    demand = Demand()
    demand.look_ahead(ahead)
    for at, load in loads:
        demand.observe(at, load)
    return demand.state()
