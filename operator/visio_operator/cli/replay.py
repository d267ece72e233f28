"""`visio-operator replay`: the planner as a filter, one reading in and one decision out."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from visio_operator.plan.batch import Batch
from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Job, Meeting, Orders, Reading, Server

from .files import UnreadableError, read
from .planner_config import ConfigError, PlannerConfig, parse_config

_DESCRIPTION = """Reads one JSON object per line and answers each with one line at once. In: {"t": seconds, "kind":
"captions", "slots": 64, "servers": [{"id": "a", "ordered": seconds, "ready": true, "cordoned": false, "used": 37}],
"queued": 0, "rejected": 0, "rehome": true, "calendar": [{"start": s, "end": s, "streams": n}]}; with "kind":
"transcription" servers carry "busy_for": seconds (null while idle) and the line has "jobs": [{"id": "x", "since": s,
"audio": s}]. null for used, queued or rejected is a reading that failed: nothing is closed then. Out: {"order": n,
"cordon": [], "uncordon": [], "release": [], "why": "..."}. Times are unix seconds; a line comes every 30 s. The planner
keeps its history from the lines; each kind has a planner of its own."""


class LineError(Exception):
    """A line cannot be used; the message names the field, the problem and what is expected."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `replay`."""
    parser = subparsers.add_parser(
        "replay", help="plan captions or transcription servers line by line", description=_DESCRIPTION
    )
    parser.add_argument(
        "--config", metavar="FILE",
        help="capacity, captions, transcription and gpuPools of a spec, or a whole VisioDeployment; only bounds that "
        "it states are bounds. Without it: 64 slots, no maximum, no price",
    )  # fmt: skip
    parser.set_defaults(func=replay)


def replay(arguments: argparse.Namespace) -> int:
    """Answer lines until there are none; exit code 2 at the first one that cannot be used."""
    try:
        config = parse_config(read(arguments.config)) if arguments.config else PlannerConfig()
    except (UnreadableError, ConfigError) as error:
        print(f"visio-operator replay: --config: {error}", file=sys.stderr)
        return 2
    planner = Planner(config)
    for number, line in enumerate(sys.stdin, 1):
        if not line.strip():
            continue
        try:
            orders = planner.answer(line)
        except LineError as error:
            print(f"visio-operator replay: line {number}: {error}", file=sys.stderr)
            return 2
        print(orders, flush=True)
    return 0


class Planner:
    """The planners of all kinds that the lines speak of."""

    def __init__(self, config: PlannerConfig) -> None:
        self._config = config
        self._calendar = config.calendar()
        self._steps: dict[str, Callable[[Reading], Orders]] = {}
        self._slots: dict[str, int] = {}
        self._last: dict[str, float] = {}

    def answer(self, line: str) -> str:
        """The decision on one line, as JSON. Raises LineError."""
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LineError(f"this is no JSON: {str(error)[:100]}") from None
        if not isinstance(value, dict):
            raise LineError('this is no object; send one such as {"t": 1, "kind": "captions", "servers": []}')
        kind = value.get("kind", "captions")
        if kind not in ("captions", "transcription"):
            raise LineError(f"kind is {json.dumps(kind)[:60]}; use captions or transcription")
        seen = read_reading(value, kind, self._calendar)
        if seen.now < self._last.get(kind, seen.now):
            raise LineError(f"t {seen.now:.0f} is before that of the line before; send lines in the order of time")
        self._last[kind] = seen.now
        orders = self._step(kind, value)(seen)
        said = {
            "order": orders.order,
            "cordon": list(orders.cordon),
            "uncordon": list(orders.uncordon),
            "release": list(orders.release),
            "why": orders.why,
        }
        return json.dumps(said, ensure_ascii=False)

    def _step(self, kind: str, value: dict[str, Any]) -> Callable[[Reading], Orders]:
        slots = int(_number(value, "slots", self._config.captions.slots_per_gpu, least=1))
        if kind not in self._steps:
            limits = replace(self._config.limits(kind), slots=slots)
            self._steps[kind] = Foresight(limits).step if kind == "captions" else Batch(limits).step
            self._slots[kind] = slots
        elif kind == "captions" and slots != self._slots[kind]:
            raise LineError(f"slots is {slots} and was {self._slots[kind]}; a server's slots do not change")
        return self._steps[kind]


