"""Plays the summary service's Celery worker for transcription: a solo worker on the real Redis queue.

Like Celery with the solo pool and late acknowledgement off: one job at a time, off the list before it runs (so that a
SIGKILL loses it without a trace), and SIGTERM lets the running job end first. The message is Celery's own (protocol 2,
JSON); of its keyword arguments only `audio_seconds` matters. The result lands where Celery puts it.
"""

import argparse
import asyncio
import base64
import json
import os
import signal
import time
from typing import Any

import aiohttp
import redis

from visio_lab.standins.whisperx import silence

QUEUE = "transcribe-queue-v2"
DEFAULT_BROKER = "redis://redis/0"
POLL_S = 1
READ_TIMEOUT_S, CONNECT_TIMEOUT_S = 600, 60
RESULT_SECONDS = 86400

Json = dict[str, Any]


def read_message(text: bytes | str) -> tuple[str, Json]:
    """Task id and keyword arguments of a Celery message. Raises ValueError when it is none."""
    try:
        envelope = json.loads(text)
        body = envelope["body"]
        if envelope["properties"].get("body_encoding") == "base64":
            body = base64.b64decode(body)
        _, keywords, _ = json.loads(body)
        return str(envelope["headers"]["id"]), dict(keywords)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"not a Celery message: {error}") from None


async def transcribe(seconds: int) -> None:
    """Send a recording of that length to WhisperX. Raises aiohttp.ClientError or TimeoutError when it fails."""
    form = aiohttp.FormData()
    form.add_field("file", silence(seconds), filename="recording.wav", content_type="audio/wav")
    form.add_field("model", os.environ.get("WHISPERX_ASR_MODEL", "whisper-1"))
    form.add_field("response_format", "diarized_json")
    url = os.environ["WHISPERX_BASE_URL"].rstrip("/") + "/audio/transcriptions"
    headers = {"Authorization": f"Bearer {os.environ['WHISPERX_API_KEY']}"}
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=READ_TIMEOUT_S)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.post(url, data=form, headers=headers) as response,
    ):
        response.raise_for_status()
        await response.read()


def work(identity: str, keywords: Json) -> Json:
    """Run one job, with as many retries as CELERY_MAX_RETRIES says (default 1), and return Celery's result record."""
    retries = int(os.environ.get("CELERY_MAX_RETRIES", "1"))
    status, reason = "FAILURE", ""
    for attempt in range(retries + 1):
        try:
            asyncio.run(transcribe(int(keywords.get("audio_seconds", 60))))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            reason = f"{type(error).__name__}: {error}"
            print(f"task {identity} attempt {attempt + 1} failed: {reason}", flush=True)
        else:
            status, reason = "SUCCESS", ""
            break
    return {"status": status, "result": reason or None, "traceback": None, "children": [], "task_id": identity}


def main() -> None:
    """`[-Q QUEUE]` with CELERY_BROKER_URL, CELERY_RESULT_BACKEND and WHISPERX_* from the environment."""
    parser = argparse.ArgumentParser(prog="celery worker", description=__doc__)
    parser.add_argument("-Q", "--queues", default=QUEUE)
    queue = parser.parse_known_args()[0].queues
    stopping = False

    def stop(_number: int, _frame: object) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    broker_url = os.environ.get("CELERY_BROKER_URL", DEFAULT_BROKER)
    broker = redis.Redis.from_url(broker_url)
    results = redis.Redis.from_url(os.environ.get("CELERY_RESULT_BACKEND", broker_url))
    print(f"ready, queue {queue}", flush=True)
    while not stopping:
        try:
            popped: Any = broker.brpop([queue], timeout=POLL_S)
        except redis.RedisError as error:
            print(f"broker: {type(error).__name__}", flush=True)
            time.sleep(POLL_S)
            continue
        if not popped:
            continue
        try:
            identity, keywords = read_message(popped[1])
        except ValueError as error:
            print(str(error), flush=True)
            continue
        print(f"task {identity} received", flush=True)
        record = work(identity, keywords)
        results.set(f"celery-task-meta-{identity}", json.dumps(record), ex=RESULT_SECONDS)
        print(f"task {identity} {record['status']}", flush=True)


if __name__ == "__main__":
    main()
