"""The way from one release to another: which rungs have to be climbed, or why there is no way.

Upstream's rule: every minor in order, each with its migrations; patches may be skipped; no way back is documented
(facts/visio.md 9, Visio's UPGRADE.md).
"""

from __future__ import annotations

from typing import TypeAlias

from visio_operator.api.releases import ReleaseEntry, find_release, order

from .policy import Refusal, unknown_version
from .reasons import Reason

Ladder: TypeAlias = tuple[ReleaseEntry, ...]
Minor: TypeAlias = tuple[int, int]


def climb(ladder: Ladder, running: str, wanted: str) -> tuple[ReleaseEntry, ...] | Refusal:
    """The rungs above `running` up to and with `wanted`, lowest first; empty when it runs already.

    Of each minor in between, the highest patch that the ladder knows. After the last known minor of a major version
    comes the first minor of the next one. A refusal names the field, the problem and the remedy: a downgrade, a
    minor that the ladder lacks, a version that it does not know. ValueError when a text is no version.
    """
    if order(wanted) < order(running):
        problem = f"{running} runs, and going back to {wanted} is not possible: no downgrade of the database is known"
        return Refusal(Reason.VERSION_STEP, "spec.version", problem, f"set it to {running} or newer")
    target = find_release(ladder, wanted)
    if target is None:
        return unknown_version(wanted, ladder)
    if find_release(ladder, running) is None:
        problem = f"the running version {running} is not in the release ladder"
        return Refusal(Reason.UNKNOWN_VERSION, "spec.version", problem, f"add a VisioRelease named for {running}")
    if running == wanted:
        return ()
    steps = [*_between(ladder, running, wanted), target]
    below = minor(running)
    for entry in steps:
        if minor(entry.version) != below and not _follows(below, minor(entry.version)):
            return _gap(running, wanted, below)
        below = minor(entry.version)
    return tuple(steps)


def minor(version: str) -> Minor:
    """Major and minor number of a version. ValueError when it is none."""
    numbers = order(version)
    return numbers[0], numbers[1]


def _between(ladder: Ladder, running: str, wanted: str) -> list[ReleaseEntry]:
    """The highest patch of each known minor between two versions, both minors left out."""
    highest: dict[Minor, ReleaseEntry] = {}
    for entry in sorted(ladder, key=lambda entry: order(entry.version)):
        if minor(running) < minor(entry.version) < minor(wanted):
            highest[minor(entry.version)] = entry
    return list(highest.values())


def _follows(below: Minor, above: Minor) -> bool:
    return above in ((below[0], below[1] + 1), (below[0] + 1, 0))


def _gap(running: str, wanted: str, below: Minor) -> Refusal:
    missing = f"{below[0]}.{below[1] + 1}"
    problem = (
        f"{running} runs, and on the way to {wanted} the release ladder lacks {missing}.x; no minor may be skipped"
    )
    return Refusal(Reason.VERSION_STEP, "spec.version", problem, f"add a VisioRelease for a release of {missing}")
