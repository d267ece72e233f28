"""Seats on servers: a stream takes one, in its turn, and leaves it."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import aiohttp

from visio_captions.messages import FRAME_SAMPLES
from visio_captions.placement import Placement
from visio_captions.servers import Server
from visio_captions.upstream import NoFreeChannelError, ServerFailedError, Upstream, end, open_stream

Cause = Literal["cordon", "closed", "error", "stall"]
"""Why a stream left its server: that left the Service, closed the stream or died, said Error, or stood still."""

log = logging.getLogger(__name__)


@dataclass
class Seat:
    """One stream's place on one server. Positions are samples of the client's audio."""

    server: Server
    socket: Upstream
    ready: bytes
    """The server's first message."""
    origin: int = 0
    """Position of the first sample sent to this server."""
    sent: int = 0
    """Position up to which audio was sent."""
    steps: int = 0
    """Steps of the model that the server has told; each one takes a frame of 80 ms."""
    progress_at: float = 0.0
    """When the server last told a step, or was last given audio while it had none."""
    told_at: float = field(default_factory=time.monotonic)
    """When the server last said anything, were it a pong."""
    pinged_at: float = -math.inf
    delivering: bool = False
    """Whether the client is being sent a word: meanwhile nothing is read from the server, and that is not its fault."""
    verdict: asyncio.Future[Cause] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Why the seat must be left, as soon as it is known."""

    @property
    def heard(self) -> int:
        """Position up to which the server has heard; all that was sent, where a server does not tell."""
        return min(self.sent, self.origin + self.steps * FRAME_SAMPLES) if self.server.stepping else self.sent

    def stepped(self, now: float) -> None:
        """The server has heard one more frame."""
        self.steps += 1
        self.server.stepping = True
        self.progress_at = now

    def judge(self, cause: Cause) -> None:
        """Leave this seat; the first reason counts."""
        if not self.verdict.done():
            self.verdict.set_result(cause)


class Seats:
    """Takes and frees seats. `freed` is called with a server some time after a stream has left it."""

    def __init__(
        self, placement: Placement, session: aiohttp.ClientSession, key: str, freed: Callable[[Server], None]
    ) -> None:
        self._placement = placement
        self._session = session
        self._key = key
        self._freed = freed
        self._leaving: set[asyncio.Task[None]] = set()

    def ticket(self) -> int:
        """A place in the line."""
        return self._placement.ticket()

    async def take(self, ticket: int, served: bool = False) -> Seat:
        """Wait for a server that accepts a stream; one that is refused or failed waits on in its old place."""
        since = time.monotonic()
        while True:
            server = await self._placement.reserve(ticket, since, served)
            try:
                upstream, ready = await open_stream(self._session, server.address, self._key)
            except NoFreeChannelError:
                server.refused(time.monotonic())
            except ServerFailedError as error:
                server.not_opened(time.monotonic())
                log.warning("%s took no stream: %s", server.address, error)
            except BaseException:
                server.abandoned()
                raise
            else:
                server.accepted(time.monotonic())
                return Seat(server, upstream, ready)

    def leave(self, seat: Seat) -> None:
        """Free the seat; its connection is closed in the background."""
        seat.server.streams -= 1
        task = asyncio.create_task(self._end(seat))
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def close(self) -> None:
        """Wait for the connections that are being closed, which takes a bounded time."""
        await asyncio.gather(*self._leaving, return_exceptions=True)

    async def _end(self, seat: Seat) -> None:
        await end(seat.socket)
        self._freed(seat.server)