def read_reading(value: dict[str, Any], kind: str, calendar: tuple[Meeting, ...] = ()) -> Reading:
    """A line as a reading. Raises LineError."""
    if "t" not in value:
        raise LineError("t is missing; give the time in unix seconds")
    if not isinstance(value.get("servers"), list):
        raise LineError("servers is no list; give all servers from their order on, or an empty list")
    servers = [_server(entry, index, kind) for index, entry in enumerate(_list(value, "servers"))]
    if len({server.id for server in servers}) < len(servers):
        raise LineError("servers has an id twice; give each server one of its own")
    rehome = value.get("rehome", True)
    if not isinstance(rehome, bool):
        raise LineError("rehome is neither true nor false")
    return Reading(
        now=_number(value, "t", 0.0),
        servers=servers,
        # A source that could not be read leaves null: that is not the same as nothing.
        queued=int(_number(value, "queued", 0)) if value.get("queued") is not None else 0,
        rejected=int(_number(value, "rejected", 0)) if value.get("rejected") is not None else 0,
        known=value.get("queued", 0) is not None and value.get("rejected", 0) is not None,
        rehome=rehome,
        calendar=(*calendar, *(_meeting(entry, index) for index, entry in enumerate(_list(value, "calendar")))),
        jobs=[_job(entry, index) for index, entry in enumerate(_list(value, "jobs"))],
    )


def _server(entry: Any, index: int, kind: str) -> Server:
    place = f"servers[{index}]"
    fields = _object(entry, place)
    ready = _flag(fields, "ready", place)
    known = fields.get("used", 0) is not None
    return Server(
        id=_text(fields, "id", place),
        ordered=_number(fields, "ordered", 0.0, place=place),
        ready=ready,
        cordoned=_flag(fields, "cordoned", place),
        used=int(_number(fields, "used", 0, place=place)) if known else 0,
        busy_for=None if fields.get("busy_for") is None else _number(fields, "busy_for", 0.0, place=place),
        known=known and ("used" in fields or kind == "transcription" or not ready),
    )


def _meeting(entry: Any, index: int) -> Meeting:
    place = f"calendar[{index}]"
    fields = _object(entry, place)
    meeting = Meeting(
        _number(fields, "start", 0.0, place=place),
        _number(fields, "end", 0.0, place=place),
        int(_number(fields, "streams", 0, place=place)),
    )
    if meeting.end <= meeting.start:
        raise LineError(f"{place}.end is not after its start; correct one of the two")
    return meeting


def _job(entry: Any, index: int) -> Job:
    place = f"jobs[{index}]"
    fields = _object(entry, place)
    return Job(
        _text(fields, "id", place),
        _number(fields, "since", 0.0, place=place),
        _number(fields, "audio", 0.0, place=place),
    )


def _object(entry: Any, place: str) -> dict[str, Any]:
    if not isinstance(entry, dict):
        raise LineError(f"{place} is no object")
    return entry


def _list(value: dict[str, Any], key: str) -> list[Any]:
    found = value.get(key) or []
    if not isinstance(found, list):
        raise LineError(f"{key} is no list")
    return found


def _text(fields: dict[str, Any], key: str, place: str) -> str:
    found = fields.get(key)
    if isinstance(found, bool) or not isinstance(found, (str, int)) or found == "":
        raise LineError(f"{place}.{key} is missing; give it a text")
    return str(found)


def _flag(fields: dict[str, Any], key: str, place: str) -> bool:
    found = fields.get(key, False)
    if not isinstance(found, bool):
        raise LineError(f"{place}.{key} is neither true nor false")
    return found


def _number(fields: dict[str, Any], key: str, default: float, least: float = 0.0, place: str = "") -> float:
    found = fields.get(key, default)
    name = f"{place}.{key}" if place else key
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not math.isfinite(found):
        raise LineError(f"{name} is {json.dumps(found)[:60]}, which is no number")
    if found < least:
        raise LineError(f"{name} is {found}; it has to be {least:g} or more")
    return float(found)
