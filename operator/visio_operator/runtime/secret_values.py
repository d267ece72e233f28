"""The values of generated Secrets: random ones are drawn once, composed ones follow from them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Mapping
from secrets import token_hex
from urllib.parse import quote

from visio_operator.plan.plan import Ref, SecretNeed

Values = Mapping[str, str]


def hexadecimal(length: int) -> str:
    """Random hexadecimal text of `length` characters, 4 bits each, from the system's source for keys."""
    return token_hex((length + 1) // 2)[:length]


def fill(
    needs: Iterable[SecretNeed],
    existing: Mapping[str, Values],
    draw: Callable[[int], str] = hexadecimal,
    drawn: Mapping[tuple[str, str], str] | None = None,
) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """What each needed Secret must additionally say, by Secret name; and what cannot be composed.

    `existing` holds the decoded values of the Secrets that are there, generated or not. A random key that exists is
    never drawn again. Composed and fixed keys follow from the plan and are corrected when they say something else.
    `drawn` holds values by Secret and key that were drawn before, for keys that are not there yet.
    """
    needs = tuple(needs)
    known: dict[str, dict[str, str]] = {name: dict(values) for name, values in existing.items()}
    changes: dict[str, dict[str, str]] = {need.name: {} for need in needs}

    def put(name: str, key: str, value: str) -> None:
        if known.setdefault(name, {}).get(key) != value:
            known[name][key] = value
            changes[name][key] = value

    for need in needs:
        for key, length in need.random.items():
            if not known.get(need.name, {}).get(key):
                put(need.name, key, (drawn or {}).get((need.name, key)) or draw(length))
        for key, value in need.fixed.items():
            put(need.name, key, value)
    problems: list[str] = []
    for need in needs:
        for key, parts in need.composed.items():
            text, missing = _compose(need.name, parts, known)
            if missing:
                problems.append(f"Secret {need.name} key {key} waits for {missing}")
            else:
                put(need.name, key, text)
    return changes, tuple(problems)


def _compose(name: str, parts: Iterable[str | Ref], known: Mapping[str, Values]) -> tuple[str, str]:
    text: list[str] = []
    for part in parts:
        if isinstance(part, str):
            text.append(part)
            continue
        source = part.secret or name
        value = known.get(source, {}).get(part.key)
        if value is None:
            return "", f"key {part.key} of Secret {source}"
        text.append(_written(value, part.form))
    return "".join(text), ""


def _written(value: str, form: str) -> str:
    if form == "url":
        return quote(value, safe="")
    return json.dumps(value, ensure_ascii=False)[1:-1] if form == "json" else value


def decode(data: Mapping[str, str] | None) -> dict[str, str]:
    """The values of a Secret as text; bytes that are no text are left out."""
    values: dict[str, str] = {}
    for key, value in (data or {}).items():
        try:
            values[key] = base64.b64decode(value).decode()
        except ValueError:
            continue
    return values


def encode(values: Values) -> dict[str, str]:
    """The values as the API wants them."""
    return {key: base64.b64encode(value.encode()).decode() for key, value in values.items()}
