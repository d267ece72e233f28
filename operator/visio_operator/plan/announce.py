"""Which announcements are due: before media servers are replaced by an upgrade, and while one of them drains.

Each is made once in each channel. What was made is kept in `Plan.memory`, so a restart repeats nothing; a crash between
a post and the status after it may repeat one, which is why every announcement carries an id. Nothing waits for a
channel that fails: an upgrade waits for the time that was promised, counted from when the announcement was due.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Literal

from visio_operator.api.fields import seconds
from visio_operator.api.spec import VisioDeploymentSpec

from .drains import FORCED, Drain

Channel = Literal["rooms", "webhook"]

DUE = "due."
"""Before an id, in `Plan.memory`: when the announcement was first due."""
TOLD = "told."
"""Before a channel and an id, in `Plan.memory`: when it was made there."""
REMINDERS = (("15m", 900.0), ("5m", 300.0))
"""Phases of a drain, and the seconds that are left then."""
_APART = 60.0
"""A reminder that would follow the start of a drain so soon is left out."""


@dataclass(frozen=True)
class Coming:
    """An upgrade that will replace media servers. Times are unix seconds."""

    release: str
    start: float | None = None
    """When it may start; None once it is under way, or while that is not known."""
    under_way: bool = False
    at_media: bool = False
    """Nothing but the time that was promised keeps it from replacing media servers."""
    over: bool = False
    """They have been replaced, though the upgrade still goes on."""


@dataclass(frozen=True)
class Announcement:
    """One announcement that is due, and where it was not made yet."""

    id: str
    kind: Literal["maintenance", "drain"]
    phase: str
    about: str
    """The release, or the pod."""
    channels: tuple[Channel, ...]
    start: float
    end: float | None
    """When it is over at the latest, or is expected to be; None while that is not known."""
    pods: tuple[str, ...] = ()
    """Media servers whose rooms are told; empty for all of them."""
    seconds_left: float = 0.0
    """Until calls may be interrupted."""
    interrupts: bool = False
    """Whether calls may be interrupted at all."""
    contact: str = ""
    participants: int | None = None
    rooms: int | None = None


@dataclass(frozen=True)
class Announcements:
    """What is due, and what to remember."""

    due: tuple[Announcement, ...] = ()
    memory: Mapping[str, float] = field(default_factory=dict)
    trace: tuple[str, ...] = ()


def announcements(
    spec: VisioDeploymentSpec,
    drains: tuple[Drain, ...],
    coming: Coming | None,
    memory: Mapping[str, float],
    now: float,
) -> Announcements:
    """All that is due now; `memory` is that of the last plan with what was told since."""
    channels = _channels(spec)
    due: list[Announcement] = []
    kept: dict[str, float] = {}
    for one, phases in (*_maintenance(spec, coming, memory, now), *_drains(spec, drains, now)):
        kept |= _remembered(one.kind, one.about, phases, memory)
        open_channels = tuple(channel for channel in channels if told_key(channel, one.id) not in memory)
        if one.phase and channels:
            kept.setdefault(f"{DUE}{one.id}", now)
        if one.phase and open_channels:
            due.append(replace(one, channels=open_channels))
    due.sort(key=lambda one: (one.seconds_left, one.id))
    said = ", ".join(f"{one.kind} {one.phase} by {' and '.join(one.channels)}" for one in due)
    return Announcements(
        due=tuple(due),
        memory=kept,
        trace=(f"announcements due: {said}",) if said else (),
    )


def told_key(channel: Channel, id: str) -> str:  # noqa: A002 - the field's own name
    """The key in memory that says that an announcement was made."""
    return f"{TOLD}{channel}.{id}"


def identity(kind: str, about: str, phase: str) -> str:
    """The id of an announcement: the same for ever, and without a name of anything."""
    return f"{kind}-{phase}-{sha256(about.encode()).hexdigest()[:12]}"


def _channels(spec: VisioDeploymentSpec) -> tuple[Channel, ...]:
    announce = spec.upgrade.announce
    rooms: tuple[Channel, ...] = () if spec.drain.policy == "Wait" else ("rooms",)
    return (*rooms, "webhook") if announce is not None and announce.webhook is not None else rooms


def _contact(spec: VisioDeploymentSpec) -> str:
    announce = spec.upgrade.announce
    return (announce.contact or "") if announce is not None else ""


def _remembered(kind: str, about: str, phases: tuple[str, ...], memory: Mapping[str, float]) -> dict[str, float]:
    """What is known of all phases of one subject; it is forgotten with the subject."""
    ids = [identity(kind, about, phase) for phase in phases]
    keys = [f"{DUE}{one}" for one in ids]
    keys += [told_key(channel, one) for one in ids for channel in ("rooms", "webhook")]
    return {key: memory[key] for key in keys if key in memory}


def _maintenance(
    spec: VisioDeploymentSpec, coming: Coming | None, memory: Mapping[str, float], now: float
) -> Iterator[tuple[Announcement, tuple[str, ...]]]:
    announce = spec.upgrade.announce
    if announce is None or coming is None:
        return
    begins = replace_from(spec, coming.release, memory, now)
    if coming.start is not None:
        begins = max(begins, coming.start)
    one = Announcement(
        id=identity("maintenance", coming.release, phase := _maintenance_phase(coming, begins, announce.before, now)),
        kind="maintenance",
        phase=phase,
        about=coming.release,
        channels=(),
        start=begins,
        end=None,
        seconds_left=max(0.0, begins - now),
        interrupts=spec.drain.policy == "Force",
        contact=_contact(spec),
    )
    yield one, ("before", "start")


def _maintenance_phase(coming: Coming, begins: float, before: str, now: float) -> str:
    if coming.over:
        return ""
    if coming.at_media and now >= begins:
        return "start"
    soon = coming.start is not None and coming.start - now <= seconds(before)
    return "before" if coming.under_way or soon else ""


def _drains(
    spec: VisioDeploymentSpec, drains: tuple[Drain, ...], now: float
) -> Iterator[tuple[Announcement, tuple[str, ...]]]:
    if spec.drain.policy == "Wait":
        return
    phases = ("start", *(name for name, _ in REMINDERS))
    for drain in drains:
        if drain.part not in FORCED or drain.deadline is None:
            continue
        phase = "" if drain.empty else _phase(drain.since, drain.deadline, now)
        one = Announcement(
            id=identity("drain", drain.pod, phase),
            kind="drain",
            phase=phase,
            about=drain.pod,
            channels=(),
            start=drain.since,
            end=drain.deadline,
            pods=(drain.pod,),
            seconds_left=max(0.0, drain.deadline - now),
            interrupts=True,
            contact=_contact(spec),
            participants=drain.participants,
            rooms=drain.rooms,
        )
        yield one, phases


def _phase(since: float, deadline: float, now: float) -> str:
    """The last phase whose time has come; those before it are not made up for."""
    phase = "start"
    for name, left in REMINDERS:
        at = deadline - left
        if at - since >= _APART and now >= at:
            phase = name
    return phase


def replace_from(spec: VisioDeploymentSpec, release: str, memory: Mapping[str, float], now: float) -> float:
    """From when on an upgrade to a release may replace media servers: when the time that was promised is over.

    It counts from when the announcement was due, not from when it was made, so that a channel which fails blocks
    nothing; and from now while it was not due.
    """
    announce = spec.upgrade.announce
    if announce is None or not _channels(spec):
        # Nobody was promised anything.
        return now
    return memory.get(f"{DUE}{identity('maintenance', release, 'before')}", now) + seconds(announce.before)
