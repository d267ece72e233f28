"""The proxy as a server: accepts the agent's streams, places each one and relays it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass

import aiohttp
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from visio_captions.discovery import Discovery
from visio_captions.metrics import Metrics
from visio_captions.placement import Placement
from visio_captions.relay import (
    CLOSE_TIMEOUT_S,
    MESSAGE_LIMIT,
    NoFreeChannelError,
    ServerFailedError,
    Upstream,
    end,
    open_stream,
    relay,
)
from visio_captions.servers import STREAM_PATH, Server

WAIT_LIMIT_S = 290.0
"""Seconds a stream waits for a server; the agent's client gives its handshake up after 300."""
END_CHECK_S = 0.1

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
    wait_limit_s: float = WAIT_LIMIT_S


class Proxy:
    """One running proxy: `start`, then perhaps `drain`, then `close`.

    `port` and `metrics_port` are the ports in use once it is started.
    """

    def __init__(self, settings: Settings) -> None:
        self.metrics = Metrics()
        self._settings = settings
        self.placement = Placement()
        self._held = 0
        self._cleanup = contextlib.AsyncExitStack()
        self.metrics.waiting.set_function(lambda: self.placement.waiting)

    async def start(self) -> None:
        """Open the ports and begin to follow the servers. Raises OSError when a port cannot be had."""
        # No limit: a connection is a participant's stream, and their number is decided by the servers' slots.
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        self._cleanup.push_async_callback(self._end_session)
        self._discovery = Discovery(self.placement, self._session)
        self._cleanup.push_async_callback(self._discovery.close)
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

    async def drain(self) -> None:
        """Accept no further stream and return when the last one has ended."""
        await self._streams_site.stop()
        while self._held:
            await asyncio.sleep(END_CHECK_S)

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

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        client = web.WebSocketResponse(max_msg_size=MESSAGE_LIMIT, compress=False)
        if not client.can_prepare(request).ok:
            return web.Response(status=426, headers={"Upgrade": "websocket"}, text="this path is a websocket\n")
        arrived = time.monotonic()
        self._held += 1
        try:
            try:
                async with asyncio.timeout(self._settings.wait_limit_s):
                    server, upstream, first = await self._place()
            except TimeoutError:
                self.metrics.refused.inc()
                log.warning("a stream found no server within %.0f s and was refused", self._settings.wait_limit_s)
                return web.Response(status=503, text="no captions server has a free slot\n")
            with self.metrics.streams.track_inprogress():
                try:
                    await client.prepare(request)
                    self.metrics.wait_seconds.observe(time.monotonic() - arrived)
                    await client.send_bytes(first)
                    await self._carry(client, server, upstream)
                except ConnectionError:
                    log.info("a client left while its stream was opened")
                finally:
                    await end(upstream)
                    self._discovery.slot_freed(server)
        finally:
            self._held -= 1
        return client

    async def _carry(self, client: web.WebSocketResponse, server: Server, upstream: Upstream) -> None:
        """Relay until one side ends; the client is told when it was the server."""
        if await relay(client, upstream) == "server":
            self.metrics.lost.inc()
            log.warning("%s ended a stream", server.address)
            await end(client, aiohttp.WSCloseCode.INTERNAL_ERROR, b"the captions server ended")

    async def _place(self) -> tuple[Server, Upstream, bytes]:
        """Wait for a server that accepts a stream; a refused stream waits on in its old place."""
        ticket = self.placement.ticket()
        while True:
            server = await self.placement.reserve(ticket)
            try:
                upstream, first = await open_stream(self._session, server.address, self._settings.key)
            except NoFreeChannelError:
                server.refused(time.monotonic())
            except ServerFailedError as error:
                server.failed(time.monotonic())
                log.warning("%s took no stream: %s", server.address, error)
            except BaseException:
                server.abandoned()
                raise
            else:
                server.accepted(time.monotonic())
                return server, upstream, first

    async def _metrics(self, _: web.Request) -> web.Response:
        text = generate_latest(self.metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})


async def _healthz(_: web.Request) -> web.Response:
    """Alive as long as the event loop turns; servers that are down are no reason to restart the proxy."""
    return web.Response(text="ok\n")
