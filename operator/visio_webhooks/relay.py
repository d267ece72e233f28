"""Take a webhook that any of the known key pairs has signed, and deliver it signed with the one that the API takes.

The API checks webhooks against the single pair that it signs with itself, and its pods change to a new pair one after
another. So the pair that was taken last is tried first, and the others when it is refused.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import logging
from collections.abc import Mapping
from datetime import timedelta

import aiohttp
import jwt
from aiohttp import web
from livekit.api import AccessToken, TokenVerifier

LOG = logging.getLogger("visio_webhooks")
REFUSED = frozenset({400, 401, 403})
"""What the API answers to a signature that it does not know: 400, since it says no more than that the payload is
invalid; the other two in case that changes."""
VALID_FOR = timedelta(minutes=5)
"""As LiveKit's own (livekit/protocol, webhook/url_notifier.go)."""
ROUNDS, PAUSE = 4, 0.5
"""Both kinds of API pods answer during a rollout; seconds between two rounds over the pairs."""
TIMEOUT = aiohttp.ClientTimeout(total=30)
LARGEST = 4 * 1024 * 1024


class Relay:
    """The pairs, and which of them was taken last."""

    def __init__(self, keys: Mapping[str, str], target: str, session: aiohttp.ClientSession) -> None:
        """`keys`: secrets by key identifier; `target`: the API's public URL."""
        self._keys = dict(keys)
        self._target = target
        self._session = session
        self._taken = next(iter(keys))

    async def handle(self, request: web.Request) -> web.Response:
        """Deliver one webhook; LiveKit gets the API's answer, or 502 when it cannot be reached, and tries again."""
        body = await request.read()
        if not self._is_signed(body, request.headers.get("Authorization", "")):
            return web.Response(status=401, text="not signed with a known key pair")
        status = 502
        for attempt in range(ROUNDS):
            if attempt:
                await asyncio.sleep(PAUSE)
            pairs = [self._taken, *(other for other in self._keys if other != self._taken)]
            # Turned round each time, or a proxy that goes round its pods could meet us with the wrong one for ever.
            for key in pairs[:: -1 if attempt % 2 else 1]:
                status = await self._deliver(key, body, request.headers.get("Content-Type", "application/json"))
                if status not in REFUSED:
                    self._taken = key
                    return web.Response(status=status)
        LOG.warning("the API refuses the webhook under every key pair: status %s", status)
        return web.Response(status=status)

    def _is_signed(self, body: bytes, token: str) -> bool:
        """Whether LiveKit has sent it. On a node's own network others may knock here too."""
        return any(_signed(token, body, key, secret) for key, secret in self._keys.items())

    async def _deliver(self, key: str, body: bytes, content_type: str) -> int:
        headers = {"Authorization": signature(key, self._keys[key], body), "Content-Type": content_type}
        try:
            async with self._session.post(self._target, data=body, headers=headers, allow_redirects=False) as answer:
                return answer.status
        except (aiohttp.ClientError, TimeoutError) as error:
            LOG.warning("the API cannot be reached: %s", type(error).__name__)
            return 502


def signature(key: str, secret: str, body: bytes) -> str:
    """The token of a webhook: it names the pair and holds the digest of the body."""
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    return AccessToken(key, secret).with_sha256(digest).with_ttl(VALID_FOR).to_jwt()


def _signed(token: str, body: bytes, key: str, secret: str) -> bool:
    try:
        claimed = TokenVerifier(key, secret).verify(token).sha256
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return claimed == base64.b64encode(hashlib.sha256(body).digest()).decode()


def parse_keys(text: str) -> dict[str, str]:
    """The pairs from LiveKit's own variable. ValueError when it holds none."""
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError("LIVEKIT_KEYS is no JSON object of key identifiers and secrets") from error
    if not isinstance(found, dict) or not found or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("LIVEKIT_KEYS is no JSON object of key identifiers and secrets")
    return found


async def serve(keys: Mapping[str, str], target: str, port: int, health_port: int, ended: asyncio.Event) -> None:
    """Relay on the loopback address until `ended`; the health page is for the kubelet. OSError when a port is taken."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        relay = web.Application(client_max_size=LARGEST)
        relay.router.add_post("/", Relay(keys, target, session).handle)
        health = web.Application()
        health.router.add_get("/healthz", _healthy)
        runners = [web.AppRunner(relay, access_log=None), web.AppRunner(health, access_log=None)]
        try:
            for runner, host, number in zip(runners, ("127.0.0.1", None), (port, health_port), strict=True):
                await runner.setup()
                await web.TCPSite(runner, host, number).start()
            await ended.wait()
        finally:
            for runner in runners:
                await runner.cleanup()


async def _healthy(_: web.Request) -> web.Response:
    return web.Response(text="ok")
