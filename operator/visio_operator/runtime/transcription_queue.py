"""What waits for transcription: the messages of one Celery queue, as kombu keeps them in Redis.

`LLEN` is the truth for how many wait; the messages say since when, and how long their audio is. Whoever may queue a
job may write anything into its message, so what is read is bounded, and what is not understood is left out.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from redis.exceptions import RedisError, ResponseError

from visio_operator.plan.observed import Queue, RunningJob, WaitingJob

from .media_signals import UNACKED
from .memory import Memory
from .signals import BROKER_DB, SILENCE, TIMEOUT, Broker, connect

TRANSCRIBE_QUEUE = "transcribe-queue-v2"
"""Name of the Celery queue, a Redis list, of Visio's summary service since 1.23."""
TAKEN_AT = "unacked_index"
"""Sorted set of the tags in the hash UNACKED by the time at which a worker took them (kombu)."""
MOST_MESSAGES = 500
"""The oldest so many are read; a planner that sees more work than that buys all that it may."""
MOST_BYTES = 16 * 2**20
"""A queue that takes more memory is counted and not read: a real message has 2 to 3 kB."""
MESSAGE_BYTES = 64 * 2**10
"""A larger message is counted and not decoded."""
LONGEST_AUDIO = 86_400.0
"""Seconds; what claims to be longer, or ends before it starts, has no known length."""
_ID_LENGTH = 128


async def transcription_queue(broker: Broker, memory: Memory, now: float) -> Queue:
    """How many recordings wait, and what is known of each; the reason in `error` when Redis did not say.

    A queue that could not be read keeps the time of its last reading.
    """
    # The same words for every cause: this text is in status, and each change of it would be a write.
    problem = Queue(error=f"Redis at {broker.host}:{broker.port} cannot be read", read_at=memory.queue_read_at)
    if memory.silent_until.get("redis", 0.0) > now:
        return problem
    client: Any = connect(broker, BROKER_DB)
    try:
        async with asyncio.timeout(TIMEOUT):
            waiting = int(await client.llen(TRANSCRIBE_QUEUE))
            listed = await _listed(client) if waiting else []
            taken, times = await _taken(client)
    except (RedisError, OSError, TimeoutError, ValueError):
        memory.silent_until["redis"] = now + SILENCE
        return problem
    finally:
        await client.aclose()
    memory.queue_read_at = now
    # kombu pushes at the left and takes at the right.
    jobs = _with_first_seen((parse_job(message) for message in reversed(listed)), memory, now)
    waiting_jobs = tuple(replace(job, since=min(job.since, now)) for job in jobs)
    later, running = parse_taken(taken, times, now)
    paused = _with_first_seen(later, memory, now)
    for gone in memory.jobs_seen.keys() - {job.id for job in (*waiting_jobs, *paused)}:
        del memory.jobs_seen[gone]
    return Queue(waiting=waiting, read_at=now, jobs=waiting_jobs, paused=paused, running=running)


async def _listed(client: Any) -> list[bytes]:
    """The oldest messages of the queue; none when they are too large, or a user of Redis may not ask how large."""
    if not await _is_small(client, TRANSCRIBE_QUEUE):
        return []
    return list(await client.lrange(TRANSCRIBE_QUEUE, -MOST_MESSAGES, -1))


async def _taken(client: Any) -> tuple[dict[bytes, bytes], list[tuple[bytes, float]]]:
    """The messages that workers have taken, by tag, and when each was: at most as many as are read of the queue."""
    if not 0 < int(await client.hlen(UNACKED)) <= MOST_MESSAGES or not await _is_small(client, UNACKED):
        return {}, []
    return await client.hgetall(UNACKED), await client.zrange(TAKEN_AT, 0, MOST_MESSAGES, withscores=True)


async def _is_small(client: Any, key: str) -> bool:
    try:
        return int(await client.memory_usage(key, samples=0) or 0) <= MOST_BYTES
    except ResponseError:
        return False


