"""How many transcription workers run: as many as let each recording start in time, taken away only when idle.

A worker cannot be cordoned, but its end is gentle: it finishes its task first (facts/visio.md 3), and its pod's node is
kept until the pod is gone.
"""

from __future__ import annotations

from visio_operator.api.parts import Transcription

from .foresee import PartNeed, may_be_busy
from .observed import Observed, TranscriptionWorker
from .pace import Pace
from .plan import PodMark
from .reasons import Reason
from .sizing import EMPTIED, Fleet, Limit, PartSize, hold_before_shrinking

_LESS = "transcription.less"
_HOLD = 60.0
"""Seconds for which fewer workers have to be enough."""


def size_transcription(
    transcription: Transcription, asked: PartNeed, observed: Observed, free: int | None, now: float, pace: Pace
) -> PartSize:
    """Size the transcription workers; `free` GPUs can take new pods now, None when nodes are not our business."""
    live = [worker for worker in observed.transcribers if not worker.terminating]
    workload = observed.workloads.get("transcription")
    fleet = Fleet(pods=len(live), desired=workload.desired if workload else len(live))
    running = len(live) - fleet.leaving + fleet.missing

    target = min(max(asked.servers, transcription.min), transcription.max)
    if asked.frozen:
        target = max(target, running)
    # The planner has waited already before it called a worker idle.
    held = hold_before_shrinking(_LESS, running, target, observed.memory, now, min(pace.hold, _HOLD))

    replicas, marks, note = fleet.desired, _unmark(live), ""
    if held.size > running:
        lacking = held.size - running
        added = max(0, lacking if free is None else min(lacking, free))
        replicas += added
        note = f", {lacking - added} wait for a GPU" if added < lacking else ""
    elif held.size < running:
        replicas, marks, note = _shrink(running - held.size, live, fleet)
    limits: tuple[Limit, ...] = ()
    if asked.servers > transcription.max:
        message = (
            f"transcription wants {asked.servers} workers for {asked.load} jobs, spec.transcription.max is"
            f" {transcription.max}; recordings wait for longer than spec.transcription.startWithin unless it is raised"
        )
        limits = (Limit(Reason.MAXIMUM_REACHED, message),)
    trace = (
        f"{asked.trace} -> {asked.servers}, within {transcription.min}..{transcription.max} -> {target}"
        f"{', frozen' if asked.frozen else ''}{held.note}",
        f"transcription: {len(live)} workers, replicas {fleet.desired} -> {replicas}{note}",
    )
    return PartSize(
        part="transcription",
        replicas=replicas,
        wanted=held.size,
        target=target,
        late=max(0, min(asked.late, transcription.max - held.size)),
        pods=marks,
        limits=limits,
        frozen=asked.frozen,
        memory=held.memory,
        trace=trace,
    )


def _unmark(live: list[TranscriptionWorker]) -> tuple[PodMark, ...]:
    """Workers that were to go and are wanted again."""
    return tuple(PodMark(worker.pod, deletion_cost=0) for worker in live if worker.deletion_cost < 0)


def _shrink(fewer: int, live: list[TranscriptionWorker], fleet: Fleet) -> tuple[int, tuple[PodMark, ...], str]:
    """Mark idle workers, the newest first, and lower the replicas by those whose mark has been seen."""
    # A ReplicaSet takes unready pods first, whatever they cost: with a busy one among them nothing may be taken.
    exposed = any(not worker.ready and may_be_busy(worker) for worker in live)
    dropped = 0 if exposed else min(fleet.missing, fewer)
    idle = sorted((w for w in live if not may_be_busy(w)), key=lambda w: (w.ready, w.deletion_cost, -w.created))
    chosen = idle[: fewer - dropped]
    names = {worker.pod for worker in chosen}
    marks = [PodMark(w.pod, deletion_cost=EMPTIED) for w in chosen if w.deletion_cost != EMPTIED]
    wrong = [worker for worker in live if worker.pod not in names and worker.deletion_cost < 0]
    marks += [PodMark(worker.pod, deletion_cost=0) for worker in wrong]
    marked = [worker.pod for worker in chosen if worker.deletion_cost == EMPTIED]
    others_safe = all(worker.ready for worker in live if worker.pod not in names) and not wrong
    if not marked or not others_safe or fleet.missing or fleet.leaving:
        return fleet.desired - dropped, tuple(marks), f", {len(chosen)} idle of {fewer} too many"
    return fleet.desired - len(marked), tuple(marks), f", take away {', '.join(marked)}"
