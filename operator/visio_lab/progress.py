"""What the laboratory shows while it builds and starts: a live table on a terminal, plain lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table

PLAIN_INTERVAL_S = 15.0
"""Time between two plain lines about the same step while its state does not change."""


@dataclass(frozen=True)
class Step:
    """One row of the display.

    `state` is the field's own word (waiting, downloading modules, compiling, linking, done). `fraction` is 0 to 1, or
    None where nothing can be counted; `remaining_s` is an estimate for everything still to come, or None; `detail` says
    what was counted.
    """

    name: str
    state: str
    elapsed_s: float = 0.0
    fraction: float | None = None
    remaining_s: float | None = None
    detail: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing more will be said about this step."""
        return self.state == "done"


class Progress(Protocol):
    """Takes the newest state of each step, as often as its sender likes."""

    def update(self, step: Step) -> None:
        """Replace what was known of the step with the same name."""


class SilentProgress:
    """For tests and for programs with a display of their own."""

    def update(self, step: Step) -> None:
        """Say nothing."""


class PlainProgress:
    """Lines for logs: one when a step changes its state, then one every PLAIN_INTERVAL_S."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said: dict[str, tuple[str, float]] = {}

    def update(self, step: Step) -> None:
        """Write a line if the state is new or the last line is old."""
        state, when = self._said.get(step.name, ("", 0.0))
        now = time.monotonic()
        if step.state == state and (step.done or now - when < PLAIN_INTERVAL_S):
            return
        self._said[step.name] = (step.state, now)
        self._stream.write(describe(step) + "\n")
        self._stream.flush()


class LiveProgress:
    """A table that redraws itself in place."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self._steps: dict[str, Step] = {}

    def update(self, step: Step) -> None:
        """Redraw the table with the new row."""
        self._steps[step.name] = step
        table = Table.grid(padding=(0, 2))
        for each in self._steps.values():
            mark = "[green]✓[/]" if each.done else "[cyan]•[/]"
            percent = "" if each.fraction is None or each.done else f"{each.fraction:.0%}"
            table.add_row(mark, each.name, each.state, each.detail, percent, clock(each.elapsed_s), _remaining(each))
        self._live.update(table)


@contextmanager
def open_progress(stream: TextIO | None = None) -> Iterator[Progress]:
    """A display on `stream` (standard error if None) that fits what the stream is: terminal or file."""
    stream = sys.stderr if stream is None else stream
    if not stream.isatty():
        yield PlainProgress(stream)
        return
    with Live(console=Console(file=stream), refresh_per_second=4) as live:
        yield LiveProgress(live)


def describe(step: Step) -> str:
    """The step as one line of text."""
    parts = [f"{step.name}: {step.state}"]
    if step.detail:
        parts.append(step.detail)
    if step.fraction is not None and not step.done:
        parts.append(f"{step.fraction:.0%}")
    if step.elapsed_s >= 1:
        parts.append(f"after {clock(step.elapsed_s)}")
    if remaining := _remaining(step):
        parts.append(remaining)
    return ", ".join(parts)


def clock(seconds: float) -> str:
    """Seconds as m:ss."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02d}"


def _remaining(step: Step) -> str:
    return "" if step.remaining_s is None or step.done else f"about {clock(step.remaining_s)} left in all"
