"""Pods that take nothing new and end with what they have: what is left of it, until when, and what they hold up.

A pod drains from the moment in which it was told to end (SIGTERM), or in which it was closed while it stays: a captions
server without its label, a transcription worker on a cordoned node. What ends it at last is its own grace period as it
was when it was told, so nothing here and nothing that follows from it ever deletes a pod: a second SIGTERM would cut
calls for good, while after SIGKILL clients come back by themselves (facts/visio.md 6).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from visio_operator.api.drains import MOST_DRAINS, Policy
from visio_operator.api.fields import seconds
from visio_operator.api.spec import VisioDeploymentSpec

from .leaving import Leaving
from .observed import Observed

CLOSED_SINCE = "closed."
"""Before a pod's name, in `Plan.memory`: since when it was seen closed while it stays."""
LONGEST_DRAIN = 18_000
"""Seconds a media server may take until its last room has ended, when the user sets no deadline; Visio's own figure."""
_NO_HURRY = float("inf")
FORCED = frozenset({"sfu"})
"""Parts that follow the user's policy; all others always wait, since a recording or a transcript would be lost."""


@dataclass(frozen=True)
class Drain:
    """One pod that drains. Times are unix seconds."""

    part: str
    pod: str
    node: str
    rooms: int | None
    """Rooms, recordings, or transcriptions that are left; None while they cannot be read."""
    participants: int | None
    """People in these rooms, or streams of captions; None where it is not known."""
    since: float
    deadline: float | None
    """When it is killed; None while it is only closed."""
    oldest: float | None = None
    """When the oldest of its rooms began, as far as it is known."""
    expected_end: float | None = None
    """An estimate; None where there is nothing to estimate from."""
    policy: Policy = "Wait"
    message: str = ""

    @property
    def empty(self) -> bool:
        """Whether nobody is left."""
        return self.rooms == 0 and not self.participants


@dataclass(frozen=True)
class _Left:
    """What a pod still has."""

    rooms: int | None = None
    participants: int | None = None
    oldest: float | None = None


def drains(spec: VisioDeploymentSpec, observed: Observed, now: float) -> tuple[Drain, ...]:
    """All pods that drain, the most urgent first: the next to be killed, then those with the most people."""
    left = dict(_left(observed))
    found = [_leaving(spec, observed, one, left.get(one.pod, _Left()), now) for one in observed.leaving]
    gone = {one.pod for one in observed.leaving}
    found += [one for one in _closed(observed, left, now) if one.pod not in gone]
    return tuple(sorted(found, key=_urgency))


def drain_seconds(spec: VisioDeploymentSpec) -> int:
    """How long what carries media may stay after it was told to end: the grace period of its pods.

    A forced end lets it run out into SIGKILL, after which clients come back by themselves; after a second SIGTERM they
    would not (facts/visio.md 6).
    """
    deadline = spec.drain.deadline or spec.sfu.drain_deadline
    return seconds(deadline) if deadline else LONGEST_DRAIN


def drain_memory(found: Iterable[Drain]) -> dict[str, float]:
    """Since when pods have been closed, for `Plan.memory`; bounded, since it is kept in status."""
    closed = [one for one in found if one.deadline is None]
    return {f"{CLOSED_SINCE}{one.pod}": one.since for one in closed[:MOST_DRAINS]}


def drain_trace(found: tuple[Drain, ...]) -> tuple[str, ...]:
    """One line for all drains."""
    if not found:
        return ()
    parts = sorted({one.part for one in found})
    counts = ", ".join(f"{part} {sum(one.part == part for one in found)}" for part in parts)
    people = sum(one.participants or 0 for one in found)
    return (f"drains: {counts}; {people} people or streams left, the next deadline is {found[0].pod}'s",)


