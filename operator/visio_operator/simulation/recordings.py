"""The world of transcription servers: recordings in a queue, one at a time on each server."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from visio_operator.plan.servers import Job, Orders, Reading

from .cloud import Bought, Cloud, deliver
from .trace import STEP
from .world import Policy

_DAY = 86_400
HANDOVER = 60.0
"""Seconds until a server that captions gave back works on recordings: the node and its images are there, a pod of the
other kind starts and loads its models. An assumption, stated in the report; the operator learns the real one."""


@dataclass
class BatchFigures:
    """What a run came to."""

    jobs: int = 0
    late: int = 0
    """Jobs that started after the limit, or never."""
    server_seconds: float = 0.0
    busy_seconds: float = 0.0
    ended: int = 0
    orders: int = 0
    handed_over: int = 0
    """Servers that captions gave back and that were not bought."""

    @property
    def busy_share(self) -> float:
        """Of the bought time, that in which a server worked."""
        return self.busy_seconds / self.server_seconds if self.server_seconds else 0.0


def run_recordings(
    policy: Policy,
    jobs: Sequence[Job],
    cloud: Cloud,
    speed: float,
    start_within: float,
    seed: int,
    returned: Sequence[float] = (),
) -> BatchFigures:
    """Run a policy over recordings in the order of time, from their first midnight until an hour after the last one.

    What waits or runs then is finished first, for a day at most. `returned` are the times at which captions give back a
    server of the same pool, in order: one that is ordered in that step is not bought but handed over.
    """
    chance = random.Random(seed)  # noqa: S311 - a simulated cloud, no secret
    figures = BatchFigures(jobs=len(jobs))
    servers: dict[str, Bought] = {}
    coming = deque(jobs)
    queue: deque[Job] = deque()
    now, last = midnight(jobs), jobs[-1].since
    spare = deque(returned)
    while now < last + 3600 or (now < last + _DAY and (queue or any(server.used for server in servers.values()))):
        while coming and coming[0].since <= now:
            queue.append(coming.popleft())
        deliver(servers, now)
        for server in servers.values():
            if server.used and now >= server.until:
                server.used, server.busy_for = 0, None
            if server.ready and not server.cordoned and not server.used and queue:
                job = queue.popleft()
                figures.late += now - job.since > start_within
                server.used, server.busy_for, server.until = 1, 1.0, now + job.audio / speed
            elif server.used:
                server.busy_for = (server.busy_for or 0.0) + STEP
            if server.used:
                figures.busy_seconds += min(STEP, server.until - now)
        figures.server_seconds += STEP * len(servers)
        orders = policy(Reading(now, list(servers.values()), jobs=list(queue)))
        while spare and spare[0] <= now - STEP:
            spare.popleft()
        _obey(orders, servers, now, cloud, chance, figures, spare)
        now += STEP
    figures.late += len(queue)
    return figures


def midnight(jobs: Sequence[Job]) -> float:
    """The midnight UTC before the first recording."""
    return jobs[0].since // _DAY * _DAY


def _obey(
    orders: Orders,
    servers: dict[str, Bought],
    now: float,
    cloud: Cloud,
    chance: random.Random,
    figures: BatchFigures,
    spare: deque[float],
) -> None:
    for name in orders.uncordon:
        servers[name].cordoned = False
    for name in orders.cordon:
        servers[name].cordoned = True
    for name in orders.release:
        figures.ended += servers[name].used
        del servers[name]
    for _ in range(orders.order):
        name = f"w{figures.orders + figures.handed_over + 1}"
        if spare and spare[0] <= now:
            spare.popleft()
            figures.handed_over += 1
            # As if it had been ordered a usual lead ago: it teaches nothing about what an order takes.
            servers[name] = Bought(name, now - cloud.median, at=now + HANDOVER)
            continue
        figures.orders += 1
        servers[name] = cloud.sell(name, now, chance)
