"""What saves the database before a rung, and what restores it, as far as it was looked up in the cluster."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class BackupSource:
    """What `spec.upgrade.backup` names."""

    found: bool
    """The CronJob is there; or the cluster knows Backups."""
    job: Mapping[str, Any] = field(default_factory=dict)
    """The spec of its Jobs."""


@dataclass(frozen=True)
class RestoreSource:
    """What the backup of a rung would be restored with."""

    found: bool
    """The CronJob is there; or the Cluster that was saved, whose copy recovers."""
    spec: Mapping[str, Any] = field(default_factory=dict)
    """The spec of the CronJob's Jobs, or that of the Cluster."""
    made: bool = False
    """The Cluster that recovers is there."""
    ready: bool = False
    """And it is Ready."""
    said: str = ""
    """What CloudNativePG says of it."""
