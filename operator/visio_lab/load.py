"""Load for a platform in the lab: captioned participants through its agents, recordings through its real queue.

Runs inside the lab (`Lab.enter`), where pod addresses and Services answer. Each command prints one JSON object.
"""

import argparse
import asyncio
import base64
import json
import os
import sys
import time
import uuid
from collections.abc import Sequence
from typing import Any

import aiohttp
import redis.asyncio as redis

BROKER = "LAB_REDIS_URL"
"""Variable with the URL of the broker's database, which is the result backend too. It holds a password, and the
arguments of a process are everybody's to read."""
QUEUE = "transcribe-queue-v2"
TASK = "transcribe_audio_task"
POLL_S = 0.5
FOLLOW_SLACK_S = 600.0

Json = dict[str, Any]


async def open_streams(agents: Sequence[str], streams: int, seconds: float) -> Json:
    """Open so many streams, spread evenly over the agents (`http://<pod address>:8081`); return their counters."""
    shares = [streams // len(agents) + (index < streams % len(agents)) for index in range(len(agents))]
    async with aiohttp.ClientSession() as session:
        for agent, count in zip(agents, shares, strict=True):
            order = {"count": count, "seconds": seconds}
            async with session.post(f"{agent}/lab/streams", json=order) as response:
                response.raise_for_status()
    return await counters(agents)


async def play(agents: Sequence[str], schedule: Sequence[tuple[float, int, float]]) -> Json:
    """Open streams by a schedule of (seconds from now, count, seconds that they talk); return the last counters."""
    began, turn = time.monotonic(), 0
    async with aiohttp.ClientSession() as session:
        for at, count, seconds in schedule:
            await asyncio.sleep(max(0.0, began + at - time.monotonic()))
            for _ in range(count):
                # One after another over the agents, as LiveKit spreads rooms.
                turn += 1
                order = {"count": 1, "seconds": seconds}
                async with session.post(f"{agents[turn % len(agents)]}/lab/streams", json=order) as response:
                    response.raise_for_status()
    return await counters(agents)


async def counters(agents: Sequence[str]) -> Json:
    """The sum of what the agents say became of their streams; of the longest waits, the longest."""
    total: Json = {}
    async with aiohttp.ClientSession() as session:
        for agent in agents:
            async with session.get(f"{agent}/lab/streams") as response:
                for name, value in (await response.json()).items():
                    total[name] = (
                        max(total.get(name, 0), value) if name.startswith("longest") else total.get(name, 0) + value
                    )
    return total


async def follow_streams(agents: Sequence[str], within_s: float) -> Json:
    """Wait until no stream is open or waiting, or the time is over; return the counters."""
    deadline = time.monotonic() + within_s
    while True:
        now = await counters(agents)
        if now["open"] + now["waiting"] == 0 or time.monotonic() > deadline:
            return now
        await asyncio.sleep(POLL_S)


def celery_message(identity: str, queue: str, keywords: Json) -> str:
    """One task as Celery 5 puts it on a Redis list: message protocol 2 in kombu's JSON envelope."""
    body = json.dumps([[], keywords, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {
                "lang": "py",
                "task": TASK,
                "id": identity,
                "root_id": identity,
                "parent_id": None,
                "group": None,
                "retries": 0,
                "timelimit": [None, None],
                "eta": None,
                "expires": None,
                "argsrepr": "()",
                "kwargsrepr": repr(keywords),
                "origin": "visio-lab",
            },
            "properties": {
                "correlation_id": identity,
                "reply_to": str(uuid.uuid4()),
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": queue},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


async def queue_recordings(broker: str, jobs: int, audio_seconds: int, queue: str = QUEUE) -> list[str]:
    """Put so many recordings on the real queue and return their task ids."""
    identities = [str(uuid.uuid4()) for _ in range(jobs)]
    async with redis.Redis.from_url(broker) as client:
        for identity in identities:
            pushed: Any = client.lpush(queue, celery_message(identity, queue, {"audio_seconds": audio_seconds}))
            await pushed
    return identities


async def recordings(results: str, identities: Sequence[str]) -> Json:
    """How many of these tasks have succeeded, failed, or have no result yet. `results` is the result backend's URL."""
    found = {"succeeded": 0, "failed": 0, "open": 0}
    async with redis.Redis.from_url(results) as client:
        for identity in identities:
            record: Any = await client.get(f"celery-task-meta-{identity}")
            status = json.loads(record)["status"] if record else None
            found["open" if status is None else "succeeded" if status == "SUCCESS" else "failed"] += 1
    return found


async def follow_recordings(results: str, identities: Sequence[str], within_s: float) -> Json:
    """Wait until every task has a result, or the time is over; return the counts."""
    deadline = time.monotonic() + within_s
    while True:
        now = await recordings(results, identities)
        if now["open"] == 0 or time.monotonic() > deadline:
            return now
        await asyncio.sleep(POLL_S)


async def run(arguments: argparse.Namespace) -> Json:
    """One command of the command line."""
    if arguments.command == "captions":
        begun = await open_streams(arguments.agent_service, arguments.streams, arguments.seconds)
        if not arguments.follow:
            return begun
        return await follow_streams(arguments.agent_service, arguments.seconds + FOLLOW_SLACK_S)
    if arguments.command == "play":
        return await play(arguments.agent_service, json.load(sys.stdin))
    if arguments.command == "counters":
        return await counters(arguments.agent_service)
    broker = os.environ[BROKER]
    if arguments.command == "results":
        return await recordings(broker, arguments.tasks)
    identities = await queue_recordings(broker, arguments.jobs, arguments.audio_seconds, arguments.queue)
    if not arguments.follow:
        return {"queued": len(identities), "tasks": identities}
    return await follow_recordings(broker, identities, arguments.audio_seconds * arguments.jobs + FOLLOW_SLACK_S)


def main() -> int:
    """The command line: `captions`, `play`, `counters`, `transcription` and `results`."""
    parser = argparse.ArgumentParser(prog="visio_lab.load", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    captions = commands.add_parser("captions", help="open captioned streams")
    counting = commands.add_parser("counters", help="what became of the streams so far")
    playing = commands.add_parser("play", help="open streams by a schedule from standard input")
    for command in (captions, counting, playing):
        command.add_argument("--agent-service", action="append", required=True, help="http://<pod address>:8081")
    captions.add_argument("--streams", type=int, required=True)
    captions.add_argument("--seconds", type=float, required=True)
    transcription = commands.add_parser("transcription", help="queue recordings")
    transcription.add_argument("--queue", default=QUEUE)
    transcription.add_argument("--jobs", type=int, required=True)
    transcription.add_argument("--audio-seconds", type=int, required=True)
    results = commands.add_parser("results", help="what became of queued recordings so far")
    results.add_argument("tasks", nargs="+", help="task ids, as `transcription` prints them")
    for command in (captions, transcription):
        command.add_argument("--follow", action="store_true", help="wait for the end of everything begun here")
    arguments = parser.parse_args()
    if arguments.command in ("transcription", "results") and BROKER not in os.environ:
        parser.error(f"{BROKER} is not set; it holds the URL of the broker's database")
    try:
        print(json.dumps(asyncio.run(run(arguments))))
    except (aiohttp.ClientError, redis.RedisError, OSError) as error:
        print(f"load: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
