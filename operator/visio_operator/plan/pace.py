"""How fast decisions follow what is observed."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """Times in seconds. The defaults suit real clouds; a laboratory may shorten them."""

    hold: float = 300.0
    """How long less has to be enough before anything shrinks (facts/scaling.md D13: at least five minutes)."""
    gpu_hold: float = 150.0
    """The same for GPU servers and nodes, whose planners look two lead times ahead before they want less."""
    recheck: float = 15.0
    """Time between two looks while GPU parts are wanted or something is under way."""
    idle: float = 60.0
    """Time between two looks otherwise; events wake the loop earlier."""
    stale_after: float = 60.0
    """Age from which a signal counts as missing."""
    settle: float = 30.0
    """Time after a server was cordoned before its emptiness is believed: proxies may still hold an old address list."""
    removal: float = 180.0
    """How long a node that existed when its pool was lowered is mistrusted, if the pool does not reach its size.
    Shorter than the 300 s for which a caption stream waits for a slot (facts/visio.md 4)."""
    speed: float = 1.0
    """How many seconds of the planners' clock pass in one: a laboratory plays a morning in minutes."""
    ahead: float = 0.0
    """Seconds that the planners' clock is ahead of unix time times `speed`."""

    def clock(self, now: float) -> float:
        """The planners' clock at unix time `now`."""
        return now * self.speed + self.ahead

    def unix(self, clock: float) -> float:
        """Unix time at a reading of the planners' clock."""
        return (clock - self.ahead) / self.speed
