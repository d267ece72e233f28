"""LiveKit's webhooks, by which the API learns that a recording has ended."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
import time
from collections.abc import Mapping

import aiohttp
from livekit import api

from .call import Call
from .fault import Fault
from .web import answer

_LONGEST = 25.0
"""Seconds. LiveKit tries a webhook again after 1, 2, 4 and 8 s before it counts a failure."""
_COUNTER = re.compile(r'^livekit_webhook_dispatch_total\{.*status="(?P<status>[a-z]+)".*\} (?P<count>[0-9.e+]+)$', re.M)


async def check_webhook(call: Call) -> str:
    """The API takes what LiveKit's key signs, and LiveKit delivers.

    LiveKit counts what it delivers, but a refusal by the API (4xx) as well; so the check signs one event itself, which
    the API has to accept, and sees in LiveKit's own counter that the events of this call have left and were answered.
    """
    url = f"{call.settings.origin}/api/v1.0/rooms/webhooks-livekit/"
    await _accepted(call, url)
    before = call.delivered
    if not call.settings.livekit.metrics or before is None:
        problem = "LiveKit's metrics cannot be read, so nobody knows whether it delivers"
        raise Fault("spec.sfu", problem, "let the smoke test reach port 6789 of the sfu pods")
    began = time.monotonic()
    while True:
        now = await delivered(call.http, call.settings.livekit.metrics) or before
        success, failure = (now.get(key, 0) - before.get(key, 0) for key in ("success", "failure"))
        if success >= 1:
            return f"LiveKit has delivered {success:.0f} to {url}, and the API takes its signature"
        if failure >= 1 or time.monotonic() - began > _LONGEST:
            problem = f"LiveKit has delivered none of this call's webhooks to {url} ({failure:.0f} failed for good)"
            next_step = "let sfu pods reach this address by HTTPS and trust its certificate; the logs of sfu say why"
            raise Fault("spec.host", problem, next_step)
        await asyncio.sleep(0.3)


async def _accepted(call: Call, url: str) -> None:
    """Send the API an event as LiveKit would, of a kind that it takes and does nothing about."""
    livekit = call.settings.livekit
    event = {"event": "participant_joined", "room": {"name": call.room}, "createdAt": str(int(time.time()))}
    body = json.dumps(event)
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    signed = api.AccessToken(livekit.key, livekit.secret).with_sha256(digest).to_jwt()
    headers = {"Authorization": signed, "Content-Type": "application/webhook+json"}
    status, _, _ = await answer(call.http, "POST", url, "spec.host", data=body, headers=headers)
    if status in (400, 401):
        problem = f"the API does not take what LiveKit's key has signed ({status})"
        raise Fault("spec.livekit", problem, "restart backend, so that it reads LiveKit's keys again")
    if status == 403:
        problem = f"the route does not let a pod of this cluster send webhooks to {url} (403)"
        raise Fault("spec.gateway.webhookAllow", problem, "add the addresses from which sfu pods come to the route")
    if status != 200:
        raise Fault("spec.host", f"POST {url} gives {status}", "look at the route of host and at the logs of backend")


async def delivered(http: aiohttp.ClientSession, addresses: tuple[str, ...]) -> Mapping[str, float] | None:
    """Webhooks by outcome, summed over the servers that answer; None when none does."""
    pages = [page for page in await asyncio.gather(*(_metrics(http, one) for one in addresses)) if page is not None]
    if not pages:
        return None
    counts: dict[str, float] = {}
    for page in pages:
        for found in _COUNTER.finditer(page):
            counts[found["status"]] = counts.get(found["status"], 0.0) + float(found["count"])
    return counts


async def _metrics(http: aiohttp.ClientSession, address: str) -> str | None:
    try:
        async with http.get(f"http://{address}/metrics", timeout=aiohttp.ClientTimeout(total=5)) as response:
            return await response.text() if response.status == 200 else None
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
