"""How many captions servers run: grown ahead of the streams, shrunk by cordon, drain and empty.

A server is cordoned by taking its serving label off; the proxies then move its streams away. Only when its slots have
been read as empty it gets the deletion cost of an emptied pod, and only when that is seen the replicas go down.
"""

from __future__ import annotations

from dataclasses import dataclass

from visio_operator.api.parts import Captions

from .foresee import PartNeed, slots_in_use
from .observed import CaptionsServer, Observed
from .pace import Pace
from .plan import PodMark
from .reasons import Reason
from .sizing import EMPTIED, Fleet, Limit, PartSize, hold_before_shrinking

_LESS = "captions.less"
_DRAINS = 64
"""Cordoned servers whose time is kept at once; the others wait for their turn."""


@dataclass(frozen=True)
class _Need:
    """What the streams ask for, within the bounds."""

    servers: int
    limits: tuple[Limit, ...]
    trace: str


def size_captions(
    captions: Captions, asked: PartNeed, observed: Observed, free: int | None, now: float, pace: Pace
) -> PartSize:
    """Size the captions servers; `free` GPUs can take new pods now, None when nodes are not our business."""
    live = [server for server in observed.captions if not server.terminating]
    workload = observed.workloads.get("captions")
    fleet = Fleet(pods=len(live), desired=workload.desired if workload else len(live))
    serving = [server for server in live if server.serving]
    cordoned = [server for server in live if not server.serving]
    running = len(serving) + fleet.missing

    need = _need(captions, asked, running, len(cordoned))
    hold = min(pace.hold, pace.gpu_hold)
    held = hold_before_shrinking(_LESS, running, need.servers, observed.memory, now, hold)
    memory = {**held.memory, **_drains(cordoned, observed, now)}

    if held.size > running:
        replicas, marks, note = _grow(held.size - running, cordoned, fleet, free)
    elif held.size < running:
        replicas, marks, note = _shrink(running - held.size, live, serving, fleet, now, pace)
    else:
        replicas, marks, note = fleet.desired, (), ""
    if held.size <= running and not asked.frozen and not asked.panic:
        lowered, emptied, why = _take_emptied(live, cordoned, memory, fleet, now, pace)
        replicas, note = min(replicas, lowered), note + why
        marked = {mark.pod for mark in marks}
        marks = (*marks, *(mark for mark in emptied if mark.pod not in marked))
    trace = (
        f"{need.trace}{held.note}",
        *filter(None, (asked.panic_trace,)),
        f"captions: {len(serving)} serving, {len(cordoned)} cordoned, replicas {fleet.desired} -> {replicas}{note}",
    )
    return PartSize(
        part="captions",
        replicas=replicas,
        wanted=held.size,
        target=need.servers,
        late=max(0, min(asked.late, captions.max - held.size)),
        pods=marks,
        limits=need.limits,
        frozen=asked.frozen,
        memory=memory,
        trace=trace,
    )


def _need(captions: Captions, asked: PartNeed, running: int, cordoned: int) -> _Need:
    """Servers for the streams to come; never fewer than run while a reading is missing, and in a panic never fewer
    than there are, as far as the maximum lets closed ones be opened.
    """
    servers = min(max(asked.servers, captions.min), captions.max)
    if asked.panic and not asked.frozen:
        servers = max(servers, min(running + cordoned, captions.max))
    if asked.frozen or asked.panic:
        servers = max(servers, running)
    limits: tuple[Limit, ...] = ()
    if asked.servers > captions.max:
        message = f"captions want {asked.servers} servers for {asked.load} streams and those to come"
        limits = (Limit(Reason.MAXIMUM_REACHED, f"{message}, spec.captions.max is {captions.max}; raise it"),)
    trace = f"{asked.trace} -> {asked.servers}, within {captions.min}..{captions.max} -> {servers}"
    return _Need(servers, limits, f"{trace}{', frozen' if asked.frozen else ''}")


