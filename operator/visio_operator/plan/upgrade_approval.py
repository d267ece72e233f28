"""Approval of upgrades: in mode Approve no rung starts before somebody has approved the digest of the whole way.

As with pools (`propose`), a digest is good for one approval: it covers the deployment's uid and the number of approvals
seen so far, so that one that was used or came too late never fits a later plan. An approval stands for every rung of
the way that it names, so that a way of five rungs is asked for once; it stands as long as the version that is asked for
and the images of these releases stay what they were.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from visio_operator.api.spec import VisioDeploymentSpec

from .observed import Observed
from .plan import Release
from .propose import DIGEST_LENGTH, legible, number_of

_ABOUT = "upgrade"
ROUND = f"{_ABOUT}.round"
"""How many approvals of upgrades were seen, used or not."""
IGNORED = f"{_ABOUT}.ignored"
"""A number for an approval that fitted no plan, while it stays on the object. That of one that was used is `used`."""
_GRANTED = "upgrade.approved."


@dataclass(frozen=True)
class UpgradeApproval:
    """Which rungs may start as far as approval goes."""

    digest: str = ""
    """Of the plan that waits for approval; empty when none does."""
    granted: frozenset[str] = frozenset()
    """Versions whose rungs are approved."""
    taken: str = ""
    """The digest whose approval was found in this pass."""
    ignored: str = ""
    """An approval on the object that is of another plan."""
    memory: Mapping[str, float] = field(default_factory=dict)

    def digest_for(self, version: str) -> str:
        """What `GateInput.approval_digest` of a rung to `version` has to be."""
        return "" if version in self.granted else self.digest


def approve_upgrade(spec: VisioDeploymentSpec, observed: Observed, path: Sequence[Release]) -> UpgradeApproval:
    """Judge the approval on the object.

    Args:
        spec: `spec.upgrade.mode` says whether approval is needed.
        observed: with the approval that a user gave, and what earlier passes remember.
        path: the releases still to climb, in their order; empty outside an upgrade.
    """
    needed = spec.upgrade.mode == "Approve" and bool(path)
    wanted = {release.version: _number(spec.version, release) for release in path}
    memory = observed.memory
    standing = {key: value for key, value in _standing(wanted).items() if memory.get(key) == value} if needed else {}
    waiting = needed and len(standing) < len(path)
    count = int(memory.get(ROUND, 0))
    digest = digest_of_upgrade(observed.uid, spec.version, path, count)
    fits = waiting and observed.approved_upgrade == digest
    notes = approval_notes(memory, observed.approved_upgrade, _ABOUT, fits=fits)
    if fits:
        standing, waiting = _standing(wanted), False
    late = IGNORED in notes and needed
    return UpgradeApproval(
        digest=digest_of_upgrade(observed.uid, spec.version, path, int(notes.get(ROUND, 0))) if waiting else "",
        granted=frozenset(version for version in wanted if not needed or _GRANTED + version in standing),
        taken=digest if fits else "",
        ignored=legible(observed.approved_upgrade) if late else "",
        memory={**notes, **standing},
    )


def digest_of_upgrade(uid: str, wanted: str, path: Sequence[Release], count: int) -> str:
    """A short name of an upgrade: of the releases on the way and all their images, not of times or words."""
    steps = [f"{release.version}:{_images(release)}" for release in path]
    return sha256("\n".join([uid, str(count), wanted, *steps]).encode()).hexdigest()[:DIGEST_LENGTH]


def _images(release: Release) -> str:
    return sha256("\n".join(f"{key}={image}" for key, image in sorted(release.images.items())).encode()).hexdigest()


def _number(wanted: str, release: Release) -> float:
    return number_of(f"{wanted}:{release.version}:{_images(release)}")


def _standing(wanted: Mapping[str, float]) -> dict[str, float]:
    """An approval that is not carried out to its end yet, by the rungs that it covers."""
    return {_GRANTED + version: number for version, number in wanted.items()}


def approval_notes(memory: Mapping[str, float], approval: str, about: str, *, fits: bool) -> dict[str, float]:
    """What to remember of the approval on the object, under keys that begin with what it is about.

    One that fits nothing counts too: it must not fit later.
    """
    seen, used, ignored = (f"{about}.{key}" for key in ("round", "used", "ignored"))
    count = int(memory.get(seen, 0))
    notes = {seen: float(count)} if count else {}
    if not approval:
        return notes
    number = number_of(approval)
    if fits and memory.get(used) != number:
        return {seen: count + 1.0, used: number}
    for key in (used, ignored):
        if memory.get(key) == number:
            return {**notes, key: number}
    return {seen: count + 1.0, ignored: number}
