"""Make the announcements that are due: a message to rooms by LiveKit, and a signed post to the user's webhook.

Nothing here raises, and a pass gives it a few seconds at most: what fails is said in status and tried again later, with
growing pauses. The message is JSON that Visio's pages take in two ways (suitenumerique/meet 1.27.0, read in its
source): its topic and its `message` make it a line of the chat without an author, and its unknown `type` makes the
notifications leave it alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from visio_operator.api.drains import MOST_ANNOUNCEMENTS, AnnounceWebhook
from visio_operator.api.status import MESSAGE_LENGTH
from visio_operator.plan.announce import Announcement, Channel, told_key
from visio_operator.plan.announce_texts import texts
from visio_operator.workloads.common import Site

from . import livekit_api
from .kube import Kube, KubeError
from .livekit_api import LivekitError
from .memory import Memory
from .projections import instant
from .rooms import pair_of, room_names
from .secret_values import decode

Body = Mapping[str, Any]

TOPIC = "lk-chat-topic"
"""The topic of chat messages by data packet (@livekit/components-core 0.12.13, LegacyDataTopic.CHAT)."""
TYPE = "maintenanceAnnounced"
"""A type that no release of Visio knows."""
BUDGET = 8.0
"""Seconds that one pass spends on announcements."""
AT_ONCE = 16
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 600.0
SIGNATURE, TIMESTAMP, IDENTITY = "X-Visio-Signature", "X-Visio-Timestamp", "X-Visio-Announcement"
_POST = aiohttp.ClientTimeout(total=5.0)


class NotToldError(Exception):
    """What went wrong, in words for status."""


@dataclass
class Told:
    """What became of one announcement in this pass."""

    memory: dict[str, float] = field(default_factory=dict)
    rooms: int | None = None
    webhook: str | None = None
    problems: list[str] = field(default_factory=list)


async def announce(
    kube: Kube,
    session: aiohttp.ClientSession,
    site: Site,
    due: Sequence[Announcement],
    servers: Mapping[str, Body],
    secrets: Mapping[str, Body],
    memory: Memory,
    now: float,
) -> dict[str, float]:
    """Make what is due; what to remember of it. `servers` are the media servers' pods, `secrets` hold key pairs."""
    memory.tell_after = {key: value for key, value in memory.tell_after.items() if _is_due(key, due)}
    remembered: dict[str, float] = {}
    end, silent = asyncio.get_running_loop().time() + BUDGET, False
    for one in due:
        told = Told()
        for channel in one.channels:
            key = told_key(channel, one.id)
            if memory.tell_after.get(key, (0.0, 0.0))[0] > now or (silent and channel == "webhook"):
                continue
            try:
                async with asyncio.timeout_at(end):
                    if channel == "rooms":
                        told.rooms = await _tell_rooms(session, site, one, servers, secrets, memory, now)
                    else:
                        await _post(kube, site, one, now)
                        told.webhook = "Sent"
            except (NotToldError, LivekitError, TimeoutError) as error:
                _failed(told, channel, key, error, memory, now)
                # One receiver takes all posts: the others need not wait for it in this pass.
                silent = silent or channel == "webhook"
            else:
                remembered[key] = now
                memory.tell_after.pop(key, None)
        if told != Told():
            _say(memory, one, told, now)
    return remembered


def _is_due(key: str, due: Sequence[Announcement]) -> bool:
    return any(key == told_key(channel, one.id) for one in due for channel in one.channels)


def _failed(told: Told, channel: Channel, key: str, error: Exception, memory: Memory, now: float) -> None:
    pause = min(LONGEST_PAUSE, 2 * memory.tell_after.get(key, (0.0, FIRST_PAUSE / 2))[1])
    memory.tell_after[key] = (now + pause, pause)
    problem = f"no answer within {BUDGET:.0f} s" if isinstance(error, TimeoutError) else str(error)
    told.problems.append(f"{channel}: {problem}; tried again")
    if channel == "webhook":
        told.webhook = "Failed"


def _say(memory: Memory, one: Announcement, told: Told, now: float) -> None:
    """Note it for status, over what was noted of it before."""
    before = memory.announced.pop(one.id, {})
    entry: dict[str, Any] = {"id": one.id, "kind": one.kind, "phase": one.phase, "about": one.about, "at": instant(now)}
    rooms = told.rooms if told.rooms is not None else before.get("rooms")
    webhook = told.webhook or before.get("webhook")
    entry |= {} if rooms is None else {"rooms": rooms}
    entry |= {} if webhook is None else {"webhook": webhook}
    memory.announced[one.id] = {**entry, "message": "; ".join(told.problems)[:MESSAGE_LENGTH]}
    while len(memory.announced) > MOST_ANNOUNCEMENTS:
        del memory.announced[next(iter(memory.announced))]


