"""A recording of the call, asked for as the API asks for transcripts: sound only, into the bucket."""

from __future__ import annotations

import asyncio
import contextlib
import time

from livekit import api
from livekit.protocol.egress import EgressInfo, EgressStatus

from .bucket import Bucket
from .call import Call
from .fault import Fault
from .settings import Storage

_START_S, _END_S, _LENGTH_S = 60.0, 60.0, 3.0
_ENDED = (EgressStatus.EGRESS_COMPLETE, EgressStatus.EGRESS_FAILED, EgressStatus.EGRESS_ABORTED)
_LOGS = "look at the logs of egress"


async def check_recording(call: Call) -> str:
    """A recorder comes, records some seconds, and leaves a file in the bucket."""
    storage = call.settings.storage
    if storage is None:
        raise Fault("spec.objectStorage", "there is no bucket", "configure one")
    bucket = Bucket(storage)
    await probe(call, bucket)
    key = f"{storage.folder}/{call.room}.ogg"
    begun = time.monotonic()
    call.left_over.append(key)
    info = await _start(call, storage, key)
    try:
        info = await _until(call, info, EgressStatus.EGRESS_ACTIVE, _START_S)
        active = time.monotonic() - begun
        await asyncio.sleep(_LENGTH_S)
        await call.livekit.egress.stop_egress(api.StopEgressRequest(egress_id=info.egress_id))
        await _until(call, info, EgressStatus.EGRESS_COMPLETE, _END_S)
    except BaseException:
        with contextlib.suppress(api.TwirpError):
            await call.livekit.egress.stop_egress(api.StopEgressRequest(egress_id=info.egress_id))
        raise
    size = await bucket.size(key)
    if not size:
        found = "is not in the bucket" if size is None else "is empty"
        raise Fault("spec.recording", f"the recording has ended, and its file {found}", _LOGS)
    call.recorded = key
    return f"recorder after {active:.1f} s, {size} bytes of {_LENGTH_S:.0f} s in the bucket"


async def probe(call: Call, bucket: Bucket) -> None:
    """Write a small object and remove it, as recorders and the API need to; raises Fault when that is refused."""
    key = f"tmp/{call.room}.txt"
    call.storage_works = False
    await bucket.put(key, b"visio-operator smoke")
    await bucket.remove(key)
    call.storage_works = True


async def _start(call: Call, storage: Storage, key: str) -> EgressInfo:
    output = api.EncodedFileOutput(
        file_type=api.EncodedFileType.OGG,
        filepath=key,
        # A second object, which nobody would remove.
        disable_manifest=True,
        s3=api.S3Upload(
            endpoint=storage.url,
            access_key=storage.access_key,
            secret=storage.secret_key,
            region=storage.region,
            bucket=storage.bucket,
            force_path_style=True,
        ),
    )
    request = api.RoomCompositeEgressRequest(room_name=call.room, file_outputs=[output], audio_only=True)
    try:
        return await call.livekit.egress.start_room_composite_egress(request)
    except api.TwirpError as error:
        # LiveKit waits for a recorder that offers itself, and says only that none answered.
        problem = f"LiveKit finds no recorder ({error.message})"
        next_step = "see that a recorder is free in `visio-operator status`, and look at the logs of egress"
        raise Fault("spec.recording", problem, next_step) from None


async def _until(call: Call, info: EgressInfo, wanted: EgressStatus, limit: float) -> EgressInfo:
    try:
        async with asyncio.timeout(limit):
            while True:
                found = await call.livekit.egress.list_egress(api.ListEgressRequest(egress_id=info.egress_id))
                for item in found.items:
                    info = item
                if info.status == wanted:
                    return info
                if info.status in _ENDED:
                    raise _failed(call, info)
                await asyncio.sleep(0.3)
    except TimeoutError:
        state = EgressStatus.Name(info.status).removeprefix("EGRESS_").lower()
        raise Fault("spec.recording", f"the recording is {state} after {limit:.0f} s", _LOGS) from None


def _failed(call: Call, info: EgressInfo) -> Fault:
    storage = call.settings.storage
    said = " ".join((info.error or info.details or "no reason given").split())
    for secret in (storage.secret_key, storage.access_key) if storage else ():
        said = said.replace(secret, "…")
    upload = any(word in said.lower() for word in ("upload", "s3", "bucket", "storage"))
    field = "spec.objectStorage" if upload else "spec.recording"
    return Fault(field, f"the recorder has given up: {said[:200]}", _LOGS)
