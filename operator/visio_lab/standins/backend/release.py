"""Which release of Visio the stand-in plays: that of the image's tag, in what depends on it."""

import re
from collections.abc import Mapping
from typing import TypeAlias

Minor: TypeAlias = tuple[int, int]

NEWEST: Minor = (9999, 0)
"""What an image without a version plays: everything that the stand-in knows."""
_TAG = re.compile(r":v?([0-9]+)\.([0-9]+)\.[0-9]+(@|$)")

COMMANDS_SINCE: Mapping[str, Minor] = {
    "merge_duplicate_users": (1, 18),
    "clean_pending_files": (1, 22),
    "purge_deleted_files": (1, 22),
}
"""Management commands that older releases do not have (src/backend/core/management of Visio)."""
MIGRATIONS_SINCE: Mapping[int, Minor] = {19: (1, 18), 21: (1, 23), 22: (1, 25), 23: (1, 33)}
"""From which migration on a release is needed; the lowest ones are those of 1.14. 0023 is known from release notes."""


def played(environment: Mapping[str, str]) -> Minor:
    """The minor release, from the image that the lab names in LAB_IMAGE."""
    found = _TAG.search(environment.get("LAB_IMAGE", ""))
    return (int(found[1]), int(found[2])) if found else NEWEST


def has_command(release: Minor, name: str) -> bool:
    """Whether the release has a management command."""
    return release >= COMMANDS_SINCE.get(name, (0, 0))


def has_migration(release: Minor, name: str) -> bool:
    """Whether the release brings or has a migration, such as `0019_user_unique_email_when_sub_is_null`."""
    number = int(name[:4])
    return all(release >= since for first, since in MIGRATIONS_SINCE.items() if number >= first)
