"""Does a live object still say what we want? Pure: no client, no clock.

The API server fills in defaults, writes quantities in its own spelling and leaves out empty values. None of this is a
difference; a write is due only for a field that a manifest names and that says something else now.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from visio_operator.api.spec import GROUP
from visio_operator.workloads.changes import list_key

DIGEST = f"{GROUP}/digest"
"""Annotation with the digest of the manifest that an object was last applied from."""

_IMPLIED = frozenset({"apiVersion", "kind"})
"""Left out of the elements of a list answer."""
_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|M|G|T|P|Ki|Mi|Gi|Ti|Pi)?$")
_SCALE = {"m": Decimal("0.001"), "": Decimal(1)} | {
    unit: Decimal(base) ** power
    for base, units in ((1000, ("k", "M", "G", "T", "P")), (1024, ("Ki", "Mi", "Gi", "Ti", "Pi")))
    for power, unit in enumerate(units, start=1)
}
_MOST = 8
"""Differences that are named; one is enough to write."""


def digest(value: Any) -> str:
    """The sha256 of plain data in canonical JSON, 64 hexadecimal characters."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def differences(wanted: Mapping[str, Any], live: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields that `wanted` names and that `live` does not hold, as `path=live value`; empty when there are none.

    Fields that only the live object has are somebody else's and no difference.
    """
    found: list[str] = []
    _compare({key: value for key, value in wanted.items() if key not in _IMPLIED}, live, "", found)
    return tuple(found[:_MOST])


def _compare(wanted: Any, live: Any, path: str, found: list[str]) -> None:
    if len(found) >= _MOST:
        return
    if isinstance(wanted, Mapping) and isinstance(live, Mapping):
        for key, value in wanted.items():
            _compare(value, live.get(key), f"{path}.{key}" if path else str(key), found)
    elif isinstance(wanted, list) and isinstance(live, list):
        _compare_lists(wanted, live, path, found)
    elif not _same(wanted, live):
        found.append(f"{path}={_short(live)}")


def _compare_lists(wanted: Sequence[Any], live: Sequence[Any], path: str, found: list[str]) -> None:
    key = list_key(wanted, live) if wanted else None
    if key is None:
        if len(wanted) != len(live):
            found.append(f"{path}=[{len(live)} elements]")
            return
        for index, (one, other) in enumerate(zip(wanted, live, strict=True)):
            _compare(one, other, f"{path}[{index}]", found)
        return
    by_key = {element[key]: element for element in live}
    for element in wanted:
        _compare(element, by_key.get(element[key]), f"{path}[{element[key]}]", found)


def _same(wanted: Any, live: Any) -> bool:
    if wanted == live and isinstance(wanted, bool) == isinstance(live, bool):
        return True
    if live is None:
        return _empty(wanted)
    if isinstance(wanted, bool) or isinstance(live, bool):
        return False
    return _number(wanted) is not None and _number(wanted) == _number(live)


def _empty(value: Any) -> bool:
    """Values that the API server leaves out when it answers."""
    if isinstance(value, Mapping):
        return all(_empty(inner) for inner in value.values())
    return value is None or value is False or value in ("", 0) or (isinstance(value, list) and not value)


def _number(value: Any) -> Decimal | None:
    """The number that a quantity, or an integer written as text or not, stands for."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Decimal(str(value))
    if isinstance(value, str) and (match := _QUANTITY.match(value)):
        return Decimal(match.group(1)) * _SCALE[match.group(2) or ""]
    return None


def _short(value: Any) -> str:
    text = "absent" if value is None else json.dumps(value, sort_keys=True, default=str)
    return text if len(text) <= 80 else f"{text[:40]}#{digest(value)[:12]}"


def merge_patch(previous: Mapping[str, Any], wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON merge patch (RFC 7386) that turns `previous` into `wanted`; empty when they are equal."""
    patch: dict[str, Any] = {key: None for key in previous if key not in wanted}
    for key, value in wanted.items():
        before = previous.get(key)
        if isinstance(value, Mapping) and isinstance(before, Mapping):
            if inner := merge_patch(before, value):
                patch[key] = inner
        elif before != value or key not in previous:
            patch[key] = value
    return patch
