"""Finding the serving servers by DNS and asking each one for its slots."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import time

import aiohttp

from visio_captions.placement import Placement
from visio_captions.servers import Server, parse_slots

RESOLVE_EVERY_S = 1.5
"""Seconds between two look-ups of the Service; a server that stops serving gets no new stream after about this time."""
ASK_EVERY_S = 1.0
"""Seconds between two questions for a server's slots."""
ASK_WAITING_S = 0.3
"""The same while a stream waits: someone else's stream may have ended."""
ASK_TIMEOUT_S = 2.0
_ANSWER_LIMIT = 64 * 1024
_NO_ADDRESS = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}

log = logging.getLogger(__name__)


async def resolve(name: str, port: int) -> set[str] | None:
    """All addresses of a headless Service as `host:port`; empty when it has none, None when DNS could not say."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        return set() if error.errno in _NO_ADDRESS else None
    except (OSError, UnicodeError):
        return None
    return {f"[{to[0]}]:{port}" if family == socket.AF_INET6 else f"{to[0]}:{port}" for family, _, _, _, to in found}


class Discovery:
    """Keeps a Placement's servers and their slots current."""

    def __init__(self, placement: Placement, session: aiohttp.ClientSession) -> None:
        self._placement = placement
        self._session = session
        self._askers: dict[str, asyncio.Task[None]] = {}
        self._soon: dict[str, asyncio.Event] = {}

    async def follow(self, name: str, port: int) -> None:
        """Follow the addresses of a Service, forever; while DNS is silent the last ones stay."""
        known: set[str] | None = None
        while True:
            addresses = await resolve(name, port)
            if addresses is not None and addresses != known:
                log.info("%s has %d serving servers", name, len(addresses))
                known = addresses
                self.use(addresses)
            await asyncio.sleep(RESOLVE_EVERY_S)

    def use(self, addresses: set[str]) -> None:
        """Place streams on exactly these servers and ask each of them for its slots."""
        self._placement.serve_from(addresses)
        for address in self._askers.keys() - addresses:
            self._askers.pop(address).cancel()
            del self._soon[address]
        for address in addresses - self._askers.keys():
            self._soon[address] = asyncio.Event()
            self._askers[address] = asyncio.create_task(
                self._keep_asking(self._placement.servers[address], self._soon[address])
            )

    def slot_freed(self, server: Server) -> None:
        """A stream on this server has ended: ask for its slots soon, someone may wait for them."""
        if server.address in self._soon:
            self._soon[server.address].set()

    async def close(self) -> None:
        """Stop asking."""
        for asker in self._askers.values():
            asker.cancel()
        await asyncio.gather(*self._askers.values(), return_exceptions=True)

    async def _keep_asking(self, server: Server, soon: asyncio.Event) -> None:
        while True:
            await self._ask(server)
            self._placement.dispatch()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_WAITING_S if self._placement.waiting else ASK_EVERY_S):
                    await soon.wait()
                    # A server notices an ended stream at its next step, 80 ms later at most.
                    await asyncio.sleep(0.1)
            soon.clear()

    async def _ask(self, server: Server) -> None:
        asked_at = time.monotonic()
        was_silent = server.asked_at < 0
        try:
            async with (
                asyncio.timeout(ASK_TIMEOUT_S),
                self._session.get(f"http://{server.address}/api/modules_info", allow_redirects=False) as response,
            ):
                response.raise_for_status()
                body = b""
                async for chunk in response.content.iter_chunked(_ANSWER_LIMIT):
                    body += chunk
                    if len(body) > _ANSWER_LIMIT:
                        raise ValueError(f"its answer has more than {_ANSWER_LIMIT} bytes")
            server.answered(asked_at, *parse_slots(body.decode()))
        except (aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            server.silent()
            if not was_silent:
                log.warning("%s does not tell its slots: %s", server.address, error or type(error).__name__)
