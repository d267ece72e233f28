"""The lab's state file: written by the supervisor inside, read by `up`, `status` and `down` on the host."""

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

READY = "ready"
FAILED = "failed"


@dataclass(frozen=True)
class LabState:
    """What a lab is doing: `phase` in words, `ready`, or `failed` with its reason; `since` in seconds of the epoch."""

    phase: str
    failure: str | None = None
    since: float = field(default_factory=time.time)

    @property
    def ready(self) -> bool:
        """Whether everything answers."""
        return self.phase == READY


def write_state(directory: Path, state: LabState) -> None:
    """Replace the state file in one step, so that a reader never sees half of it."""
    partial = directory / "state.json.partial"
    partial.write_text(json.dumps(asdict(state)))
    partial.replace(directory / "state.json")


def read_state(directory: Path) -> LabState:
    """The last state written, or `starting` when there is none yet."""
    try:
        return LabState(**json.loads((directory / "state.json").read_text()))
    except FileNotFoundError:
        return LabState("starting")
