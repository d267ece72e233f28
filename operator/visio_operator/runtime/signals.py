"""Signals of load, read from the running servers themselves: captions slots, waiting streams, the transcription queue.

Each reading has a deadline of two seconds, and an endpoint that cannot be reached is left alone for ten; one that
refuses is asked again in the next pass. Nothing here raises: what could not be read is None, and the plan never shrinks
on it.
"""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import redis.asyncio
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from . import trust
from .memory import Memory, Slots, Waits

CAPTIONS_PORT = 8080
PROXY_METRICS_PORT = 8091
WHISPERX_PORT = 8000
BROKER_DB = 1
"""All of Visio's samples use logical database 1."""
WAITING_METRIC = "visio_captions_waiting_streams"
LONGEST_METRIC = "visio_captions_longest_wait_seconds"
TIMEOUT = 2.0
_PATIENCE = aiohttp.ClientTimeout(total=TIMEOUT, sock_connect=1.0)
"""A pod whose node went silently does not even refuse."""
BUSY_AFTER = 1.0
"""WhisperX answers /health at once unless a transcription blocks its event loop."""
SILENCE = 10.0


@dataclass(frozen=True)
class Broker:
    """Where the Celery broker is."""

    host: str
    port: int
    tls: bool = False
    password: str | None = field(default=None, repr=False)
    user: str | None = None
    trust: ssl.SSLContext | None = field(default=None, repr=False)
    """Whom to trust; None for the authorities of this image."""


async def captions_slots(
    session: aiohttp.ClientSession,
    pods: Mapping[str, str],
    memory: Memory,
    now: float,
    known: frozenset[str] = frozenset(),
) -> dict[str, Slots]:
    """The last reading of the slots of each captions server, given pod names and addresses; those that are `known` to
    the memory already are not asked.
    """
    urls = {p: f"http://{a}:{CAPTIONS_PORT}/api/modules_info" for p, a in pods.items() if p not in known}
    texts = await fetch_all(session, urls, memory, now)
    for pod, text in texts.items():
        if text is not None and (slots := parse_slots(text)) is not None:
            memory.slots[pod] = Slots(*slots, at=now)
    for gone in memory.slots.keys() - pods.keys():
        del memory.slots[gone]
    return dict(memory.slots)


def parse_slots(text: str) -> tuple[int, int] | None:
    """Used and total slots of all modules; moshi-server 0.6.4 writes the numbers as strings."""
    try:
        answer = json.loads(text)
        modules = list(answer.values()) if isinstance(answer, dict) and "total_slots" not in answer else answer
        modules = modules if isinstance(modules, list) else [modules]
        counted = [module for module in modules if isinstance(module, dict) and "total_slots" in module]
        used = sum(int(module["used_slots"]) for module in counted)
        return (used, sum(int(module["total_slots"]) for module in counted)) if counted else None
    except (ValueError, KeyError, TypeError):
        return None


async def waiting_streams(
    session: aiohttp.ClientSession,
    pods: Mapping[str, str],
    memory: Memory,
    now: float,
    known: frozenset[str] = frozenset(),
) -> tuple[int | None, float | None]:
    """Streams that wait for a slot, over all captions proxies, and the seconds that one of them has waited at most.

    None for the first while a proxy could not be read, and for the second while no proxy tells. Proxies that are
    `known` to the memory already are not asked.
    """
    urls = {p: f"http://{a}:{PROXY_METRICS_PORT}/metrics" for p, a in pods.items() if p not in known}
    silent = False
    for pod, text in (await fetch_all(session, urls, memory, now)).items():
        reading = None if text is None else parse_waits(text, now)
        if reading is None:
            silent = True
        else:
            memory.waits[pod] = reading
    for gone in memory.waits.keys() - pods.keys():
        del memory.waits[gone]
    if silent:
        return None, None
    readings = [memory.waits[pod] for pod in pods]
    memory.waiting_read_at = min((reading.at for reading in readings), default=now)
    longest = [reading.longest for reading in readings if reading.longest is not None]
    return sum(reading.streams for reading in readings), max(longest, default=None)


def parse_waits(text: str, now: float) -> Waits | None:
    """How many streams wait in one captions proxy, and how long; an older proxy does not tell how long."""
    streams = parse_gauge(text, WAITING_METRIC)
    return None if streams is None else Waits(streams, parse_gauge(text, LONGEST_METRIC), now)


