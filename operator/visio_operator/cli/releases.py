"""`visio-operator releases`: the ladder of Visio's releases, what each one brings, and the way from one to another."""

from __future__ import annotations

import argparse
import json
import re
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from visio_operator.api.check import check_object
from visio_operator.api.documents import YamlError, read_documents
from visio_operator.api.releases import (
    RELEASED_TOGETHER,
    ReleaseEntry,
    VisioRelease,
    find_release,
    load_releases,
    merge_releases,
)
from visio_operator.api.spec import RELEASE
from visio_operator.plan.images import short_name
from visio_operator.plan.path import climb
from visio_operator.plan.policy import Refusal, unknown_version
from visio_operator.plan.preconditions import CHECKED_BY_JOB, MEANINGS
from visio_operator.plan.reasons import Reason

from .files import UnreadableError, read

_WIDTH = 100
_KNOWN_FROM = {"read": "source", "releaseNotes": "release notes"}


class _BadInputError(Exception):
    """What was given cannot be used; one line for each fault."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `releases`."""
    parser = subparsers.add_parser(
        "releases",
        help="show the release ladder, and the way from one release to another",
        description="Show which releases of Visio are known, what each brings, and which of them an upgrade climbs. "
        "No cluster is asked.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="all releases, oldest first", description="List all releases.")
    shown = actions.add_parser("show", help="everything about one release", description="Show one release.")
    shown.add_argument("version", metavar="VERSION", help="such as 1.27.0")
    way = actions.add_parser(
        "path",
        help="what an upgrade from one release to another climbs",
        description="Show each rung between two releases: every minor once, with the newest known patch of each. "
        "Exit code 1 when there is no way, 2 when a release is not known.",
    )
    way.add_argument("running", metavar="FROM", help="the release that runs")
    way.add_argument("wanted", metavar="TO", help="the release to go to")
    for action, function in ((listed, print_list), (shown, print_release), (way, print_path)):
        action.add_argument(
            "-f", "--file", action="append", default=[], metavar="FILE",
            help="lay the VisioRelease objects of this file over the ladder; may be given more than once, - is "
            "standard input",
        )  # fmt: skip
        action.add_argument("-o", "--output", choices=("table", "json"), default="table", help="format")
        action.set_defaults(func=_guarded(function))


def _guarded(function: Any) -> Any:
    def run(arguments: argparse.Namespace) -> int:
        try:
            return int(function(arguments, _ladder(arguments.file)))
        except _BadInputError as error:
            for line in str(error).splitlines():
                print(f"visio-operator releases: {line}", file=sys.stderr)
            return 2

    return run


def _ladder(paths: Sequence[str]) -> tuple[ReleaseEntry, ...]:
    """The built-in ladder with the VisioRelease objects of some files. Raises _BadInputError with all their faults."""
    releases = [release for path in paths for release in _releases(path)]
    versions = [release.spec.version for release in releases]
    twice = sorted({version for version in versions if versions.count(version) > 1})
    if twice:
        raise _BadInputError(f"{', '.join(twice)}: this release is there twice; keep one of them")
    ladder, refused = merge_releases(load_releases(), releases)
    if refused:
        raise _BadInputError("\n".join(f"{one.name}: {one.problem}; {one.next_step}" for one in refused))
    return ladder


def _releases(path: str) -> list[VisioRelease]:
    try:
        documents = read_documents(read(path))
    except UnreadableError as error:
        raise _BadInputError(str(error)) from None
    except YamlError as error:
        raise _BadInputError(f"{path}: this is not readable YAML: {error}; correct the YAML at that place") from None
    found = [one for one in documents if isinstance(one.value, dict) and one.value.get("kind") == VisioRelease.__name__]
    if not found:
        raise _BadInputError(f"{path}: there is no VisioRelease in it; name a file with one")
    problems = [f"{path}: line {one.line}: {fault}" for one in found for fault in check_object(one.value)]
    problems += [
        f"{path}: {name}: this key is there twice, the second time in line {line}; remove one of the two"
        for one in found
        for line, name in one.duplicates
    ]
    if problems:
        raise _BadInputError("\n".join(problems))
    return [VisioRelease.model_validate_json(json.dumps(one.value)) for one in found]


def print_list(arguments: argparse.Namespace, ladder: tuple[ReleaseEntry, ...]) -> int:
    """Print every release with what matters most."""
    if arguments.output == "json":
        _print_json({"items": [_facts(entry) for entry in ladder]})
        return 0
    names = ("VERSION", "DATE", "KNOWN FROM", "MIGRATIONS", "LIVEKIT", "EGRESS", "PRECONDITIONS")
    rows = [
        (
            entry.version,
            entry.date or "unknown",
            _KNOWN_FROM[entry.provenance],
            _migrations(entry),
            _tag(entry.images["livekit"]),
            _tag(entry.images["egress"]),
            ", ".join(entry.preconditions) or "-",
        )
        for entry in ladder
    ]
    widths = [max(len(row[column]) for row in (names, *rows)) for column in range(len(names))]
    for row in (names, *rows):
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
    return 0


def print_release(arguments: argparse.Namespace, ladder: tuple[ReleaseEntry, ...]) -> int:
    """Print one release; exit code 2 when the ladder lacks it."""
    entry = _find(ladder, arguments.version)
    if arguments.output == "json":
        _print_json(_facts(entry))
        return 0
    print(f"{entry.version}, released {entry.date or 'on an unknown day'}, known from {_KNOWN_FROM[entry.provenance]}")
    print(f"after {entry.previous}" if entry.previous else "the lowest release of the ladder")
    _print_effects(entry)
    print("images:")
    for key, image in entry.images.items():
        print(f"  {key}: {image}")
    print("settings:")
    for name, value in entry.settings.items():
        print(f"  {name}: {value}")
    return 0


def print_path(arguments: argparse.Namespace, ladder: tuple[ReleaseEntry, ...]) -> int:
    """Print what an upgrade climbs; exit code 1 when there is no way, 2 when a release is not known."""
    running, wanted = (_checked(version) for version in (arguments.running, arguments.wanted))
    way = climb(ladder, running, wanted)
    if isinstance(way, Refusal):
        print(f"visio-operator releases: {way.problem}; {_remedy(way)}", file=sys.stderr)
        return 2 if way.reason == Reason.UNKNOWN_VERSION else 1
    steps = list(zip((_find(ladder, running), *way), way, strict=False))
    if arguments.output == "json":
        _print_json({"from": running, "to": wanted, "rungs": [_rung(below, above) for below, above in steps]})
        return 0
    if not steps:
        print(f"{wanted} runs already: nothing to climb")
        return 0
    print(f"{len(steps)} {'rung' if len(steps) == 1 else 'rungs'} from {running} to {wanted}")
    for below, above in steps:
        print(f"\n{below.version} -> {above.version}, known from {_KNOWN_FROM[above.provenance]}")
        _print_effects(above)
        for key, image in _changed_images(below, above).items():
            if key not in RELEASED_TOGETHER:
                print(f"  {key}: {_tag(image['from'])} -> {_tag(image['to'])}")
        for name, value in _changed_settings(below, above).items():
            print(f"  setting {name}: {value['from']} -> {value['to']}")
    return 0


def _remedy(refusal: Refusal) -> str:
    """The next step of somebody who asks for a way, where that of a deployment does not fit."""
    if refusal.reason == Reason.VERSION_STEP and "going back" in refusal.problem:
        return "restore the backup that was made before the upgrade"
    return f"{refusal.next_step}; -f FILE takes one here"


def _checked(version: str) -> str:
    if not re.match(RELEASE, version):
        raise _BadInputError(f"{version} is no release; use three numbers such as 1.27.0, without a v")
    return version


def _find(ladder: tuple[ReleaseEntry, ...], version: str) -> ReleaseEntry:
    entry = find_release(ladder, _checked(version))
    if entry is None:
        refusal = unknown_version(version, ladder)
        raise _BadInputError(f"{refusal.problem}; {_remedy(refusal)}")
    return entry


def _print_effects(entry: ReleaseEntry) -> None:
    print(f"  migrations: {_migrations(entry)}")
    for name in entry.preconditions:
        by = "checked in the database before it starts" if name in CHECKED_BY_JOB else "checked in spec and ladder"
        _print_wrapped(f"precondition {name} ({by}): {MEANINGS[name]}")
    for note in entry.notes:
        _print_wrapped(f"note: {note}")


def _print_wrapped(text: str) -> None:
    print(textwrap.fill(text, _WIDTH, initial_indent="  ", subsequent_indent="    ", break_long_words=False))


def _migrations(entry: ReleaseEntry) -> str:
    if entry.migrations:
        return ", ".join(entry.migrations)
    return "none known" if entry.changes_schema else "none"


def _tag(image: str) -> str:
    return short_name(image).partition("@")[0].partition(":")[2] or image


def _facts(entry: ReleaseEntry) -> dict[str, Any]:
    return {
        "version": entry.version,
        "previous": entry.previous,
        "date": entry.date or None,
        "provenance": entry.provenance,
        "migrations": list(entry.migrations),
        "changesSchema": entry.changes_schema,
        "preconditions": list(_preconditions(entry)),
        "notes": list(entry.notes),
        "images": dict(entry.images),
        "settings": dict(entry.settings),
    }


def _rung(below: ReleaseEntry, above: ReleaseEntry) -> dict[str, Any]:
    facts = _facts(above) | {"images": _changed_images(below, above), "settings": _changed_settings(below, above)}
    return {"from": below.version, **facts}


def _preconditions(entry: ReleaseEntry) -> Iterator[dict[str, str]]:
    for name in entry.preconditions:
        yield {"id": name, "meaning": MEANINGS[name], "checkedBy": "job" if name in CHECKED_BY_JOB else "operator"}


def _changed_images(below: ReleaseEntry, above: ReleaseEntry) -> dict[str, dict[str, str]]:
    return {
        key: {"from": below.images.get(key, ""), "to": image}
        for key, image in above.images.items()
        if below.images.get(key) != image
    }


def _changed_settings(below: ReleaseEntry, above: ReleaseEntry) -> dict[str, dict[str, str]]:
    return {
        name: {"from": below.settings.get(name, "unset"), "to": value}
        for name, value in above.settings.items()
        if below.settings.get(name) != value
    }


def _print_json(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
