"""Gates: what has to be so before a rung of an upgrade starts. None of them stops one that has started.

The order is that of how much a person has to do about it: emergency stop and pause, approval, what other deployments
have to do first, and then only time: the soak, the next window, a quiet hour.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from visio_operator.api.fields import seconds
from visio_operator.api.spec import VisioDeploymentSpec

from .observed import Observed
from .pace import Pace
from .plan import UpgradePlan
from .propose import command
from .reasons import Reason
from .rings import blockers
from .rung_length import length_memory
from .windows import left, next_start, too_short
from .words import at, in_hours

CALM_SINCE = "upgrade.calmSince"
"""Since when as few people are in calls as `spec.upgrade.quiet` asks for."""
_NAMED = 4
"""Deployments that a message names before it only counts them."""


@dataclass(frozen=True)
class GateInput:
    """The rung that would start."""

    running: str
    """The version that all parts run."""
    version: str
    """The version that the rung leads to."""
    expected_seconds: float
    """How long it is expected to take, drains left out (`rung_length`)."""
    started: bool
    """Its first object exists; then only an emergency stop holds it."""
    approval_digest: str = ""
    """Digest of the plan that has to be approved first (`UpgradeApproval.digest_for`); empty when none has to."""
    finished_at: float = 0.0
    """When the rung before it was finished, in unix seconds; 0 when there was none."""
    approval_ignored: str = ""
    """An approval on the object that is of another plan (`UpgradeApproval.ignored`)."""


@dataclass(frozen=True)
class Gate:
    """Whether a rung may start now."""

    open: bool
    reason: Reason = Reason.NOT_HELD
    message: str = ""
    """What it waits for, and the next step where somebody has to do something; empty when it is open."""
    next_start: float | None = None
    """The earliest time at which it can start, in unix seconds, if whatever needs a person were done now; None while
    that is at once, or when it cannot be told. It does not move with the clock, so that status need not either."""
    blockers: tuple[str, ...] = ()
    """Deployments of earlier rings that have to go first, each with what it lacks."""


def gate(spec: VisioDeploymentSpec, observed: Observed, rung: GateInput, now: float) -> Gate:
    """Whether a rung may start now, and if not, why and when next. The first of what keeps it back is named.

    Args:
        spec: what the user asks for; `spec.upgrade` and `spec.emergencyStop` are read.
        observed: the snapshot, with the deployments of earlier rings, media servers and what earlier passes remember.
        rung: what would start.
        now: unix time in seconds.
    """
    if spec.emergency_stop:
        message = "spec.emergencyStop is true: nothing is written but status; set it to false to go on"
        return Gate(False, Reason.EMERGENCY_STOP, message)
    if rung.started:
        return Gate(True)
    upgrade, to = spec.upgrade, f"the rung to {rung.version}"
    earliest = _earliest(spec, observed, rung, now)
    if upgrade.paused:
        return Gate(False, Reason.PAUSED, f"{to} waits: spec.upgrade.paused is true; set it to false to go on")
    if rung.approval_digest:
        return Gate(False, Reason.APPROVAL_NEEDED, _approval(observed, rung), earliest)
    if held := _rings(spec, observed, rung, now, earliest):
        return held
    if rung.finished_at and now - rung.finished_at < seconds(upgrade.soak):
        until = rung.finished_at + seconds(upgrade.soak)
        message = f"{to} waits: {rung.running} soaks until {at(until)} (spec.upgrade.soak {upgrade.soak})"
        return Gate(False, Reason.SOAKING, message, earliest)
    if impossible := too_short(upgrade.windows, rung.expected_seconds, now):
        return Gate(False, Reason.WINDOW_TOO_SHORT, impossible)
    opens = next_start(upgrade.windows, rung.expected_seconds, now)
    if opens is not None and opens > now:
        return Gate(False, Reason.OUTSIDE_WINDOW, _outside(spec, rung, opens, now), earliest)
    if calls := _calls(spec, observed, now):
        return Gate(False, Reason.CALLS_RUNNING, f"{to} waits: {calls}", earliest)
    return Gate(True)


def calm_memory(spec: VisioDeploymentSpec, observed: Observed, now: float) -> dict[str, float]:
    """What the next pass has to know of how calm it is. Nothing unless `spec.upgrade.quiet` asks for it."""
    quiet = spec.upgrade.quiet
    if quiet is None:
        return {}
    people = in_calls(observed, now)
    if people is None or people > quiet.participants:
        return {}
    return {CALM_SINCE: observed.memory.get(CALM_SINCE, now)}


def gate_memory(
    spec: VisioDeploymentSpec, observed: Observed, upgrade: UpgradePlan | None, now: float
) -> dict[str, float]:
    """What the next pass has to know at the gate: since when it is calm, and how long steps take."""
    waits = upgrade is not None and bool(upgrade.path) and not upgrade.rung
    step = upgrade.step if upgrade is not None and upgrade.rung else ""
    held = upgrade is not None and upgrade.held is not None
    calm = calm_memory(spec, observed, now) if waits else {}
    return {**calm, **length_memory(observed.memory, step, now, held=held)}


def in_calls(observed: Observed, now: float) -> int | None:
    """How many people are in calls; None while one media server cannot be read, the draining ones included."""
    people = 0
    for server in observed.media:
        if server.participants is None or now - server.read_at > Pace().stale_after:
            return None
        people += server.participants
    return people


def _earliest(spec: VisioDeploymentSpec, observed: Observed, rung: GateInput, now: float) -> float | None:
    """When the rung could start if it had its approval and the rings ahead went on as they are."""
    upgrade = spec.upgrade
    ahead = [blocker.until for blocker in blockers(upgrade.ring, rung.version, observed, now)]
    soaked = rung.finished_at + seconds(upgrade.soak) if rung.finished_at else now
    calm = now
    if upgrade.quiet is not None:
        # While people are in calls nobody knows when they leave; it is not before the calm has lasted.
        calm = calm_memory(spec, observed, now).get(CALM_SINCE, now) + seconds(upgrade.quiet.length)
    first = max([now, soaked, calm, *ahead])
    start = None if first == inf else next_start(upgrade.windows, rung.expected_seconds, first)
    moves = start == first and first in (now, now + seconds(upgrade.quiet.length) if upgrade.quiet else now)
    return None if moves else start


def _approval(observed: Observed, rung: GateInput) -> str:
    text = f"the upgrade from {rung.running} waits for approval, since spec.upgrade.mode is Approve"
    if rung.approval_ignored:
        text += f"; the approval of {rung.approval_ignored} is of another plan and is ignored"
    return f"{text}; approve it with `{command(observed, rung.approval_digest)}`"


def _rings(
    spec: VisioDeploymentSpec, observed: Observed, rung: GateInput, now: float, earliest: float | None
) -> Gate | None:
    waits_for = blockers(spec.upgrade.ring, rung.version, observed, now)
    if not waits_for:
        return None
    names = tuple(map(str, waits_for))
    stalled = [one for one in waits_for if one.stalled]
    more = f"; and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    text = f"the rung to {rung.version} waits for earlier rings: {'; '.join(names[:_NAMED])}{more}"
    if not stalled:
        return Gate(False, Reason.WAITING_FOR_RING, text, earliest, names)
    remedy = f"{stalled[0].peer} does not come by itself: let it go on, or set its spec.upgrade.ring to broad"
    return Gate(False, Reason.RING_STALLED, f"{text}; {remedy}", None, names)


def _outside(spec: VisioDeploymentSpec, rung: GateInput, opens: float, now: float) -> str:
    text = f"the rung to {rung.version} waits for the next of spec.upgrade.windows, {at(opens)}"
    rest = left(spec.upgrade.windows, now)
    if rest:
        text += f": {in_hours(rung.expected_seconds)} are expected, and this one closes at {at(now + rest)}"
    return text


def _calls(spec: VisioDeploymentSpec, observed: Observed, now: float) -> str:
    """Why it is not quiet; empty when it is, or when nobody asks."""
    quiet = spec.upgrade.quiet
    if quiet is None:
        return ""
    asked = f"spec.upgrade.quiet asks for at most {quiet.participants} in calls for {quiet.length}"
    people = in_calls(observed, now)
    if people is None:
        return f"{asked}, and a media server cannot be read"
    if people > quiet.participants:
        # Not how many: status would be written whenever somebody comes or goes.
        return f"{asked}, and more are"
    since = observed.memory.get(CALM_SINCE, now)
    if now - since < seconds(quiet.length):
        return f"{asked}, and it is so since {at(since)}"
    return ""