def expected_last(rooms: int, mean_age: float) -> float:
    """Seconds until the last of so many rooms is expected to have ended.

    In equilibrium a meeting that is met at a random moment has as much before it as behind it on average, so the mean
    age of all rooms estimates the mean that is left of each (equilibrium renewal process: D. R. Cox, Renewal Theory,
    1962, 5.2). With lengths that are taken as exponential, the last of n ends after the mean times the n-th harmonic
    number. An estimate, no promise: it is too short for a lecture among short calls.
    """
    return mean_age * sum(1 / number for number in range(1, rooms + 1))


def _urgency(one: Drain) -> tuple[float, int, str]:
    return (_NO_HURRY if one.deadline is None else one.deadline, -(one.participants or 0), one.pod)


def _leaving(spec: VisioDeploymentSpec, observed: Observed, one: Leaving, left: _Left, now: float) -> Drain:
    policy: Policy = spec.drain.policy if one.part in FORCED else "Wait"
    return Drain(
        part=one.part,
        pod=one.pod,
        node=one.node,
        rooms=left.rooms,
        participants=left.participants,
        since=one.since,
        deadline=one.deadline,
        oldest=left.oldest,
        expected_end=_expected(observed, one, left, now),
        policy=policy,
        message=_message(spec, one, left, policy),
    )


def _expected(observed: Observed, one: Leaving, left: _Left, now: float) -> float | None:
    """Only what follows rooms is estimated; streams of captions move away within seconds."""
    mean = observed.rooms.mean_age
    if not left.rooms or mean is None or one.part in ("captions", "transcription"):
        return None
    return min(now + expected_last(left.rooms, mean), one.deadline)


def _message(spec: VisioDeploymentSpec, one: Leaving, left: _Left, policy: Policy) -> str:
    lines = []
    if one.node_closed:
        lines.append(
            f"node {one.node} is closed and cannot be emptied before this pod has ended; wait, do not force it"
        )
    grace = one.deadline - one.since
    asked = spec.drain.deadline
    if policy == "Force" and asked is not None and left.rooms != 0 and grace > seconds(asked) + 1:
        lines.append(f"it started before spec.drain.deadline was {asked}, so its own grace of {grace:.0f} s holds")
    if left.rooms is None and left.participants is None:
        lines.append("what it still has could not be read")
    return "; ".join(lines)


def _closed(observed: Observed, left: Mapping[str, _Left], now: float) -> Iterator[Drain]:
    """Pods that stay and take nothing new, as long as they have something."""
    closed_nodes = {node.name for node in observed.nodes if node.cordoned}
    waiting = [
        (server.pod, "captions", server.node) for server in observed.captions if server.ready and not server.serving
    ]
    waiting += [(w.pod, "transcription", w.node) for w in observed.transcribers if w.node in closed_nodes]
    for pod, part, node in waiting:
        has = left.get(pod, _Left())
        if has.rooms == 0 and not has.participants:
            continue
        since = min(observed.memory.get(f"drain.{pod}", observed.memory.get(f"{CLOSED_SINCE}{pod}", now)), now)
        message = (
            f"node {node} is closed and is returned when this pod has nothing left" if node in closed_nodes else ""
        )
        yield Drain(part, pod, node, has.rooms, has.participants, since, None, has.oldest, message=message)


def _left(observed: Observed) -> Iterator[tuple[str, _Left]]:
    """What each pod still has, as far as it could be read."""
    for server in observed.media:
        began = observed.rooms.began.get(server.pod, ())
        yield server.pod, _Left(server.rooms, server.participants, min(began, default=None))
    for recorder in observed.recorders:
        yield recorder.pod, _Left(recorder.recordings)
    for agent in (*observed.agents, *observed.collectors):
        yield agent.pod, _Left(agent.jobs)
    for captions in observed.captions:
        yield captions.pod, _Left(0 if captions.used == 0 else None, captions.used)
    for worker in observed.transcribers:
        busy = worker.busy
        yield worker.pod, _Left(None if busy is None else int(busy), oldest=worker.busy_since if busy else None)
