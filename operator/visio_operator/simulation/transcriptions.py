"""Recordings through the planner of transcription servers, beside a worker for each job."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace

from visio_operator.plan.batch import SPEED, Batch
from visio_operator.plan.servers import Job, Limits

from .baselines import worker_per_job
from .cloud import Cloud
from .compare import Recorder, Tell, courses
from .recordings import HANDOVER, midnight, run_recordings
from .study import Recordings, RecordingsLine, euros
from .trace import STEP, Streams
from .world import Policy

SHARED = "visio-operator, one pool with captions"


def transcribe(
    jobs: Sequence[Job],
    limits: Limits,
    cloud: Cloud,
    seed: int,
    tell: Tell,
    returned: Sequence[float] = (),
    shared_price: float | None = None,
) -> Recordings:
    """Run the policies over recordings in the order of time; all of the time counts.

    With the times at which captions give back servers, also the planner on the pool of captions, whose servers cost
    `shared_price` euros an hour: that says whether one pool for both is cheaper.
    """
    start = midnight(jobs)
    lines, recorders = [], []
    expected = int(jobs[-1].since - start + 3600) // STEP
    runs: list[tuple[str, Policy, Limits, Sequence[float]]] = [
        ("visio-operator", Batch(limits).step, limits, ()),
        ("a worker for each job (KEDA)", worker_per_job(limits), limits, ()),
    ]
    seen = bisect_left(returned, start)
    if returned[seen:] and returned[seen] <= jobs[-1].since:
        shared = replace(limits, price_per_hour=shared_price)
        runs.insert(1, (SHARED, Batch(shared).step, shared, returned[seen:]))
    for name, policy, bounds, spare in runs:
        recorder = Recorder(name, policy, 1, expected, tell)
        figures = run_recordings(recorder, jobs, cloud, SPEED, limits.start_within, seed, spare)
        recorders.append(recorder)
        lines.append(
            RecordingsLine(
                name,
                figures.late,
                round(100 * figures.late / figures.jobs, 4),
                round(100 * figures.busy_share, 2),
                round(figures.server_seconds / 3600, 1),
                figures.ended,
                figures.orders,
                figures.handed_over,
                euros(figures.server_seconds, bounds),
            )
        )
    audio = sum(job.audio for job in jobs)
    offered = _at_once(jobs, start, min(len(recorder.slots) for recorder in recorders))
    return Recordings(
        len(jobs),
        round(audio / 3600, 1),
        round(audio / SPEED / 3600, 1),
        limits.start_within,
        SPEED,
        HANDOVER,
        tuple(lines),
        *courses(start, offered, recorders),
    )


def _at_once(jobs: Sequence[Job], start: float, steps: int) -> list[int]:
    """The transcriptions that would run in each step if none waited."""
    joins: list[list[int]] = [[] for _ in range(steps)]
    for job in jobs:
        joins[int((job.since - start) // STEP)].append(max(1, math.ceil(job.audio / SPEED / STEP)))
    return Streams(start, joins).offered()
