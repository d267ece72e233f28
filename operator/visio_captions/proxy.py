"""The proxy as a server: accepts the agent's streams, places each one and relays it."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import time
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from visio_captions.discovery import Discovery
from visio_captions.metrics import Metrics
from visio_captions.placement import Placement
from visio_captions.seats import Seat, Seats
from visio_captions.servers import KEY_HEADER, STREAM_PATH
from visio_captions.stream import Stream
from visio_captions.upstream import CLOSE_TIMEOUT_S, MESSAGE_LIMIT, end

WAIT_LIMIT_S = 290.0
"""Seconds a stream waits for a server; the agent's client gives its handshake up after 300."""
REPLAY_S = 4.0
"""Seconds of audio that another server hears again: the model's delay, a word, and some context for the words after."""
GRACE_S = 3630.0
"""Seconds that streams may go on after SIGTERM: the hour that the agent waits for its rooms, and its end."""
END_CHECK_S = 0.1
STREAM_CHECK_S = 0.2
STARVED_S = 0.7

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Endpoint:
    """A host and a TCP port; port 0 takes any free one."""

    host: str
    port: int


@dataclass(frozen=True)
class Settings:
    """What a proxy is started with; servers come from a Service's name or from a fixed list, not both."""

    listen: Endpoint
    metrics_listen: Endpoint
    key: str
    service: Endpoint | None = None
    servers: tuple[str, ...] = ()
    agent_key: str | None = None
    """What the agent must show; None to take any key, as nobody outside the pod can connect."""
    replay_s: float = REPLAY_S
    wait_limit_s: float = WAIT_LIMIT_S
    grace_s: float = GRACE_S


class Proxy:
    """One running proxy: `start`, then perhaps `drain`, then `close`.

    `port` and `metrics_port` are the ports in use once it is started.
    """

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self.placement = Placement()
        self._held = 0
        self._streams: set[Stream] = set()
        self._cleanup = contextlib.AsyncExitStack()
        self.metrics.waiting.set_function(lambda: self.placement.waiting)
        self.metrics.longest_wait.set_function(lambda: self.placement.longest_wait(time.monotonic()))
        self.metrics.streams.set_function(lambda: sum(stream.seat is not None for stream in self._streams))
        self.metrics.lag.set_function(lambda: max((stream.lag_s() for stream in self._streams), default=0.0))

    async def start(self) -> None:
        """Open the ports and begin to follow the servers. Raises OSError when a port cannot be had."""
        # No limit: a connection is a participant's stream, and their number is decided by the servers' slots.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._cleanup.push_async_callback(self._end_session)
        self._discovery = Discovery(self.placement, self._session)
        self._cleanup.push_async_callback(self._discovery.close)
        self._seats = Seats(self.placement, self._session, self._settings.key, self._discovery.slot_freed)
        self._cleanup.push_async_callback(self._seats.close)
        checker = asyncio.create_task(self._check())
        self._cleanup.callback(checker.cancel)
        streams = web.Application()
        streams.router.add_get(STREAM_PATH, self._stream)
        about = web.Application()
        about.router.add_get("/metrics", self._metrics)
        about.router.add_get("/healthz", _healthz)
        try:
            _, self.metrics_port = await self._listen(about, self._settings.metrics_listen)
            self._streams_site, self.port = await self._listen(streams, self._settings.listen)
        except OSError:
            await self.close()
            raise
        if self._settings.service is None:
            self._discovery.use(set(self._settings.servers))
        else:
            follower = asyncio.create_task(
                self._discovery.follow(self._settings.service.host, self._settings.service.port)
            )
            self._cleanup.callback(follower.cancel)

    async def drain(self) -> bool:
        """Accept no further stream and wait for the end of the last one; False when the grace ended before."""
        await self._streams_site.stop()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.grace_s):
                while self._held:
                    await asyncio.sleep(END_CHECK_S)
        return not self._held

    async def close(self) -> None:
        """End everything at once."""
        await self._cleanup.aclose()

    async def _end_session(self) -> None:
        """Close what is left of connections; one that a stalled server does not read would otherwise be waited for."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._session.close()

    async def _listen(self, application: web.Application, endpoint: Endpoint) -> tuple[web.TCPSite, int]:
        # A handler must learn that its client is gone: otherwise an abandoned stream would wait on and take a slot.
        runner = web.AppRunner(application, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await runner.setup()
        self._cleanup.push_async_callback(runner.cleanup)
        site = web.TCPSite(runner, endpoint.host, endpoint.port)
        await site.start()
        return site, runner.addresses[0][1]

    async def _check(self) -> None:
        checked_at = time.monotonic()
        while True:
            await asyncio.sleep(STREAM_CHECK_S)
            now = time.monotonic()
            # A proxy that was not given the processor has steps to read still: no server is to blame for them.
            starved = now - checked_at > STARVED_S
            checked_at = now
            for stream in self._streams:
                if starved:
                    stream.excuse(now)
                stream.check(now)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        client = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT, compress=False)
        if not client.can_prepare(request).ok:
            return web.Response(status=426, headers={"Upgrade": "websocket"}, text="this path is a websocket\n")
        if not self._knows(request):
            return web.Response(status=401, text="the key is not the one in CAPTIONS_AGENT_KEY\n")
        arrived = time.monotonic()
        self._held += 1
        try:
            ticket = self._seats.ticket()
            try:
                async with asyncio.timeout(self._settings.wait_limit_s):
                    seat = await self._seats.take(ticket)
            except TimeoutError:
                self.metrics.refused.inc()
                log.warning("a stream found no server within %.0f s and was refused", self._settings.wait_limit_s)
                return web.Response(status=503, text="no captions server has a free slot\n")
            try:
                await client.prepare(request)
            except BaseException:
                self._seats.leave(seat)
                raise
            self.metrics.wait_seconds.observe(time.monotonic() - arrived)
            await self._carry(client, seat, ticket)
        except ConnectionError:
            log.info("a client left while its stream was opened")
        finally:
            self._held -= 1
        return client

    async def _carry(self, client: web.WebSocketResponse, seat: Seat, ticket: int) -> None:
        stream = Stream(client, self._seats, self.metrics, self._settings.replay_s, self._settings.wait_limit_s)
        self._streams.add(stream)
        try:
            await stream.run(seat, ticket)
        finally:
            self._streams.discard(stream)
        await end(client, aiohttp.WSCloseCode.INTERNAL_ERROR, b"no captions server could go on")

    def _knows(self, request: web.Request) -> bool:
        expected = self._settings.agent_key
        shown = request.headers.get(KEY_HEADER) or request.query.get("auth_id", "")
        return expected is None or hmac.compare_digest(shown.encode(), expected.encode())

    async def _metrics(self, _: web.Request) -> web.Response:
        text = generate_latest(self.metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


async def _healthz(_: web.Request) -> web.Response:
    """Alive as long as the event loop turns; servers that are down are no reason to restart the proxy."""
    return web.Response(text="ok\n")
