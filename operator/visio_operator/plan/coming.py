"""Whether an upgrade is about to replace media servers, in which meetings are."""

from __future__ import annotations

from visio_operator.api.releases import ReleaseEntry, find_release
from visio_operator.api.spec import VisioDeploymentSpec

from .announce import Coming
from .images import as_release
from .plan import Release, UpgradePlan
from .steps import STEPS

MEDIA = "media"
_CARRIERS = ("livekit", "coturn")
"""Images of what carries calls."""


def replaces_media(current: Release, target: Release) -> bool:
    """Whether calls have to leave their server between two releases; many rungs leave LiveKit as it is."""
    return any(current.images.get(key) != target.images.get(key) for key in _CARRIERS)


def coming(
    spec: VisioDeploymentSpec, upgrade: UpgradePlan | None, release: Release, ladder: tuple[ReleaseEntry, ...]
) -> Coming | None:
    """The next rung as far as it concerns meetings; None when it does not, or when there is none."""
    if upgrade is None or upgrade.taken_back or not (upgrade.rung or upgrade.path):
        return None
    version = upgrade.rung or upgrade.path[0]
    entry = find_release(ladder, version)
    if entry is None or not replaces_media(release, as_release(entry, spec.sovereignty.registries)):
        return None
    step = STEPS.index(upgrade.step) if upgrade.step in STEPS else -1
    media = STEPS.index(MEDIA)
    return Coming(
        release=version,
        start=upgrade.next_start,
        under_way=bool(upgrade.rung),
        at_media=step == media,
        over=step > media,
    )
