"""Which server takes the next stream, and in which order streams wait for one."""

from __future__ import annotations

import asyncio
import bisect
import itertools
import time
from collections.abc import Iterable
from dataclasses import dataclass

from visio_captions.servers import Server


@dataclass(frozen=True)
class _Place:
    """A stream in the line."""

    ticket: int
    turn: asyncio.Future[Server]
    served: bool
    since: float
    """When it began to be without a server, by the monotonic clock."""


class Placement:
    """The servers and the line of waiting streams. All methods belong to one event loop."""

    def __init__(self) -> None:
        self.servers: dict[str, Server] = {}
        self._left: dict[str, Server] = {}
        self._tickets = itertools.count()
        self._line: list[_Place] = []

    @property
    def waiting(self) -> int:
        """Streams without a server, for which none has a free slot now."""
        return sum(not place.served for place in self._line)

    def longest_wait(self, now: float) -> float:
        """Seconds that the longest of them has waited until `now` of the monotonic clock; 0 when nobody waits."""
        return max((now - place.since for place in self._line if not place.served), default=0.0)

    def ticket(self) -> int:
        """A place in the line; a stream keeps it when a server refuses it, so nobody overtakes it."""
        return next(self._tickets)

    def serve_from(self, addresses: Iterable[str]) -> None:
        """Use exactly the servers at these addresses; streams on others go on, but no new ones go there."""
        known = {address: server for address, server in self._left.items() if server.streams} | self.servers
        self.servers = {
            address: known.pop(address) if address in known else Server(address) for address in sorted(addresses)
        }
        self._left = known
        for server in self.servers.values():
            server.serving = True
        for server in self._left.values():
            server.serving = False

    async def reserve(self, ticket: int, since: float, served: bool = False) -> Server:
        """Wait in the order of tickets for a slot and reserve it; the caller reports what became of it.

        `since` is when the stream began to be without a server. `served` says that it has one meanwhile: nobody waits
        for its words, and it counts as no demand.
        """
        turn: asyncio.Future[Server] = asyncio.get_running_loop().create_future()
        bisect.insort(self._line, _Place(ticket, turn, served, since), key=lambda place: place.ticket)
        self.dispatch()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                turn.result().abandoned()
            self._line = [place for place in self._line if place.turn is not turn]
            self.dispatch()
            raise

    def dispatch(self) -> None:
        """Give free slots to those who wait; to be called whenever a slot may have become free."""
        now = time.monotonic()
        while self._line and (server := self._fullest(now)) is not None:
            turn = self._line.pop(0).turn
            if not turn.done():
                server.reserve()
                turn.set_result(server)

    def _fullest(self, now: float) -> Server | None:
        """The server with the fewest free slots, so that the others become empty and can be given back.

        Ties go to the lowest address, the same in each proxy: idle servers are filled one after another by all of them.
        """
        candidates = ((server.free(now), server.address, server) for server in self.servers.values())
        best = min((entry for entry in candidates if entry[0] > 0), default=None, key=lambda entry: entry[:2])
        return best[2] if best else None