def _drains(cordoned: list[CaptionsServer], observed: Observed, now: float) -> dict[str, float]:
    """Since when each cordoned server has been seen cordoned; bounded, since it is kept in status."""
    first = sorted(cordoned, key=lambda server: (f"drain.{server.pod}" not in observed.memory, server.pod))
    keys = [f"drain.{server.pod}" for server in first[:_DRAINS]]
    return {key: min(observed.memory.get(key, now), now) for key in keys}


def _grow(
    more: int, cordoned: list[CaptionsServer], fleet: Fleet, free: int | None
) -> tuple[int, tuple[PodMark, ...], str]:
    """Bring cordoned servers back first, the fullest before the others; add pods where a GPU is free."""
    # While a pod is about to be taken it might be any of the emptied ones, so none of them may serve again.
    back = [] if fleet.leaving else sorted(cordoned, key=_fullest)[:more]
    marks = tuple(PodMark(s.pod, serving=True, deletion_cost=0 if s.deletion_cost else None) for s in back)
    lacking = more - len(back) - (len(cordoned) if fleet.leaving else 0)
    added = max(0, lacking if free is None else min(lacking, free))
    note = f", {len(back)} back in service" if back else ""
    if added < lacking:
        note += f", {lacking - added} wait for a GPU"
    return fleet.desired + added, marks, note


def _fullest(server: CaptionsServer) -> tuple[bool, int, float]:
    return (not server.ready, -(server.used or 0), server.created)


def _shrink(
    fewer: int, live: list[CaptionsServer], serving: list[CaptionsServer], fleet: Fleet, now: float, pace: Pace
) -> tuple[int, tuple[PodMark, ...], str]:
    """Ask for no more pods than there are, then cordon the servers with the fewest streams, the newest of equals."""
    dropped = min(fleet.missing, fewer) if _nothing_exposed(live, now, pace) else 0
    chosen = sorted(serving, key=lambda s: (s.ready, s.used or 0, -s.created))[: fewer - dropped]
    marks = tuple(PodMark(server.pod, serving=False) for server in chosen)
    note = f", cordon {', '.join(server.pod for server in chosen)}" if chosen else ""
    return fleet.desired - dropped, marks, note


def _nothing_exposed(live: list[CaptionsServer], now: float, pace: Pace) -> bool:
    """Whether no unready server carries streams: a ReplicaSet takes unready pods first, whatever they cost."""
    return all(server.ready or slots_in_use(server, now, pace) == 0 for server in live)


def _take_emptied(
    live: list[CaptionsServer],
    cordoned: list[CaptionsServer],
    memory: dict[str, float],
    fleet: Fleet,
    now: float,
    pace: Pace,
) -> tuple[int, tuple[PodMark, ...], str]:
    """Mark the servers that are empty; lower the replicas by those whose mark has been seen."""
    empty = {
        server.pod
        for server in cordoned
        if slots_in_use(server, now, pace) == 0 and now - memory.get(f"drain.{server.pod}", now) >= pace.settle
    }
    marks = [PodMark(s.pod, deletion_cost=EMPTIED) for s in live if s.pod in empty and s.deletion_cost != EMPTIED]
    wrong = [server for server in live if server.pod not in empty and server.deletion_cost < 0]
    marks += [PodMark(server.pod, deletion_cost=0) for server in wrong]
    marked = [server.pod for server in live if server.pod in empty and server.deletion_cost == EMPTIED]
    # The ReplicaSet must have no reason to take another pod: none unready, none marked by mistake, none on its way.
    others_safe = all(server.ready for server in live if server.pod not in empty) and not wrong
    if not marked or not others_safe or fleet.missing or fleet.leaving:
        why = f", {len(empty)} empty" if empty else ""
        return fleet.desired, tuple(marks), why
    return fleet.desired - len(marked), tuple(marks), f", take away {', '.join(marked)}"
