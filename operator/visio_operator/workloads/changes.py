"""What changes from one object to another, field by field, as it may be shown: no value of a Secret is ever in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

from visio_operator.api.spec import GROUP
from visio_operator.plan.impact import Change, FieldChange

from .adoption import HELD, RENDERED_BY, RENDERING, WAITING
from .common import CONFIG_DIGEST, Manifest
from .restarts import RESTARTED, SECRETS_DIGEST

CHANGED = "changed"
"""Stands for a value that is not shown."""
LONGEST = 120
"""Characters of a value that are shown."""

_LIST_KEYS = ("name", "uid", "containerPort", "mountPath", "port", "key", "topologyKey", "ip")
"""Fields by which list elements are told apart, in order of preference, as in the API's list-map keys."""
_BOOKKEEPING = frozenset({HELD, RENDERED_BY, RENDERING, WAITING, f"{GROUP}/digest"})
"""Our own notes: they say nothing that the fields do not."""
_OF_SERVER = frozenset({"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid", "selfLink"})
_DIGESTS = frozenset({SECRETS_DIGEST, CONFIG_DIGEST})
_SECRET_WORDS = ("PASSWORD", "SECRET", "KEY", "TOKEN", "CREDENTIAL")
_ABSENT = object()


def change(
    before: Manifest | None, after: Manifest | None, action: Literal["change", "replace"] = "change"
) -> Change | None:
    """The change from one object to another; one of them may be absent. None when nothing is to be told."""
    given = after if after is not None else before
    if given is None:
        return None
    kind, meta = given["kind"], given["metadata"]
    part = str((meta.get("labels") or {}).get("app.kubernetes.io/component", ""))
    if before is None:
        return Change(kind, meta["name"], part, (), restarts=False, action="create")
    if after is None:
        return Change(kind, meta["name"], part, (), restarts=False, action="delete")
    fields = field_changes(before, after)
    if not fields:
        return None
    restarts = kind in RESTARTED and any(one.path.startswith("spec.template.") for one in fields)
    return Change(kind, meta["name"], part, fields, restarts, action)


def field_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[FieldChange, ...]:
    """The fields that differ between two whole objects of one kind; what the server keeps for itself is left out."""
    return tuple(_walk(_told(before), _told(after), ""))


def _told(body: Mapping[str, Any]) -> dict[str, Any]:
    meta = {key: value for key, value in body["metadata"].items() if key not in _OF_SERVER}
    notes = {key: value for key, value in (meta.pop("annotations", None) or {}).items() if key not in _BOOKKEEPING}
    kept = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "metadata", "status")}
    return {"metadata": {**meta, **({"annotations": notes} if notes else {})}, **kept}


def _walk(before: Any, after: Any, path: str) -> Iterator[FieldChange]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        for key in dict.fromkeys((*before, *after)):
            yield from _walk(before.get(key, _ABSENT), after.get(key, _ABSENT), _joined(path, str(key)))
    elif isinstance(before, list) and isinstance(after, list) and (key := list_key(before, after)):
        old, new = ({one[key]: one for one in side} for side in (before, after))
        for name in dict.fromkeys((*old, *new)):
            yield from _walk(old.get(name, _ABSENT), new.get(name, _ABSENT), f"{path}[{name}]")
    elif before != after:
        yield FieldChange(path, _shown(path, before), _shown(path, after))


def _joined(path: str, key: str) -> str:
    """A key with dots in it, such as that of an annotation, goes into brackets."""
    if "." in key or "/" in key:
        return f"{path}[{key}]"
    return f"{path}.{key}" if path else key


def list_key(one: Sequence[Any], other: Sequence[Any]) -> str | None:
    """The field by which the elements of two lists are told apart; None when there is none."""
    both = (*one, *other)
    if not all(isinstance(element, Mapping) for element in both):
        return None
    for key in _LIST_KEYS:
        if both and all(isinstance(element.get(key), str | int) for element in both):
            unique = all(len({element[key] for element in side}) == len(side) for side in (one, other))
            return key if unique else None
    return None


def _shown(path: str, value: Any) -> str:
    """A value as it may be shown; empty for one that is not there."""
    if value is _ABSENT or value is None:
        return ""
    if path.startswith("data") or any(path.endswith(f"[{name}]") for name in _DIGESTS):
        return CHANGED
    if ".env[" in path and (_is_composed(value) or _is_secret(path.rsplit(".env[", 1)[1].partition("]")[0])):
        return CHANGED
    text = json.dumps(_without_secrets(value), ensure_ascii=False, separators=(",", ":"))
    text = text[1:-1] if isinstance(value, str) else text
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _without_secrets(value: Any) -> Any:
    """A value in which the environment variables that are not shown have none."""
    if isinstance(value, Mapping):
        if isinstance(value.get("name"), str) and isinstance(value.get("value"), str):
            hidden = _is_composed(value["value"]) or _is_secret(value["name"])
            return {**value, "value": CHANGED} if hidden else dict(value)
        return {key: _without_secrets(inner) for key, inner in value.items()}
    return [_without_secrets(inner) for inner in value] if isinstance(value, list) else value


def _is_composed(value: Any) -> bool:
    """Text that the kubelet fills in with other variables, such as a configuration with a password in it."""
    return isinstance(value, str) and "$(" in value.replace("$$(", "")


def _is_secret(name: str) -> bool:
    return any(word in name.upper() for word in _SECRET_WORDS)


def between(before: Iterable[Manifest], after: Iterable[Manifest]) -> tuple[Change, ...]:
    """The changes from one rendering of a deployment to another."""
    old, new = ({(one["kind"], one["metadata"]["name"]): one for one in side} for side in (before, after))
    found = (change(old.get(key), new.get(key)) for key in dict.fromkeys((*old, *new)))
    return tuple(one for one in found if one is not None)
