"""What a field manager last applied, read from the live object: the API server keeps it as a set of field names.

The format is that of `metadata.managedFields[].fieldsV1` (Kubernetes' structured-merge-diff): `f:<field>` goes into a
field, `k:<keys as JSON>` into the element of a list that has these keys, `v:<JSON>` names a plain element, and `.` is
the thing itself. A name without further ones is owned whole.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from typing import Any


def applied_by(manager: str, live: Mapping[str, Any]) -> dict[str, Any]:
    """The object as `manager` last applied it, without what the server or anybody else has added.

    A field that somebody else has changed since then is no longer the manager's and is missing.
    """
    fields: dict[str, Any] = {}
    for entry in live["metadata"].get("managedFields") or ():
        if entry.get("manager") == manager and entry.get("operation") == "Apply" and not entry.get("subresource"):
            _merge(fields, entry.get("fieldsV1") or {})
    return dict(_taken(live, fields)) if fields else {}


def _merge(into: dict[str, Any], fields: Mapping[str, Any]) -> None:
    for name, below in fields.items():
        _merge(into.setdefault(name, {}), below)


def _taken(value: Any, fields: Mapping[str, Any]) -> Any:
    names = [name for name in fields if name != "."]
    if not names:
        return copy.deepcopy(value) if not fields else type(value)() if isinstance(value, dict | list) else value
    if isinstance(value, list):
        return [_taken(element, found) for element in value if (found := _of_element(element, fields)) is not None]
    if not isinstance(value, Mapping):
        return copy.deepcopy(value)
    return {
        key: _taken(value[key], fields[name])
        for name in names
        if name.startswith("f:") and (key := name.removeprefix("f:")) in value
    }


def _of_element(element: Any, fields: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What is owned of one element of a list; None when nothing is."""
    for name, below in fields.items():
        kind, _, text = name.partition(":")
        if kind == "v" and json.loads(text) == element:
            return {}
        if kind == "k" and isinstance(element, Mapping):
            keys = json.loads(text)
            if all(element.get(key) == value for key, value in keys.items()):
                found: Mapping[str, Any] = below
                return found
    return None
