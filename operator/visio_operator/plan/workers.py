"""How many queue workers run: grown by what waits, shrunk after the hold.

Their end is gentle by itself: Celery finishes the task at hand and gives back what it fetched ahead (facts/visio.md 3),
so no pod is chosen. A worker in a task cannot be seen from outside; the hold and the grace are there for it.
"""

from __future__ import annotations

from math import ceil

from visio_operator.api.media import Workers

from .observed import Observed, WorkerQueue
from .pace import Pace
from .reasons import Reason
from .sizing import Limit, PartSize, hold_before_shrinking

BACKLOG = {"celery-backend": 20, "summarize": 1, "call-webhook": 10}
"""Waiting jobs that one worker is given: a summary takes minutes of a language model, the others seconds."""
FETCHED_AHEAD = 4
"""Messages that a worker fetches ahead, Celery's default: they stay with it, whatever others run."""


def size_worker(part: str, workers: Workers, observed: Observed, now: float, pace: Pace) -> PartSize:
    """Size one queue worker; while its queue cannot be read it neither grows nor shrinks."""
    workload = observed.workloads.get(part)
    running = workload.desired if workload else workers.min
    queue = observed.worker_queues.get(part, WorkerQueue())
    known = queue.waiting is not None and now - queue.read_at <= pace.stale_after
    waiting = (queue.waiting or 0) if known else 0
    wanted = ceil(waiting / BACKLOG[part]) + ceil(queue.taken / FETCHED_AHEAD) if known else running
    target = min(max(wanted, workers.min), workers.max)
    frozen = ""
    if not known:
        cause = f" ({queue.error})" if queue.error else ""
        # A worker that does not exist yet has nothing to be frozen at.
        frozen = "" if workload is None else f"{part}: its queue could not be read for {pace.stale_after:.0f} s{cause}"
        target = max(target, running)
    key = f"{part}.less"
    held = hold_before_shrinking(key, running, target, observed.memory, now, pace.hold)
    limits: tuple[Limit, ...] = ()
    if known and wanted > workers.max:
        message = f"{part} wants {wanted} workers for {waiting} waiting jobs, spec.workers.max is {workers.max}"
        message += "; the others wait in the queue unless it is raised"
        limits = (Limit(Reason.MAXIMUM_REACHED, message),)
    said = f"{waiting} waiting, {queue.taken} fetched" if known else "unknown"
    return PartSize(
        part=part,
        replicas=held.size,
        wanted=held.size,
        target=target,
        limits=limits,
        frozen=frozen,
        memory=held.memory,
        trace=(
            f"{part}: {said}, within {workers.min}..{workers.max} -> {target}{held.note},"
            f" replicas {running} -> {held.size}",
        ),
    )
