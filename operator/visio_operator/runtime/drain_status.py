"""Drains and announcements in status, and drains in the operator's metrics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from visio_operator.api.drains import MOST_ANNOUNCEMENTS, MOST_DRAINS
from visio_operator.api.status import MESSAGE_LENGTH
from visio_operator.plan.drains import Drain

from . import metrics
from .projections import instant

STEP = 300.0
"""Seconds to which estimates are rounded up, so that they do not change status with every pass."""


def drain_status(drains: tuple[Drain, ...]) -> list[dict[str, Any]]:
    """The entries of `status.drains`."""
    return [_entry(one) for one in drains[:MOST_DRAINS]]


def announcement_status(previous: Mapping[str, Any], announced: Mapping[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of `status.announcements`: those of this process over those that were there, the newest first."""
    merged = {**{entry["id"]: entry for entry in previous.get("announcements") or ()}, **announced}
    newest = sorted(merged.values(), key=lambda entry: (entry["at"], entry["id"]), reverse=True)
    return newest[:MOST_ANNOUNCEMENTS]


def publish_drains(deployment: str, drains: tuple[Drain, ...]) -> None:
    """Let the operator's metrics tell what drains."""
    metrics.set_drains(deployment, {part: _figures(part, drains) for part in sorted({one.part for one in drains})})


def _figures(part: str, drains: tuple[Drain, ...]) -> metrics.DrainFigures:
    mine = [one for one in drains if one.part == part]
    return metrics.DrainFigures(
        pods=len(mine),
        rooms=sum(one.rooms or 0 for one in mine),
        participants=sum(one.participants or 0 for one in mine),
        deadline=min((one.deadline for one in mine if one.deadline is not None), default=None),
    )


def _entry(one: Drain) -> dict[str, Any]:
    expected = None if one.expected_end is None else math.ceil(one.expected_end / STEP) * STEP
    if expected is not None and one.deadline is not None:
        expected = min(expected, one.deadline)
    times = {"oldest": one.oldest, "expectedEnd": expected, "deadline": one.deadline}
    counts = {"rooms": one.rooms, "participants": one.participants}
    return {
        "pod": one.pod,
        "part": one.part,
        "node": one.node,
        **{name: count for name, count in counts.items() if count is not None},
        "since": instant(one.since),
        **{name: instant(at) for name, at in times.items() if at is not None},
        "policy": one.policy,
        "message": one.message[:MESSAGE_LENGTH],
    }
