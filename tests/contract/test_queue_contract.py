"""The transcription queue as Celery itself writes it into a real Redis, and what is read of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis
from celery import Celery
from visio_stack import free_port, lab_program

from visio_operator.runtime import transcription_queue as reader
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.signals import Broker

START = dt.datetime(2026, 3, 2, 9, 0, tzinfo=dt.UTC)
RECEIVED = START + dt.timedelta(hours=1)
NOW = RECEIVED.timestamp() + 60
WORKER = """
import sys, time
from celery import Celery
app = Celery("t", broker=sys.argv[1])
@app.task(name="transcribe", bind=True, max_retries=1)
def transcribe(self, job):
    if job.get("fail"):
        raise self.retry(countdown=600)
    time.sleep(600)
app.worker_main(["worker", "--pool=solo", "--loglevel=info", "-Q", "transcribe-queue-v2"])
"""


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    number = free_port()
    argv = [lab_program("redis-server"), "--port", str(number), "--save", "", "--bind", "127.0.0.1"]
    process = subprocess.Popen(argv, cwd=tmp_path_factory.mktemp("redis"), stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 20
        while True:
            try:
                with closing(redis.Redis(port=number)) as client:
                    client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.1)
        yield number
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def store(port: int) -> Iterator[redis.Redis]:
    with closing(redis.Redis(port=port, db=1)) as client:
        client.flushall()
        yield client


def queue(port: int, **job: Any) -> str:
    """Queue a job as the summary service does: its times are objects, which kombu wraps."""
    app = Celery("test", broker=f"redis://127.0.0.1:{port}/1")
    app.conf.update(result_extended=True, task_send_sent_event=False)
    url = "https://s3.example.fr/recordings/a.ogg?" + "x" * 1500
    payload = {"user_sub": "s", "cloud_storage_url": url, "language": "fr", "tenant_id": "meet", **job}
    sent = app.send_task("transcribe", args=[payload], queue=reader.TRANSCRIBE_QUEUE)
    app.close()
    return str(sent.id)


def recording(minutes: float) -> dict[str, Any]:
    end = START + dt.timedelta(minutes=minutes)
    metadata = {"cloud_storage_url": "https://s3.example.fr/m.json", "started_at": START, "ended_at": end}
    return {"received_at": RECEIVED, "metadata": metadata}


async def read(port: int, memory: Memory | None = None, now: float = NOW) -> Any:
    return await reader.transcription_queue(Broker("127.0.0.1", port), memory or Memory(), now)


async def test_jobs_come_with_their_time_and_their_audio_the_oldest_first(port: int, store: redis.Redis) -> None:
    long = queue(port, **recording(90))
    plain = queue(port, received_at=RECEIVED.isoformat(), metadata=None)
    nameless = queue(port)
    future = queue(port, received_at="9999-12-31T23:59:59-14:00")
    seen = await read(port)
    assert (seen.waiting, seen.read_at, seen.error, seen.paused, seen.running) == (4, NOW, "", (), ())
    assert [(job.id, job.since, job.audio) for job in seen.jobs] == [
        (long, RECEIVED.timestamp(), 5400.0),
        (plain, RECEIVED.timestamp(), None),
        (nameless, NOW, None),
        (future, NOW, None),
    ]


async def test_a_job_without_a_time_waits_since_it_was_seen_first(port: int, store: redis.Redis) -> None:
    queue(port)
    memory = Memory()
    await read(port, memory, NOW)
    [job] = (await read(port, memory, NOW + 300)).jobs
    assert job.since == NOW
    store.delete(reader.TRANSCRIBE_QUEUE)
    assert (await read(port, memory, NOW + 600)).jobs == ()
    assert memory.jobs_seen == {}


async def test_messages_that_are_no_jobs_are_counted_and_left_out(port: int, store: redis.Redis) -> None:
    mine = queue(port, **recording(30))
    for text in (b"", b"\xff\xfe", b"[" * 60_000, b'{"headers": {"id": 7}}', b"{}", b'"' + b"x" * 10**6 + b'"'):
        store.lpush(reader.TRANSCRIBE_QUEUE, text)
    store.hset("unacked", "tag", b"[" * 10_000)
    seen = await read(port)
    assert (seen.waiting, [job.id for job in seen.jobs]) == (7, [mine])


async def test_what_is_read_is_bounded_in_number_and_in_size(port: int, store: redis.Redis) -> None:
    first = queue(port, **recording(30))
    [message] = store.lrange(reader.TRANSCRIBE_QUEUE, 0, -1)
    for number in range(2000):
        store.lpush(reader.TRANSCRIBE_QUEUE, message.replace(first.encode(), f"job-{number}".encode()))
    started = time.perf_counter()
    seen = await read(port)
    assert time.perf_counter() - started < 1.0
    assert (seen.waiting, len(seen.jobs), seen.jobs[0].id) == (2001, reader.MOST_MESSAGES, first)
    store.rpush(reader.TRANSCRIBE_QUEUE, b"x" * (reader.MOST_BYTES + 1))
    large = await read(port)
    assert (large.waiting, large.jobs) == (2002, ())


async def test_a_queue_of_another_type_and_a_dead_redis_are_unknown(port: int, store: redis.Redis) -> None:
    memory = Memory()
    assert (await read(port, memory)).waiting == 0
    store.set(reader.TRANSCRIBE_QUEUE, "no list")
    seen = await read(port, memory, NOW + 30)
    assert (seen.waiting, seen.jobs, seen.read_at) == (None, (), NOW)
    nobody = free_port()
    assert (await read(nobody)).error == f"Redis at 127.0.0.1:{nobody} cannot be read"


async def test_a_user_who_may_not_ask_for_the_size_gets_the_length(port: int, store: redis.Redis) -> None:
    queue(port, **recording(30))
    store.acl_setuser(
        "visio", enabled=True, passwords=["+secret"], keys=["*"], commands=["+llen", "+lrange", "+hlen", "+select"]
    )
    broker = Broker("127.0.0.1", port, user="visio", password="secret")
    seen = await reader.transcription_queue(broker, Memory(), NOW)
    assert (seen.waiting, seen.jobs) == (1, ())


@contextmanager
def worker(port: int, folder: Path) -> Iterator[Path]:
    """A Celery worker as the summary service runs it; gives its log."""
    program, log = folder / "worker.py", folder / "worker.log"
    program.write_text(WORKER)
    with log.open("wb") as output:
        argv = [sys.executable, str(program), f"redis://127.0.0.1:{port}/1"]
        process = subprocess.Popen(argv, cwd=folder, stdout=output, stderr=subprocess.STDOUT)
    try:
        yield log
    finally:
        process.kill()
        process.wait()


async def eventually(port: int, log: Path, **wanted: list[str]) -> Any:
    """The queue as soon as its lists hold these jobs."""
    deadline = time.monotonic() + 60
    while True:
        seen = await read(port, now=time.time())
        if {name: [job.id for job in getattr(seen, name)] for name in wanted} == wanted:
            return seen
        assert time.monotonic() < deadline, (seen, log.read_text())
        await asyncio.sleep(0.2)


async def test_a_job_that_runs_is_known_with_its_start_and_its_audio(
    port: int, store: redis.Redis, tmp_path: Path
) -> None:
    running, waiting = queue(port, **recording(40)), queue(port, **recording(10))
    queued = time.time()
    with worker(port, tmp_path) as log:
        seen = await eventually(port, log, jobs=[waiting], paused=[], running=[running])
    assert (seen.waiting, seen.running[0].audio) == (1, 2400.0)
    assert queued <= seen.running[0].since <= time.time()


async def test_a_job_that_is_tried_again_later_is_paused_until_then(
    port: int, store: redis.Redis, tmp_path: Path
) -> None:
    failing = queue(port, fail=True, **recording(20))
    with worker(port, tmp_path) as log:
        seen = await eventually(port, log, jobs=[], paused=[failing], running=[])
    assert (seen.waiting, seen.paused[0].audio) == (0, 1200.0)
    assert 500 < seen.paused[0].since - time.time() <= 600