def parse_gauge(text: str, name: str) -> int | None:
    """The sum of a gauge in Prometheus text format; None when it is not there."""
    found: int | None = None
    for line in text.splitlines():
        if line.startswith((f"{name} ", f"{name}{{")):
            try:
                found = (found or 0) + int(float(line.rpartition(" ")[2]))
            except ValueError:
                return None
    return found


async def busy_transcribers(
    session: aiohttp.ClientSession, pods: Mapping[str, str], memory: Memory, now: float
) -> dict[str, bool | None]:
    """Which transcription pods work. Their WhisperX cannot answer /health while it transcribes (its handler blocks the
    event loop), so silence of one that has answered before means busy; a refused connection means unknown.

    Since when each is busy is kept in memory, as seen from here; what is unknown for a while does not reset it.
    """

    async def one(pod: str, address: str) -> bool | None:
        try:
            timeout = aiohttp.ClientTimeout(total=BUSY_AFTER)
            async with session.get(f"http://{address}:{WHISPERX_PORT}/health", timeout=timeout) as answer:
                await answer.read()
            memory.answered.add(pod)
            return False
        except TimeoutError:
            return True if pod in memory.answered else None
        except (aiohttp.ClientError, OSError):
            return None

    memory.answered &= pods.keys()
    results = dict(zip(pods, await asyncio.gather(*map(one, pods.keys(), pods.values())), strict=True))
    memory.busy_since = {
        pod: memory.busy_since.get(pod, now)
        for pod, busy in results.items()
        if busy or (busy is None and pod in memory.busy_since)
    }
    memory.busy_read_at = {
        pod: memory.busy_read_at.get(pod, 0.0) if busy is None else now for pod, busy in results.items()
    }
    return results


class _TLSConnection(redis.asyncio.SSLConnection):
    """One that trusts whom it is told to, and does not read their certificates again for each connection."""

    def __init__(self, *, trust: ssl.SSLContext, **settings: Any) -> None:
        super().__init__(**settings)
        self.ssl_context.context = trust


def connect(broker: Broker, database: int) -> redis.asyncio.Redis:
    """A client for a few short questions; close it after them."""
    tls: dict[str, Any] = {}
    if broker.tls:
        tls = {"connection_class": _TLSConnection, "trust": broker.trust or trust.system()}
    pool: redis.asyncio.ConnectionPool = redis.asyncio.ConnectionPool(
        **tls,
        host=broker.host,
        port=broker.port,
        db=database,
        username=broker.user,
        password=broker.password,
        socket_timeout=TIMEOUT,
        socket_connect_timeout=TIMEOUT,
        # The next pass asks again; until then this one must not wait.
        retry=Retry(NoBackoff(), 0),
    )
    return redis.asyncio.Redis.from_pool(pool)


async def fetch_all(
    session: aiohttp.ClientSession, urls: Mapping[str, str], memory: Memory, now: float
) -> dict[str, str | None]:
    """The text of each URL; None where there is none within the deadline."""

    async def one(url: str) -> str | None:
        if memory.silent_until.get(url, 0.0) > now:
            return None
        try:
            async with session.get(url, timeout=_PATIENCE) as answer:
                text = await answer.text()
                return text if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # A refusal comes at once, mostly from a program that is just about to listen.
            if not isinstance(getattr(error, "os_error", None), ConnectionRefusedError):
                memory.silent_until[url] = now + SILENCE
            return None

    texts = await asyncio.gather(*(one(url) for url in urls.values()))
    return dict(zip(urls, texts, strict=True))


def session() -> aiohttp.ClientSession:
    """A session for the readings; it talks to pods, so never through a proxy, and keeps no cookies."""
    return aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), connector=aiohttp.TCPConnector(limit=64))


def prune(memory: Memory, now: float) -> None:
    """Forget endpoints whose silence is over, since pod addresses come and go."""
    memory.silent_until = {endpoint: until for endpoint, until in memory.silent_until.items() if until > now}


def usable(slots: Slots | None, now: float) -> Slots | None:
    """The reading when it still stands for something."""
    return slots if slots is not None and now - slots.at <= slots.keep else None