async def _tell_rooms(
    session: aiohttp.ClientSession,
    site: Site,
    one: Announcement,
    servers: Mapping[str, Body],
    secrets: Mapping[str, Body],
    memory: Memory,
    now: float,
) -> int:
    """Send it to every room that it is about; how many were told. Raises LivekitError or NotToldError."""
    asked = [servers[pod] for pod in (one.pods or sorted(servers)) if pod in servers]
    asked = [pod for pod in asked if (pod.get("status") or {}).get("podIP")]
    if not asked:
        raise NotToldError("no media server can be asked")
    if one.pods:
        known = memory.rooms
        if known is None or known.unread.intersection(one.pods):
            raise NotToldError(known.times.error if known else "which rooms the server has could not be read")
        names = [name for pod in one.pods for name in known.names.get(pod, ())]
    else:
        names = list(await room_names(session, {"": asked[0]}, site, secrets))
    # A server that drains answers until it ends, and the bus takes the message to the server that has the room.
    pair, address = pair_of(site, asked[0], secrets), str(asked[0]["status"]["podIP"])
    data, slots = message(one, now), asyncio.Semaphore(AT_ONCE)

    async def tell(name: str) -> bool:
        async with slots:
            try:
                await livekit_api.send(session, address, pair, name, data, TOPIC)
            except LivekitError:
                # It may have ended meanwhile.
                return False
            return True

    reached = sum(await asyncio.gather(*map(tell, names)))
    if names and not reached:
        raise NotToldError(f"none of {len(names)} rooms could be told")
    return reached


def message(one: Announcement, now: float) -> bytes:
    """What participants get."""
    words = texts(one)
    body = {
        "type": TYPE,
        "id": one.id,
        "timestamp": int(1000 * now),
        "message": "\n\n".join(words.values()),
        "data": {
            "kind": one.kind,
            "phase": one.phase,
            "secondsLeft": round(one.seconds_left),
            "interrupts": one.interrupts,
            **words,
        },
    }
    return json.dumps(body, ensure_ascii=False).encode()


def notice(site: Site, one: Announcement) -> bytes:
    """What a webhook gets: what SecNumCloud 3.2, 12.2.b asks of an announcement, and what a program can act on."""
    body = {
        "id": one.id,
        "deployment": f"{site.namespace}/{site.name}",
        "host": site.spec.host,
        "kind": one.kind,
        "phase": one.phase,
        "about": one.about,
        "nature": "upgrade" if one.kind == "maintenance" else "replacement of a media server",
        "start": instant(one.start),
        "end": None if one.end is None else instant(one.end),
        "expectedSeconds": None if one.end is None else round(one.end - one.start),
        "impact": {"interruptionSeconds": 10 if one.interrupts else 0, "inSeconds": round(one.seconds_left)},
        "rooms": one.rooms,
        "participants": one.participants,
        "contact": one.contact,
        "text": texts(one),
    }
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


def signature(secret: str, at: int, body: bytes) -> str:
    """How a receiver knows who posts, and that nobody posts it again later."""
    return "sha256=" + hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()


async def _post(kube: Kube, site: Site, one: Announcement, now: float) -> None:
    """Post it once. Raises NotToldError.

    The answer's text is not looked at and redirects are not followed: who may write the object shall not make the
    operator read what it can reach.
    """
    announce = site.spec.upgrade.announce
    assert announce is not None and announce.webhook is not None
    body, at = notice(site, one), int(now)
    headers = {
        "Content-Type": "application/json",
        TIMESTAMP: str(at),
        IDENTITY: one.id,
        SIGNATURE: signature(await _secret(kube, site, announce.webhook), at, body),
    }
    try:
        trust = await _trust(kube, site)
        async with (
            # Unlike pods, the administration's channels may be behind a proxy.
            aiohttp.ClientSession(trust_env=True, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.post(
                announce.webhook.url, data=body, headers=headers, ssl=trust, timeout=_POST, allow_redirects=False
            ) as answer,
        ):
            if not 200 <= answer.status < 300:
                raise NotToldError(f"answered with {answer.status}")
    except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
        raise NotToldError(f"{type(error).__name__}: spec.upgrade.announce.webhook.url cannot be reached") from None


async def _secret(kube: Kube, site: Site, webhook: AnnounceWebhook) -> str:
    name, key = webhook.secret_ref.name, webhook.secret_ref.key or "secret"
    try:
        live = await kube.get("Secret", name, site.namespace)
    except KubeError:
        raise NotToldError(f"Secret {name} cannot be read") from None
    value = decode((live or {}).get("data")).get(key)
    if not value:
        raise NotToldError(f"Secret {name} has no key {key}; create it in namespace {site.namespace}")
    return value


async def _trust(kube: Kube, site: Site) -> ssl.SSLContext:
    """The authorities of the system, and those of `spec.caBundle`."""
    context, bundle = ssl.create_default_context(), site.spec.ca_bundle
    if bundle is not None:
        try:
            live = await kube.get("ConfigMap", bundle.config_map, site.namespace)
        except KubeError:
            live = None
        if pem := ((live or {}).get("data") or {}).get(bundle.key):
            context.load_verify_locations(cadata=pem)
    return context
