"""What happens in a simulated time: when streams join and for how long they stay."""

from __future__ import annotations

from dataclasses import dataclass

from visio_operator.plan.servers import Meeting

STEP = 30
"""Seconds of one step of the simulation, and between two decisions."""


@dataclass(frozen=True)
class Streams:
    """Streams by the step in which they join, from unix time `start` on."""

    start: float
    joins: list[list[int]]
    """For each step the lengths in steps of the streams that join in it; each at least 1."""
    calendar: tuple[Meeting, ...] = ()
    drawn: bool = False
    """Whether the lengths were drawn, since only arrivals are known."""

    @property
    def steps(self) -> int:
        """Length in steps."""
        return len(self.joins)

    def offered(self) -> list[int]:
        """The streams that would be there in each step if none ever waited."""
        change = [0] * (self.steps + 1)
        for step, lengths in enumerate(self.joins):
            change[step] += len(lengths)
            for length in lengths:
                change[min(self.steps, step + length)] -= 1
        there, result = 0, []
        for each in change[: self.steps]:
            there += each
            result.append(there)
        return result
