"""Take pods away without ending anybody's session: mark the ones that may go, then ask for fewer.

A ReplicaSet takes unready pods first and then those of the lowest deletion cost
(`controller.kubernetes.io/pod-deletion-cost`, facts/scaling.md D11). So replicas only go down when the marks have been
seen and no other pod would be taken for another reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .plan import PodMark
from .sizing import EMPTIED, Fleet


@dataclass(frozen=True)
class Candidate:
    """One pod that is not on its way out, and whether it may be taken."""

    pod: str
    ready: bool
    may_go: bool
    order: tuple[float, ...]
    """The lowest goes first."""
    deletion_cost: int = 0


@dataclass(frozen=True)
class Removal:
    """What follows for replicas and marks."""

    replicas: int
    marks: tuple[PodMark, ...]
    note: str


def keep_all(pods: Sequence[Candidate]) -> tuple[PodMark, ...]:
    """Take back the marks of pods that are wanted again."""
    return tuple(PodMark(pod.pod, deletion_cost=0) for pod in pods if pod.deletion_cost < 0)


def take_away(fewer: int, pods: Sequence[Candidate], fleet: Fleet) -> Removal:
    """Let `fewer` pods go, as far as it is safe now; what is left over is for the next looks."""
    exposed = any(not pod.ready and not pod.may_go for pod in pods)
    dropped = 0 if exposed else min(fleet.missing, fewer)
    # A pod that is marked already goes before its equals, so that the choice does not wander.
    able = sorted((p for p in pods if p.may_go), key=lambda p: (p.ready, p.deletion_cost >= 0, *p.order, p.pod))
    chosen = able[: fewer - dropped]
    names = {pod.pod for pod in chosen}
    marks = [PodMark(pod.pod, deletion_cost=EMPTIED) for pod in chosen if pod.deletion_cost != EMPTIED]
    wrong = [pod for pod in pods if pod.pod not in names and pod.deletion_cost < 0]
    marks += [PodMark(pod.pod, deletion_cost=0) for pod in wrong]
    marked = [pod.pod for pod in chosen if pod.deletion_cost == EMPTIED]
    others_safe = all(pod.ready for pod in pods if pod.pod not in names) and not wrong
    if not marked or not others_safe or fleet.missing or fleet.leaving:
        return Removal(fleet.desired - dropped, tuple(marks), f", {len(chosen)} of {fewer} too many may go")
    return Removal(fleet.desired - len(marked), tuple(marks), f", take away {', '.join(marked)}")
