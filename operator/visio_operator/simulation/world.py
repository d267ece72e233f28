"""The world of captions servers: streams on slots, waiting ones in line, orders that take their time or fail."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from visio_operator.plan.servers import Orders, Reading

from .cloud import Bought, Cloud, deliver
from .trace import STEP, Streams

MOVES = 32
"""Streams of closed servers that move in one step."""
PATIENCE = 300 // STEP
"""Steps that a stream waits before it is lost (facts/visio.md 4: the client's handshake ends after 300 s)."""
Policy = Callable[[Reading], Orders]


@dataclass
class Figures:
    """What a run came to, after its warm-up."""

    streams: int = 0
    waited: int = 0
    """Streams that found no slot in the step in which they joined."""
    lost: int = 0
    ended: int = 0
    """Sessions that ended because a server was taken away."""
    server_seconds: float = 0.0
    orders: int = 0

    @property
    def waited_share(self) -> float:
        """Waited streams of all."""
        return self.waited / self.streams if self.streams else 0.0


class World:
    """Runs a policy over a trace; a server costs from its order until it is returned."""

    def __init__(self, trace: Streams, slots: int, cloud: Cloud, seed: int, rehome: bool, spread: bool = False) -> None:
        self._trace, self._slots, self._cloud, self._rehome, self._spread = trace, slots, cloud, rehome, spread
        self._chance = random.Random(seed)  # noqa: S311 - a simulated cloud, no secret
        self._servers: dict[str, Bought] = {}
        self._ends: list[list[int]] = [[] for _ in range(trace.steps + 1)]
        self._at: dict[int, Bought] = {}
        self._line: deque[tuple[int, int, int]] = deque()
        self._next = math.inf
        """When the next order comes or fails."""
        self._closed = 0
        """How many servers are cordoned."""
        self._made = 0
        self._bought = 0

    def run(self, policy: Policy, warm_up: int = 0, every: Callable[[int, int, int], None] | None = None) -> Figures:
        """Run all steps; the first `warm_up` ones count for nothing. `every` sees step, streams and servers."""
        figures, paid = Figures(), 0
        start, calendar, line, ends = self._trace.start, self._trace.calendar, self._line, self._ends
        for step, joins in enumerate(self._trace.joins):
            now = start + step * STEP
            counted = step >= warm_up
            if ends[step]:
                self._leave(step)
            if now >= self._next:
                deliver(self._servers, now)
                self._next = min((each.at for each in self._servers.values() if not each.ready), default=math.inf)
            if self._rehome and self._closed:
                self._move()
            rejected = 0
            if joins or line:
                rejected, waited = self._join(step, joins)
                if counted:
                    figures.streams += len(joins)
                    figures.waited += waited
                    figures.lost += rejected
            servers = list(self._servers.values())
            if counted:
                paid += len(servers)
            orders = policy(Reading(now, servers, len(line), rejected, self._rehome, calendar))
            if orders.order or orders.cordon or orders.uncordon or orders.release:
                self._obey(now, orders, figures if counted else Figures())
            if every is not None:
                every(step, len(self._at), len(self._servers))
        figures.server_seconds = float(paid * STEP)
        return figures

    def _leave(self, step: int) -> None:
        there = self._at
        for stream in self._ends[step]:
            server = there.pop(stream, None)
            if server is not None:
                server.streams.discard(stream)
                server.used -= 1
        self._ends[step] = []

    def _move(self) -> None:
        moves = MOVES
        target: Bought | None = None
        for server in self._servers.values():
            while server.cordoned and server.streams and moves:
                if target is None or self._spread or target.used >= self._slots:
                    target = self._free()
                if target is None:
                    return
                stream = server.streams.pop()
                server.used -= 1
                self._put(stream, target)
                moves -= 1

    def _free(self) -> Bought | None:
        found = None
        for server in self._servers.values():
            if server.used >= self._slots or not server.ready or server.cordoned:
                continue
            if found is None or (server.used < found.used if self._spread else server.used > found.used):
                found = server
        return found

    def _put(self, stream: int, server: Bought) -> None:
        server.streams.add(stream)
        server.used += 1
        self._at[stream] = server

    def _join(self, step: int, joins: Sequence[int]) -> tuple[int, int]:
        """Place those who wait and those who come; how many gave up, and how many of the new ones found no slot."""
        lost = 0
        while self._line and self._line[0][1] + PATIENCE <= step:
            self._line.popleft()
            lost += 1
        while self._line and (server := self._free()) is not None:
            stream, _, left = self._line.popleft()
            self._begin(stream, step, left, server)
        waited = 0
        server = None
        for length in joins:
            self._made += 1
            if server is None or self._spread or server.used >= self._slots:
                server = None if self._line else self._free()
            if server is None:
                self._line.append((self._made, step, length))
                waited += 1
            else:
                self._begin(self._made, step, length, server)
        return lost, waited

    def _begin(self, stream: int, step: int, length: int, server: Bought) -> None:
        self._put(stream, server)
        self._ends[min(self._trace.steps, step + length)].append(stream)

    def _obey(self, now: float, orders: Orders, figures: Figures) -> None:
        for name in orders.uncordon:
            self._closed -= self._servers[name].cordoned
            self._servers[name].cordoned = False
        for name in orders.cordon:
            self._closed += not self._servers[name].cordoned
            self._servers[name].cordoned = True
        for name in orders.release:
            server = self._servers[name]
            figures.ended += server.used if server.cordoned else max(1, server.used)
            self._closed -= server.cordoned
            del self._servers[name]
        for _ in range(orders.order):
            self._bought += 1
            server = self._cloud.sell(f"s{self._bought}", now, self._chance)
            self._servers[server.id] = server
            self._next = min(self._next, server.at)
            figures.orders += 1
