"""LiveKit's own API, as far as the operator needs it: which rooms there are, and a message to one of them.

It is asked at the pod itself, over Twirp with JSON, with a token that lives for a minute. Neither the key pair nor the
name of a room is ever logged or put into an error.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from visio_operator.workloads.connections import LIVEKIT_PORT

TOKEN_SECONDS = 60
TIMEOUT = aiohttp.ClientTimeout(total=3.0, sock_connect=1.0)
RELIABLE = "RELIABLE"


class LivekitError(Exception):
    """What went wrong, in words that name no room."""


@dataclass(frozen=True)
class KeyPair:
    """A key pair of LiveKit."""

    key: str
    secret: str = field(repr=False)


def token(pair: KeyPair, grants: Mapping[str, Any], now: float) -> str:
    """A JWT (RFC 7519, HS256) with LiveKit's grants under `video`, good for TOKEN_SECONDS."""
    claims = {"iss": pair.key, "nbf": int(now) - 10, "exp": int(now) + TOKEN_SECONDS, "video": dict(grants)}
    signed = f"{_part({'alg': 'HS256', 'typ': 'JWT'})}.{_part(claims)}"
    signature = hmac.new(pair.secret.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{_encoded(signature)}"


async def rooms(session: aiohttp.ClientSession, address: str, pair: KeyPair) -> dict[str, float]:
    """All rooms of the deployment by name, with the time at which each was opened; 0 for one that does not say it.

    Raises LivekitError.
    """
    answer = await _call(session, address, pair, "ListRooms", {"roomList": True}, {})
    found = answer.get("rooms") or ()
    return {str(one["name"]): _opened(one) for one in found if isinstance(one, dict) and one.get("name")}


async def send(session: aiohttp.ClientSession, address: str, pair: KeyPair, room: str, data: bytes, topic: str) -> None:
    """Send a message to everybody in a room. Raises LivekitError."""
    body = {"room": room, "data": base64.b64encode(data).decode(), "kind": RELIABLE, "topic": topic}
    await _call(session, address, pair, "SendData", {"roomAdmin": True, "room": room}, body)


async def _call(
    session: aiohttp.ClientSession,
    address: str,
    pair: KeyPair,
    method: str,
    grants: Mapping[str, Any],
    body: Mapping[str, Any],
) -> dict[str, Any]:
    host = f"[{address}]" if ":" in address else address
    url = f"http://{host}:{LIVEKIT_PORT}/twirp/livekit.RoomService/{method}"
    headers = {"Authorization": f"Bearer {token(pair, grants, time.time())}"}
    try:
        async with session.post(url, json=body, headers=headers, timeout=TIMEOUT, allow_redirects=False) as answer:
            text = await answer.read()
            if answer.status != 200:
                raise LivekitError(f"{method} was answered with {answer.status}")
            found = json.loads(text)
            return found if isinstance(found, dict) else {}
    except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
        raise LivekitError(f"{method}: {type(error).__name__}") from None


def _opened(room: Mapping[str, Any]) -> float:
    """Protobuf's JSON writes 64 bits as text, in either spelling of the field's name."""
    try:
        return float(room.get("creation_time") or room.get("creationTime") or 0)
    except (TypeError, ValueError):
        return 0.0


def _part(value: Mapping[str, Any]) -> str:
    return _encoded(json.dumps(value, separators=(",", ":")).encode())


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
