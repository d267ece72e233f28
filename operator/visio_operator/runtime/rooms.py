"""Which rooms a media server that drains still has, and when they began.

LiveKit's API knows when a room was opened and not where it is; its table in Redis (`room_node_map`) knows the server by
its node id, and the metrics of each server tell its own. All three are read only while a server drains, at most every
READ_EVERY seconds. As in `signals`, nothing here raises.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import aiohttp
from redis.exceptions import RedisError

from visio_operator.plan.leaving import RoomTimes
from visio_operator.plan.rotation import first_pair, pair_fields
from visio_operator.workloads.common import Site
from visio_operator.workloads.connections import LIVEKIT_REDIS_DB
from visio_operator.workloads.sfu import METRICS_PORT

from . import livekit_api, projections
from .livekit_api import KeyPair, LivekitError
from .memory import Memory, Rooms
from .secret_values import decode
from .signals import TIMEOUT, Broker, connect, fetch_all

Body = Mapping[str, Any]

READ_EVERY = 15.0
RETRY_AFTER = 3.0
"""Seconds until rooms are read again that could not be; twice as long each further time, up to READ_EVERY. Who drains
for a minute only has no time to lose, and people are told by what is read here."""
TABLE = "room_node_map"
"""Hash in LiveKit's Redis: room to node id (livekit-server 1.13.5, pkg/routing/redisrouter.go)."""
_NODE_ID = re.compile(r'^livekit_room_total\{[^}]*node_id="([^"]+)"', re.MULTILINE)


async def read_rooms(
    session: aiohttp.ClientSession,
    site: Site,
    broker: Broker | str,
    pods: Mapping[str, Body],
    secrets: Mapping[str, Body],
    memory: Memory,
    now: float,
) -> RoomTimes:
    """The times of the rooms of `pods`, media servers on their way out; `secrets` hold the key pairs."""
    if not pods:
        memory.rooms = None
        return RoomTimes()
    known = memory.rooms
    if known is not None and known.names.keys() >= pods.keys() and now - known.times.read_at < _again(known):
        return known.times
    found = await _read(session, site, broker, pods, secrets, memory, now)
    failures = (known.failures if known is not None else 0) + 1
    memory.rooms = replace(found, failures=failures if found.unread else 0)
    return memory.rooms.times


def retry_in(memory: Memory) -> float | None:
    """Seconds from a reading that failed to the next one; None when none failed."""
    return _again(memory.rooms) if memory.rooms is not None and memory.rooms.failures else None


def _again(known: Rooms) -> float:
    # Counted no further than matters, since a server may be silent for as long as it drains.
    return min(READ_EVERY, RETRY_AFTER * 2 ** min(known.failures - 1, 8)) if known.failures else READ_EVERY


async def room_names(
    session: aiohttp.ClientSession, pods: Mapping[str, Body], site: Site, secrets: Mapping[str, Body]
) -> tuple[str, ...]:
    """The names of all rooms of the deployment, asked at the first server that answers. Raises LivekitError."""
    return tuple(await _list(session, site, pods, secrets))


def pair_of(site: Site, pod: Body, secrets: Mapping[str, Body]) -> KeyPair:
    """A key pair that a media server accepts. Raises LivekitError when none of them can be read."""
    for name in sorted(accepted_pairs(site, pod)):
        key, secret = pair_fields(site.name, name)
        values = decode((secrets.get(name) or {}).get("data"))
        if values.get(key) and values.get(secret):
            return KeyPair(values[key], values[secret])
    raise LivekitError("no key pair of LiveKit can be read")


def accepted_pairs(site: Site, pod: Body) -> frozenset[str]:
    """The Secrets of the pairs that a media server's pod accepts."""
    return frozenset(projections.key_pairs(pod)) or frozenset({first_pair(site.name)})


async def _read(
    session: aiohttp.ClientSession,
    site: Site,
    broker: Broker | str,
    pods: Mapping[str, Body],
    secrets: Mapping[str, Body],
    memory: Memory,
    now: float,
) -> Rooms:
    nobody: dict[str, tuple[str, ...]] = dict.fromkeys(pods, ())
    try:
        opened, nodes, table = await asyncio.gather(
            _list(session, site, pods, secrets), _node_ids(session, pods, memory, now), _table(broker)
        )
    except LivekitError as error:
        return Rooms(nobody, RoomTimes(read_at=now, error=str(error)), frozenset(pods))
    names = {pod: tuple(sorted(room for room, at in table.items() if at == nodes.get(pod))) for pod in pods}
    began = {pod: tuple(opened[room] for room in rooms if opened.get(room)) for pod, rooms in names.items()}
    ages = [now - at for at in opened.values() if at]
    mean = sum(ages) / len(ages) if ages else None
    silent = frozenset(pods.keys() - nodes.keys())
    problem = f"{', '.join(sorted(silent)[:3])} cannot be asked which rooms are theirs" if silent else ""
    return Rooms(names, RoomTimes(began, mean, now, problem), silent)


async def _list(
    session: aiohttp.ClientSession, site: Site, pods: Mapping[str, Body], secrets: Mapping[str, Body]
) -> dict[str, float]:
    problem = LivekitError("no media server can be asked for its rooms")
    for pod in pods.values():
        address = (pod.get("status") or {}).get("podIP")
        if not address:
            continue
        try:
            return await livekit_api.rooms(session, address, pair_of(site, pod, secrets))
        except LivekitError as error:
            problem = error
    raise problem


async def _node_ids(
    session: aiohttp.ClientSession, pods: Mapping[str, Body], memory: Memory, now: float
) -> dict[str, str]:
    """How each server calls itself on LiveKit's bus."""
    addresses = projections.running_addresses(pods.values())
    hosts = {pod: f"[{address}]" if ":" in address else address for pod, address in addresses.items()}
    urls = {pod: f"http://{host}:{METRICS_PORT}/metrics" for pod, host in hosts.items()}
    texts = await fetch_all(session, urls, memory, now)
    found = {pod: _NODE_ID.search(text) for pod, text in texts.items() if text is not None}
    return {pod: match[1] for pod, match in found.items() if match is not None}


async def _table(broker: Broker | str) -> dict[str, str]:
    if isinstance(broker, str):
        raise LivekitError(broker)
    client = connect(broker, LIVEKIT_REDIS_DB)
    ask: Any = client.execute_command
    try:
        async with asyncio.timeout(TIMEOUT):
            found = await ask("HGETALL", TABLE)
    except (RedisError, OSError, TimeoutError, ValueError):
        raise LivekitError(f"Redis at {broker.host}:{broker.port} cannot be read") from None
    finally:
        await client.aclose()
    items = found.items() if isinstance(found, dict) else zip(found[::2], found[1::2], strict=True)
    return {_text(room): _text(node) for room, node in items}


def _text(value: bytes | str) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else value