def parse_taken(
    messages: Mapping[bytes, bytes], times: Iterable[tuple[bytes, float]], now: float
) -> tuple[tuple[WaitingJob, ...], tuple[RunningJob, ...]]:
    """The jobs of our queue that workers have taken: those to be tried again later, and those that run."""
    taken_at = dict(times)
    paused: dict[str, WaitingJob] = {}
    running: dict[str, RunningJob] = {}
    for tag, text in messages.items():
        entry = _decoded(text)
        if not isinstance(entry, list) or len(entry) < 3 or entry[2] != TRANSCRIBE_QUEUE:
            continue
        job = _job(entry[0])
        if job is None:
            continue
        if (_instant(_entry(_entry(entry[0], "headers"), "eta")) or 0.0) > now:
            paused[job.id] = job
        else:
            since = taken_at.get(tag, now)
            running[job.id] = RunningJob(job.id, since if 0 < since < now else now, job.audio)
    return tuple(paused.values()), tuple(sorted(running.values(), key=lambda job: (job.since, job.id)))


def _with_first_seen(found: Iterable[WaitingJob | None], memory: Memory, now: float) -> tuple[WaitingJob, ...]:
    """The jobs in their order, each once; one without a time waits since it was seen first."""
    jobs: dict[str, WaitingJob] = {}
    for job in found:
        if job is not None and job.id not in jobs:
            seen = memory.jobs_seen.setdefault(job.id, now)
            jobs[job.id] = replace(job, since=job.since or seen)
    return tuple(jobs.values())


def parse_job(message: bytes) -> WaitingJob | None:
    """One message of the queue; None when it is none of Celery's. `since` is 0 where the message has no time.

    Celery keeps the job's name in the headers, and its arguments as base64 of JSON in the body. Visio's one argument
    holds `received_at`, and in `metadata` start and end of the recording where a metadata agent listened to it
    (suitenumerique/meet, src/summary/summary/core/models.py).
    """
    return _job(_decoded(message))


def _job(envelope: Any) -> WaitingJob | None:
    headers = _entry(envelope, "headers")
    name = _entry(headers, "id")
    if not isinstance(name, str) or not 0 < len(name) <= _ID_LENGTH:
        return None
    payload = _argument(envelope)
    metadata = _entry(payload, "metadata")
    start, end = _instant(_entry(metadata, "started_at")), _instant(_entry(metadata, "ended_at"))
    audio = end - start if start is not None and end is not None else 0.0
    # One that failed is tried again after a pause, and waits only from then on.
    times = (_instant(_entry(payload, "received_at")), _instant(_entry(headers, "eta")))
    return WaitingJob(
        id=name,
        since=max((moment for moment in times if moment is not None), default=0.0),
        audio=audio if 0.0 < audio <= LONGEST_AUDIO else None,
    )


def _argument(envelope: Any) -> Any:
    """The first argument of a task; None when there is none to be read."""
    body = _entry(envelope, "body")
    if not isinstance(body, str):
        return None
    if _entry(_entry(envelope, "properties"), "body_encoding") == "base64":
        try:
            body = base64.b64decode(body, validate=True)
        except ValueError:
            return None
    arguments = _decoded(body)
    positional = arguments[0] if isinstance(arguments, list) and arguments else None
    return positional[0] if isinstance(positional, list) and positional else None


def _decoded(text: bytes | str) -> Any:
    """JSON of a bounded size; None for anything else."""
    if len(text) > MESSAGE_BYTES:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _entry(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, Mapping) else None


def _instant(value: Any) -> float | None:
    """Unix seconds of a time in ISO 8601, bare or as kombu wraps what is no JSON by itself; UTC unless it says else."""
    text = _entry(value, "__value__") if isinstance(value, Mapping) else value
    if not isinstance(text, str) or len(text) > 64:
        return None
    try:
        moment = datetime.fromisoformat(text)
        seconds = (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds > 0 else None
