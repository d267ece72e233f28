"""A provider that sells servers late, and sometimes not at all."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field

from visio_operator.plan.servers import Server

_NORMAL_95 = 1.645


@dataclass(slots=True)
class Bought(Server):
    """A server with what only the world knows."""

    at: float = 0.0
    """When it becomes ready, or vanishes."""
    fails: bool = False
    streams: set[int] = field(default_factory=set)
    """Of a captions server: the streams on it."""
    until: float = 0.0
    """Of a transcription server: when its job ends."""


@dataclass(frozen=True)
class Cloud:
    """How the provider sells servers."""

    median: float = 300.0
    p95: float = 480.0
    fails: float = 0.1
    """Share of the orders that vanish instead of becoming ready."""

    def sell(self, name: str, now: float, chance: random.Random) -> Bought:
        """An order of now; its lead time is log-normal."""
        fails = chance.random() < self.fails
        lead = self.median * math.exp(chance.gauss(0.0, math.log(self.p95 / self.median) / _NORMAL_95))
        return Bought(name, now, at=now + lead, fails=fails)


def deliver(servers: dict[str, Bought], now: float) -> None:
    """Make ready what has come by now, and take away what has failed."""
    for server in list(servers.values()):
        if not server.ready and now >= server.at:
            if server.fails:
                del servers[server.id]
            else:
                server.ready = True
