"""A transcription through the queue, asked for as the API asks for it."""

from __future__ import annotations

import asyncio
import json
import time

from . import speech
from .bucket import Bucket
from .call import Call, NotTriedError
from .fault import Fault
from .recording import probe
from .settings import Service
from .web import answer, without_query

_WORK_S = 120.0
"""Some seconds of speech take a worker a few seconds, and longer while it loads its models."""
_SHOWN = 60
_FIELD = "spec.transcription"


async def check_transcription(call: Call) -> str:
    """The summary service takes a recording, and a worker with a GPU writes down what is said in it."""
    storage, summary = call.settings.storage, call.settings.summary
    if storage is None or summary is None:
        raise Fault(_FIELD, "the summary service or the bucket is not configured", "report it as a fault of ours")
    if call.storage_works is False:
        raise NotTriedError("not tried, since the bucket cannot be used")
    bucket = Bucket(storage)
    key = call.recorded
    if not key:
        if call.storage_works is None:
            await probe(call, bucket)
        # Without a recording of the call, the service gets the sentence itself.
        key = f"{storage.folder}/{call.room}.wav"
        call.left_over.append(key)
        await bucket.put(key, speech.wave_file())
    job = await _post(call, summary, bucket.link(key))
    link = await _done(call, summary, job)
    words = await _words(call, link)
    if left := bucket.key_of(link):
        call.left_over.append(left)
    if not words:
        raise Fault(_FIELD, "the transcript holds no words", "look at the logs of transcription: of whisperx")
    return f"written: {words}"


async def _post(call: Call, summary: Service, link: str) -> str:
    """Queue a job and give its identifier. It asks for no delivery, so nothing leaves the platform."""
    request = {"user_sub": "visio-operator-smoke", "cloud_storage_url": link, "language": speech.LANGUAGE}
    status, _, text = await answer(call.http, "POST", summary.url, _FIELD, json=request, headers=_bearer(summary))
    if status in (401, 403):
        problem = f"the summary service does not accept the API's token ({status})"
        raise Fault(_FIELD, problem, "restart summary and backend, so that both read the token again")
    try:
        return str(json.loads(text)["job_id"])
    except (ValueError, KeyError, TypeError):
        problem = f"POST {summary.url} gives {status} and no job"
        raise Fault(_FIELD, problem, "look at the logs of summary") from None


async def _done(call: Call, summary: Service, job: str) -> str:
    """Follow a job to its end, and give the link to the transcript.

    The service knows no job before a worker has taken it (404), then it is pending.
    """
    begun, taken, patience = time.monotonic(), 0.0, call.patience
    while True:
        status, _, text = await answer(call.http, "GET", f"{summary.url}/{job}", _FIELD, headers=_bearer(summary))
        state = _read(text) if status == 200 else {}
        now = time.monotonic()
        if state.get("status") == "success":
            return str(state.get("transcription_data_url", ""))
        if state.get("status") == "failure":
            problem = f"the job has failed ({state.get('error_code', 'no reason given')})"
            raise Fault(_FIELD, problem, "look at the logs of transcription: of transcribe and of whisperx")
        if status not in (200, 404):
            raise Fault(_FIELD, f"GET {without_query(summary.url)}/… gives {status}", "look at the logs of summary")
        if state and not taken:
            taken = now
        if taken and now - taken > _WORK_S:
            raise Fault(_FIELD, f"a worker is at it for {_WORK_S:.0f} s", "look at the logs of transcription")
        if not taken and now - begun > patience:
            problem = f"no worker has taken the job within {patience:.0f} s"
            raise Fault("spec.transcription.pool", problem, "look at the pool's nodes in `visio-operator status`")
        if not taken and now - begun > 5:
            call.say("waits in the queue for a worker on a GPU node")
        await asyncio.sleep(0.5)


async def _words(call: Call, link: str) -> str:
    status, _, text = await answer(call.http, "GET", link, "spec.objectStorage")
    segments = _read(text).get("segments") if status == 200 else None
    if not isinstance(segments, list):
        raise Fault(_FIELD, f"the transcript cannot be read ({status})", "look at the logs of transcription")
    words = " ".join(str(segment.get("text", "")) for segment in segments if isinstance(segment, dict)).strip()
    return words if len(words) <= _SHOWN else f"{words[:_SHOWN]}…"


def _read(text: str) -> dict[str, object]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _bearer(summary: Service) -> dict[str, str]:
    return {"Authorization": f"Bearer {summary.key}"}
