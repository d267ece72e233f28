"""How `visio-operator diff` says what it found, as text and as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from visio_operator.plan.impact import Calls, Change, Impact
from visio_operator.workloads.adoption import Waiting

_SIGNS = {"create": "+", "change": "~", "replace": "!", "delete": "-"}
_COLOURS = {"create": "32", "change": "33", "replace": "33", "delete": "31"}
_DONE = {"create": "created", "change": "changed", "replace": "replaced", "delete": "deleted"}


@dataclass(frozen=True)
class RungDifference:
    """What one rung of an upgrade changes."""

    version: str
    impact: Impact
    problems: tuple[str, ...] = ()
    """What keeps the deployment from that release."""


@dataclass(frozen=True)
class Difference:
    """What applying a file would change of one deployment."""

    name: str
    exists: bool
    running: str
    """The release that runs; empty when none does."""
    wanted: str
    impact: Impact
    """What is changed at once, at the release that runs."""
    rungs: tuple[RungDifference, ...]
    digest: str
    """Names the upgrade; empty without one."""
    waiting: Waiting
    problems: tuple[str, ...]
    other_version: str = ""
    """The version of the operator that rendered what is live, where it is not that of this command."""


def as_text(found: Difference, *, every_rung: bool, colours: bool) -> Iterator[str]:
    """The lines for a terminal."""
    runs = f"{found.running} runs" if found.running else "nothing runs yet"
    asked = f", {found.wanted} is asked for" if found.running != found.wanted else ""
    yield f"{found.name}: {runs}{asked}"
    if found.other_version:
        yield f"  operator {found.other_version} rendered what runs; some differences may be those of this version"
    yield from _changes(found.impact, colours)
    yield from _totals("now" if found.rungs else "in all", found.impact)
    if found.waiting:
        pods = sum(found.waiting.pods.values())
        yield (
            f"  not now: {len(found.waiting.objects)} objects that version {found.waiting.version} of the operator, "
            f"which is that of this command, renders differently ({pods} pods would restart)"
        )
    for number, rung in enumerate(found.rungs):
        if number == 0 or every_rung:
            yield f"upgrade to {rung.version}"
            yield from _changes(rung.impact, colours)
            yield from _totals(rung.version, rung.impact)
        else:
            yield f"upgrade to {rung.version}: {_counted(rung.impact)}; about {_minutes(rung.impact.seconds)}"
        yield from (f"  not possible: {problem}" for problem in rung.problems)
    if found.digest:
        yield f"upgrade {found.digest}: {len(found.rungs)} rungs, {_together(found.rungs)}"


def _changes(impact: Impact, colours: bool) -> Iterator[str]:
    for change in impact.changes:
        sign = f"{_SIGNS[change.action]} {change.kind} {change.name}"
        sign = f"\x1b[{_COLOURS[change.action]}m{sign}\x1b[0m" if colours else sign
        pods = impact.restarts.get(change.part, 0)
        restart = f"  ({pods} {'pod restarts' if pods == 1 else 'pods restart'})" if change.restarts else ""
        fields = [_field(one.path, one.before, one.after) for one in change.fields]
        if len(fields) == 1:
            yield f"{sign}  {fields[0]}{restart}"
            continue
        yield f"{sign}{restart}"
        yield from (f"    {field}" for field in fields)


def _field(path: str, before: str, after: str) -> str:
    if before == after:
        return f"{path}: {after}"
    return f"{path}: {before or '(none)'} -> {after or '(none)'}"


def _totals(title: str, impact: Impact) -> Iterator[str]:
    yield f"  {title}: {_counted(impact)}"
    yield from (f"  calls: {line}" for line in _calls(impact.calls, impact.restarts))
    if impact.changes:
        yield f"  time: about {_minutes(impact.seconds)}"
    for pool in impact.pools:
        yield f"  nodes: pool {pool.pool} {pool.before} -> {pool.after}, {pool.euros_text} euros a day"
    if not impact.pools:
        yield "  nodes: none come or go"


def _counted(impact: Impact) -> str:
    counts: Counter[str] = Counter(change.action for change in impact.changes)
    objects = ", ".join(f"{counts[action]} {word}" for action, word in _DONE.items() if counts[action])
    pods = sum(impact.restarts.values())
    parts = ", ".join(f"{part} {count}" for part, count in impact.restarts.items())
    return f"{objects or 'no object changes'}; " + (f"{pods} pods restart ({parts})" if pods else "no pod restarts")


def _calls(calls: Calls, restarts: Mapping[str, int]) -> Iterator[str]:
    if not restarts:
        return
    if calls.rooms is None:
        yield "media servers restart, and their rooms cannot be read from here"
    elif calls.rooms:
        people = "?" if calls.participants is None else str(calls.participants)
        yield (
            f"{calls.rooms} rooms with {people} participants are on media servers that restart; "
            f"they have {_hours(calls.deadline)} to end"
        )
    else:
        yield "no room is on a media server that restarts"
    if calls.streams is None:
        yield "captions servers restart, and their streams cannot be read from here"
    elif calls.streams:
        yield f"{calls.streams} captions streams move to another server"
    if calls.recordings or calls.transcriptions:
        yield f"{calls.recordings} recordings and {calls.transcriptions} transcriptions run on to their end"


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:g} h" if seconds >= 3600 else f"{ceil(seconds / 60)} min"


def _minutes(seconds: float) -> str:
    return f"{ceil(seconds / 60)} min"


def _together(rungs: Sequence[RungDifference]) -> str:
    pods = sum(sum(rung.impact.restarts.values()) for rung in rungs)
    return f"{pods} pod restarts, about {_minutes(sum(rung.impact.seconds for rung in rungs))} besides the soak"


def as_json(found: Difference) -> dict[str, Any]:
    """The same as data; times are minutes."""
    return {
        "deployment": found.name,
        "exists": found.exists,
        "running": found.running,
        "wanted": found.wanted,
        "problems": list(found.problems),
        "otherOperatorVersion": found.other_version,
        **_impact(found.impact),
        "waiting": {
            "objects": len(found.waiting.objects),
            "pods": sum(found.waiting.pods.values()),
            "version": found.waiting.version,
        },
        "upgradeDigest": found.digest,
        "rungs": [
            {"version": rung.version, "problems": list(rung.problems), **_impact(rung.impact)} for rung in found.rungs
        ],
    }


def _impact(impact: Impact) -> dict[str, Any]:
    return {
        "changes": [_change(change) for change in impact.changes],
        "restarts": dict(impact.restarts),
        "calls": asdict(impact.calls),
        "minutes": ceil(impact.seconds / 60),
        "pools": [
            {"name": one.pool, "fromNodes": one.before, "toNodes": one.after, "eurosPerDay": one.euros_text}
            for one in impact.pools
        ],
        "eurosPerDay": impact.euros_text,
    }


def _change(change: Change) -> dict[str, Any]:
    return asdict(change) | {"fields": [asdict(field) for field in change.fields]}
