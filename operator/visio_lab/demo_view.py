"""What the demo shows: one picture of the deployment, redrawn in place on a terminal, as lines of change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from rich.columns import Columns
from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from visio_lab.operator_process import OperatorProcess

BAR = 24
STATE_STYLE = {"Ready": "green", "Progressing": "yellow", "Waiting": "dim", "Failed": "red"}


@dataclass
class Scene:
    """Everything that one picture needs; the story changes it, the view draws it."""

    chapter: str = ""
    started: float = field(default_factory=time.monotonic)
    status: Mapping[str, Any] = field(default_factory=dict)
    streams: Mapping[str, int] = field(default_factory=dict)
    """Counters of the caption streams: open, waiting, done, cut."""
    notes: list[str] = field(default_factory=list)
    operator: OperatorProcess | None = None
    """What the story is about; it must not end before the story does."""


class View(Protocol):
    """Shows scenes."""

    def show(self, scene: Scene) -> None:
        """Show the scene as it is now."""

    def say(self, line: str) -> None:
        """Print a line that stays."""


@contextmanager
def open_view(stream: TextIO) -> Iterator[View]:
    """A view that fits the stream: a live picture on a terminal, lines in a file."""
    console = Console(file=stream)
    if not console.is_terminal:
        yield _Lines(console)
        return
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        yield _Picture(live)


class _Picture:
    def __init__(self, live: Live) -> None:
        self._live = live

    def show(self, scene: Scene) -> None:
        self._live.update(_draw(scene))

    def say(self, line: str) -> None:
        self._live.console.print(line)


class _Lines:
    """Says each change once: a part that became ready, nodes, slots in steps."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: dict[str, str] = {}

    def show(self, scene: Scene) -> None:
        status = scene.status
        for part in status.get("parts", []):
            self._once(part["name"], f"{part['state']}, {_replicas(part)}", scene)
        for pool in status.get("pools", []):
            state = f"{pool.get('gpuReady', 0)} GPU nodes ready, {pool.get('desired', 0)} wanted"
            self._once(f"pool {pool['name']}", state, scene)
        for condition in status.get("conditions", []):
            if condition["type"] == "Ready":
                self._once("Ready", f"{condition['status']} ({condition['reason']})", scene)

    def _once(self, subject: str, state: str, scene: Scene) -> None:
        if self._said.get(subject) != state:
            self._said[subject] = state
            self.say(f"{time.monotonic() - scene.started:6.1f} s  {subject}: {state}")

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, soft_wrap=True)


def _replicas(part: Mapping[str, Any]) -> str:
    desired = part.get("desired", 0)
    return f"{part.get('ready', 0)} of {desired}" if desired else "none needed"


def _draw(scene: Scene) -> Group:
    elapsed = time.monotonic() - scene.started
    heading = Text.assemble((f"{scene.chapter}  ", "bold"), (f"{elapsed:.0f} s", "dim"))
    blocks: list[Any] = [heading]
    if scene.status.get("parts"):
        blocks.append(Columns([_parts(scene.status), _capacity(scene)], padding=(0, 2)))
    blocks.extend(Text(f"  {note}", style="dim") for note in scene.notes[-4:])
    return Group(*blocks)


def _parts(status: Mapping[str, Any]) -> Panel:
    table = Table.grid(padding=(0, 2))
    for part in status.get("parts", []):
        style = STATE_STYLE.get(part["state"], "white")
        count = _replicas(part)
        note = part.get("message", "") if part["state"] in ("Waiting", "Failed") else part.get("version", "")
        table.add_row(Text(part["name"]), Text(part["state"], style=style), count, Text(note[:44], style="dim"))
    return Panel(table, title="parts", title_align="left", border_style="dim")


def _capacity(scene: Scene) -> Panel:
    table = Table.grid(padding=(0, 1))
    for pool in scene.status.get("pools", []):
        ready, desired = pool.get("gpuReady", 0), pool.get("desired", 0)
        picture = "■" * ready + "□" * max(0, desired - ready)
        table.add_row(
            pool["name"], Text(picture or "none", style="cyan"), Text(pool.get("error", "")[:40], style="red")
        )
    captions = scene.status.get("captions")
    if captions:
        used, total = captions.get("used", 0), captions.get("total", 0)
        table.add_row("caption slots", _bar(used, total), f"{used}/{total}")
    transcription = scene.status.get("transcription")
    if transcription:
        waiting = transcription.get("waiting")
        queue = "?" if waiting is None else str(waiting)
        table.add_row("transcription", f"{queue} waiting", f"{transcription.get('busy', 0)} busy")
    for name, count in scene.streams.items():
        table.add_row(f"streams {name}", str(count), "")
    return Panel(table, title="load and GPU nodes", title_align="left", border_style="dim")


def _bar(used: int, total: int) -> Text:
    filled = round(BAR * used / total) if total else 0
    return Text.assemble(("█" * filled, "green"), ("░" * (BAR - filled), "dim"))
