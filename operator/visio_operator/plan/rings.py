"""Rings: a later one follows an earlier one, deployment by deployment, and says so when it would wait for ever.

The order of rings is fixed (pilot, early, broad), so nobody can write a cycle. What can keep a deployment waiting for
ever is one ahead of it that will never come: it asks for an older version, it is paused, it was stopped, or its own
upgrade is held by something that only a person can solve. Those are told apart from waiting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from typing import Literal

from visio_operator.api.releases import order

from .observed import Observed, RingPeer
from .reasons import Reason
from .words import at

Ring = Literal["pilot", "early", "broad"]
RINGS: tuple[Ring, ...] = ("pilot", "early", "broad")
PASSING = frozenset(
    {
        Reason.APPROVAL_NEEDED, Reason.CALLS_RUNNING, Reason.OUTSIDE_WINDOW, Reason.SOAKING, Reason.WAITING_FOR_RING,
    }
)  # fmt: skip
"""What holds an upgrade for a time, or until a person has looked at what is going well; all else waits for a remedy."""


@dataclass(frozen=True)
class Blocker:
    """A deployment ahead that has to run a version first."""

    peer: str
    """Ring, namespace and name."""
    problem: str
    stalled: bool = False
    """It will not come by itself."""
    until: float = inf
    """When it lets others pass, in unix seconds, if nothing changes; infinite where nobody can say."""

    def __str__(self) -> str:
        """One clause."""
        return f"{self.peer} {self.problem}"


def rings_before(ring: Ring) -> tuple[Ring, ...]:
    """The rings that a deployment of this one waits for."""
    return RINGS[: RINGS.index(ring)]


def blockers(ring: Ring, version: str, observed: Observed, now: float) -> tuple[Blocker, ...]:
    """Which deployments keep a rung to `version` from starting, those that will never come first.

    Each deployment of an earlier ring has to run `version` or a newer one, to be ready, and to have run it for its own
    `soak`.
    """
    before = rings_before(ring)
    peers = [peer for peer in observed.ring_peers if peer.ring in before]
    found = [blocker for peer in peers for blocker in _of(peer, version, now)]
    return tuple(sorted(found, key=lambda one: (not one.stalled, one.peer)))


def _of(peer: RingPeer, version: str, now: float) -> Iterator[Blocker]:
    name = str(peer)
    if not peer.running or order(peer.running) < order(version):
        yield _behind(peer, version)
        return
    if not peer.ready:
        yield Blocker(name, f"runs {peer.running} and is not Ready")
        return
    # One that has gone on to another minor had its soak at `version` before that rung.
    if order(peer.running)[:2] > order(version)[:2] or not peer.soak:
        return
    if not peer.since:
        yield Blocker(name, f"runs {peer.running} and does not say since when")
    elif now - peer.since < peer.soak:
        until = peer.since + peer.soak
        yield Blocker(name, f"runs {peer.running} and soaks until {at(until)}", until=until)


def _behind(peer: RingPeer, version: str) -> Blocker:
    name, runs = str(peer), f"runs {peer.running or 'no version yet'}"
    if order(peer.wanted) < order(version):
        return Blocker(name, f"asks for {peer.wanted} only", stalled=True)
    if peer.stopped:
        return Blocker(name, f"{runs} and has {peer.stopped}", stalled=True)
    if peer.held:
        return Blocker(name, f"{runs} and is held: {peer.held}", stalled=peer.stuck)
    return Blocker(name, runs)
