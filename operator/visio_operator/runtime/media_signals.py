"""Signals of load of the parts without GPU: media servers, recorders, queue workers.

As in `signals`, nothing here raises: what could not be read is left out, and the plan never shrinks on it.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
import redis.asyncio
from redis.exceptions import RedisError

from visio_operator.plan.observed import MediaServer, Recorder, WorkerQueue
from visio_operator.workloads.egress import METRICS_PORT as EGRESS_PORT
from visio_operator.workloads.media import ANNOUNCED, SLOT
from visio_operator.workloads.sfu import METRICS_PORT as SFU_PORT

from .media_tallies import COUNTERS, stretches
from .memory import Counters, Memory, Metrics
from .projections import annotations_of, deletion_cost, is_canary, is_ready, labels_of, seconds, terminating
from .signals import BROKER_DB, SILENCE, TIMEOUT, Broker, connect, fetch_all

Body = Mapping[str, Any]

QUEUES = {"celery-backend": "meet-backend", "summarize": "summarize-queue-v2", "call-webhook": "call-webhook-queue-v2"}
"""Names of the Celery queues, Redis lists, by part; the same in every release of the ladder."""
UNACKED = "unacked"
"""Hash of the messages that workers have fetched and not confirmed, of all queues of one database (kombu)."""
MOST_UNACKED = 2000
"""More are not read: a broker with so many is in trouble, and its lists say enough."""
RATE_AFTER = 5.0
"""Seconds between two readings from which a rate is taken."""

_SFU_METRICS = ("livekit_room_total", "livekit_participant_total", "process_cpu_seconds_total", *COUNTERS)
_STARTING = ("PodInitializing", "ContainerCreating")
_EGRESS_METRICS = ("livekit_egress_can_accept_request", "livekit_egress_requests")


async def media_servers(
    session: aiohttp.ClientSession,
    pods: Mapping[str, Body],
    addresses: Mapping[str, str],
    memory: Memory,
    now: float,
    known: frozenset[str] = frozenset(),
) -> tuple[MediaServer, ...]:
    """The media servers with what their metrics say; `addresses` are those at which the world finds them, by pod.

    Those that are `known` to the memory already are not asked.
    """
    found = await _metrics(session, pods, SFU_PORT, _SFU_METRICS, memory, now, known)
    for name in memory.counters.keys() - pods.keys():
        del memory.counters[name]
    for name in memory.tallies.keys() - pods.keys():
        del memory.tallies[name]
    return tuple(
        _media_server(pod, found.get(name), addresses.get(name, ""), memory) for name, pod in sorted(pods.items())
    )


async def recorders(
    session: aiohttp.ClientSession,
    pods: Mapping[str, Body],
    memory: Memory,
    now: float,
    known: frozenset[str] = frozenset(),
) -> tuple[Recorder, ...]:
    """The recorders with what their metrics say; those that are `known` to the memory already are not asked."""
    found = await _metrics(session, pods, EGRESS_PORT, _EGRESS_METRICS, memory, now, known)
    return tuple(_recorder(pod, found.get(name)) for name, pod in sorted(pods.items()))


async def worker_queues(
    broker: Broker | str, parts: Iterable[str], memory: Memory, now: float
) -> dict[str, WorkerQueue]:
    """What waits for each worker, and what it has fetched ahead; a text in place of the broker is why there is none."""
    wanted = [part for part in QUEUES if part in set(parts)]
    if not wanted:
        return {}
    if isinstance(broker, str):
        return dict.fromkeys(wanted, WorkerQueue(error=broker))
    problem = f"Redis at {broker.host}:{broker.port} cannot be read"
    unread = WorkerQueue(error=problem, read_at=memory.workers_read_at)
    if memory.silent_until.get("redis-workers", 0.0) > now:
        return dict.fromkeys(wanted, unread)
    client = connect(broker, BROKER_DB)
    try:
        async with asyncio.timeout(TIMEOUT):
            lengths, taken = await _lengths(client, [QUEUES[part] for part in wanted])
    except (RedisError, OSError, TimeoutError, ValueError):
        memory.silent_until["redis-workers"] = now + SILENCE
        return dict.fromkeys(wanted, unread)
    finally:
        await client.aclose()
    memory.workers_read_at = now
    return {
        part: WorkerQueue(waiting=length, taken=taken.get(QUEUES[part], 0), read_at=now)
        for part, length in zip(wanted, lengths, strict=True)
    }


async def _lengths(client: redis.asyncio.Redis, names: list[str]) -> tuple[list[int], dict[str, int]]:
    ask: Any = client.execute_command
    lengths = [int(await ask("LLEN", name)) for name in names]
    if int(await ask("HLEN", UNACKED)) > MOST_UNACKED:
        return lengths, {}
    return lengths, count_taken(await ask("HVALS", UNACKED))


def count_taken(messages: Iterable[bytes | str]) -> dict[str, int]:
    """Fetched messages by queue. Each is the JSON of its text, its exchange and its routing key, which is the queue."""
    taken: dict[str, int] = {}
    for message in messages:
        try:
            queue = json.loads(message)[2]
        except (ValueError, IndexError, KeyError, TypeError):
            continue
        if isinstance(queue, str):
            taken[queue] = taken.get(queue, 0) + 1
    return taken


def sums(text: str, names: tuple[str, ...]) -> dict[str, float]:
    """The sum over all labels of each named metric in Prometheus text format; one that is not there is missing.

    A name may end in one label with its value, such as `requests{status="error"}`: then it is the sum of these only.
    """
    found: dict[str, float] = {}
    wanted: dict[str, list[tuple[str, str]]] = {}
    for given in names:
        metric, _, label = given.partition("{")
        wanted.setdefault(metric, []).append((given, label.rstrip("}")))
    plain = tuple(wanted)
    for line in text.splitlines():
        if not line.startswith(plain):
            continue
        name, value = line.partition("{")[0].partition(" ")[0], line.rpartition(" ")[2]
        labels = line[len(name) :].rpartition("}")[0].lstrip("{").split(",")
        for given, label in wanted.get(name, ()):
            if not label or label in labels:
                try:
                    found[given] = found.get(given, 0.0) + float(value)
                except ValueError:
                    continue
    return found


async def _metrics(
    session: aiohttp.ClientSession,
    pods: Mapping[str, Body],
    port: int,
    names: tuple[str, ...],
    memory: Memory,
    now: float,
    known: frozenset[str],
) -> dict[str, Metrics]:
    """The metrics of each pod: read now, or the last ones with their time.

    Pods that are not ready are asked too: a server with too much to do fails its probes first.
    """
    asked = {name: pod for name, pod in pods.items() if name not in known and _runs(pod)}
    urls = {name: f"http://{_in_url(pod)}:{port}/metrics" for name, pod in asked.items()}
    for name, text in (await fetch_all(session, urls, memory, now)).items():
        if text is not None and (values := sums(text, names)):
            memory.metrics[name] = Metrics(values, now)
    return {name: memory.metrics[name] for name in pods if name in memory.metrics}


def _runs(pod: Body) -> bool:
    status = pod.get("status") or {}
    return bool(status.get("podIP")) and status.get("phase") == "Running"


def _in_url(pod: Body) -> str:
    address = pod["status"]["podIP"]
    return f"[{address}]" if ":" in address else address


def _media_server(pod: Body, metrics: Metrics | None, reachable_at: str, memory: Memory) -> MediaServer:
    meta = pod["metadata"]
    values = metrics.values if metrics is not None else {}
    rates = _rates(meta["name"], metrics, memory) if metrics is not None else (None, None)
    slot = labels_of(pod).get(SLOT, "")
    return MediaServer(
        pod=meta["name"],
        node=(pod.get("spec") or {}).get("nodeName") or "",
        ready=is_ready(pod),
        created=seconds(meta.get("creationTimestamp")),
        rooms=_whole(values, "livekit_room_total"),
        participants=_whole(values, "livekit_participant_total"),
        packets=rates[0],
        cpu=rates[1],
        read_at=metrics.at if metrics is not None else 0.0,
        terminating=terminating(pod),
        deletion_cost=deletion_cost(pod),
        slot=int(slot) if slot.isdecimal() else None,
        announced=annotations_of(pod).get(ANNOUNCED, ""),
        reachable_at=reachable_at,
        image=next((one.get("image", "") for one in _containers(pod) if one["name"] == "sfu"), ""),
        canary=is_canary(pod),
        restarts=_restarts(pod),
        problem=_problem(pod),
        stretches=stretches(meta["name"], metrics, _restarts(pod), memory) if metrics is not None else (),
    )


def _containers(pod: Body) -> Iterable[Body]:
    return (pod.get("spec") or {}).get("containers") or ()


def _statuses(pod: Body) -> list[Body]:
    status = pod.get("status") or {}
    return [*(status.get("containerStatuses") or ()), *(status.get("initContainerStatuses") or ())]


def _restarts(pod: Body) -> int:
    return sum(int(one.get("restartCount") or 0) for one in _statuses(pod) if one.get("name") == "sfu")


def _problem(pod: Body) -> str:
    waiting = [((one.get("state") or {}).get("waiting") or {}).get("reason", "") for one in _statuses(pod)]
    return next((reason for reason in waiting if reason and reason not in _STARTING), "")


def _whole(values: Mapping[str, float], name: str) -> int | None:
    return int(values[name]) if name in values else None


def _rates(pod: str, metrics: Metrics, memory: Memory) -> tuple[float | None, float | None]:
    """Packets a second and cores in use, from this reading and one at least some seconds older."""
    packets, cpu = metrics.values.get("livekit_packet_total", 0.0), metrics.values.get("process_cpu_seconds_total", 0.0)
    before = memory.counters.get(pod)
    if before is None or packets < before.packets or cpu < before.cpu:
        # The first reading, or the process began anew.
        memory.counters[pod] = Counters(metrics.at, packets, cpu)
        return None, None
    passed = metrics.at - before.at
    if passed < RATE_AFTER:
        return before.rates
    rates = ((packets - before.packets) / passed, (cpu - before.cpu) / passed)
    memory.counters[pod] = Counters(metrics.at, packets, cpu, rates)
    return rates


def _recorder(pod: Body, metrics: Metrics | None) -> Recorder:
    values = metrics.values if metrics is not None else {}
    accepts = values.get("livekit_egress_can_accept_request")
    return Recorder(
        pod=pod["metadata"]["name"],
        ready=is_ready(pod),
        created=seconds(pod["metadata"].get("creationTimestamp")),
        accepts=None if accepts is None else accepts > 0,
        # The gauge of a type appears with the first request of it.
        busy=None if accepts is None else values.get("livekit_egress_requests", 0.0) > 0,
        read_at=metrics.at if metrics is not None else 0.0,
        terminating=terminating(pod),
        deletion_cost=deletion_cost(pod),
        recordings=None if accepts is None else int(values.get("livekit_egress_requests", 0.0)),
    )
