"""What is seen of pods on their way out, and of the rooms that they wait for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Leaving:
    """One pod that was told to end and still works."""

    pod: str
    part: str
    node: str
    since: float
    """When it was told."""
    deadline: float
    """When it is killed."""
    node_closed: bool = False
    """Its node takes no pods, whoever wants it so."""


@dataclass(frozen=True)
class RoomTimes:
    """When rooms began, as LiveKit says; names of rooms never get here."""

    began: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    """By media server's pod, of those that are on their way out: LiveKit's table in Redis says which server has a
    room."""
    mean_age: float | None = None
    """Seconds, over all rooms of the deployment; None when there is none."""
    read_at: float = 0.0
    error: str = ""
    """Why they could not be read lately; empty when they could."""
