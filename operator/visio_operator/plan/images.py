"""Image references: which registry they come from, and whether that is allowed."""

from __future__ import annotations

from collections.abc import Sequence

from visio_operator.api.releases import ReleaseEntry, mirror

from .plan import Release

_PUBLIC = "docker.io/"
"""Where upstream publishes; the ladder writes it out."""


def is_inside(reference: str, registries: Sequence[str]) -> bool:
    """Whether an image comes from one of the registries or prefixes; none listed means any."""
    return not registries or any(reference.startswith(prefix.rstrip("/") + "/") for prefix in registries)


def relocate(reference: str, registries: Sequence[str]) -> str:
    """Take an image of the public registry from the first registry of the list instead, under the same path.

    An image that lies elsewhere was put into the ladder on purpose and stays there; `is_inside` judges it.
    """
    if not registries or is_inside(reference, registries) or not reference.startswith(_PUBLIC):
        return reference
    return mirror(reference, registries[0])


def as_release(entry: ReleaseEntry, registries: Sequence[str]) -> Release:
    """A rung of the ladder with the image references that pods shall really use."""
    images = {key: relocate(reference, registries) for key, reference in entry.images.items()}
    return Release(version=entry.version, images=images, settings=dict(entry.settings))


def short_name(reference: str) -> str:
    """The last component of a reference with its tag: what stays the same when a registry is mirrored."""
    return reference.rsplit("/", 1)[-1]
