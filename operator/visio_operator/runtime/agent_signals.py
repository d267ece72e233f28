"""How busy the LiveKit agents are, as livekit-agents says itself at /worker beside its health check.

As in `signals`, nothing here raises: what could not be read is None.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from math import isfinite
from typing import Any

import aiohttp

from visio_operator.plan.observed import Agent
from visio_operator.workloads.agents import HEALTH_PORT

from .memory import AgentLoad, Memory
from .projections import is_ready, running_addresses, seconds
from .signals import fetch_all

Body = Mapping[str, Any]

_MOST_JOBS = 10_000


async def agents(
    session: aiohttp.ClientSession, pods: Mapping[str, Body], memory: Memory, now: float
) -> tuple[Agent, ...]:
    """The subtitles agents with their rooms and their load: read now, or the last reading with its time."""
    return await _agents(session, pods, memory.agents, memory, now)


async def collectors(
    session: aiohttp.ClientSession, pods: Mapping[str, Body], memory: Memory, now: float
) -> tuple[Agent, ...]:
    """The same of the metadata agents, which is asked only of those on their way out."""
    return await _agents(session, pods, memory.collectors, memory, now)


async def _agents(
    session: aiohttp.ClientSession,
    pods: Mapping[str, Body],
    readings: dict[str, AgentLoad],
    memory: Memory,
    now: float,
) -> tuple[Agent, ...]:
    addresses = running_addresses(pods.values())
    urls = {pod: f"http://{address}:{HEALTH_PORT}/worker" for pod, address in addresses.items()}
    for pod, text in (await fetch_all(session, urls, memory, now)).items():
        if text is not None and (found := parse_worker(text)) is not None:
            readings[pod] = AgentLoad(*found, at=now)
    for gone in readings.keys() - pods.keys():
        del readings[gone]
    return tuple(_agent(pod, readings.get(name)) for name, pod in sorted(pods.items()))


def parse_worker(text: str) -> tuple[int, float] | None:
    """Rooms and load of one worker; None for anything else. The writer leaves out what is 0 (protobuf as JSON)."""
    try:
        answer = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(answer, dict) or "worker_type" not in answer:
        return None
    jobs, load = answer.get("active_jobs", 0), answer.get("worker_load", 0.0)
    if not isinstance(jobs, int) or not isinstance(load, int | float) or not isfinite(load):
        return None
    return (jobs, float(load)) if 0 <= jobs <= _MOST_JOBS and load >= 0 else None


def _agent(pod: Body, reading: AgentLoad | None) -> Agent:
    meta = pod["metadata"]
    return Agent(
        pod=meta["name"],
        ready=is_ready(pod),
        created=seconds(meta.get("creationTimestamp")),
        jobs=reading.jobs if reading else None,
        load=reading.load if reading else None,
        read_at=reading.at if reading else 0.0,
    )
