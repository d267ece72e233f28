"""A reading of structural schemas that does without the models: an oracle and generators of values for tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from functools import cache
from typing import Any

from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker, ValidationError, validators

Schema = Mapping[str, Any]

KEY_RULES = (
    (re.compile(r"self\.all\(key, key\.matches\('(.*)'\)\)"), lambda key, found: searches(found, key)),
    (re.compile(r"self\.all\(key, key\.size\(\) <= ([0-9]+)\)"), lambda key, found: len(key) <= int(found)),
)


@cache
def compiled(expression: str) -> re.Pattern[str]:
    """A pattern with Go's meaning of `$`: the end of the text, not before a last line break."""
    return re.compile(re.sub(r"\$$", r"\\Z", expression), re.ASCII)


def searches(expression: str, text: str) -> bool:
    return compiled(expression).search(text) is not None


def _pattern(_: Any, expression: str, instance: Any, __: Schema) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not searches(expression, instance):
        yield ValidationError(f"{instance!r} does not match {expression}")


def _list_type(_: Any, kind: str, instance: Any, schema: Schema) -> Iterator[ValidationError]:
    if isinstance(instance, list) and kind in ("set", "map"):
        [key] = schema.get("x-kubernetes-list-map-keys", [""])
        values = [item.get(key) if key and isinstance(item, dict) else repr(item) for item in instance]
        if len(set(map(repr, values))) < len(values):
            yield ValidationError("an item is there twice")


def _rules(_: Any, rules: list[dict[str, str]], instance: Any, __: Schema) -> Iterator[ValidationError]:
    """Rules about the keys of a map; those across fields are the API server's business."""
    for rule in rules if isinstance(instance, dict) else ():
        for form, holds in KEY_RULES:
            found = form.fullmatch(rule["rule"])
            if found and not all(holds(key, found[1]) for key in instance):
                yield ValidationError(rule["message"])


_formats = FormatChecker(("date",))
_formats.checks("date-time", raises=ValueError)(
    lambda value: not isinstance(value, str) or bool(datetime.fromisoformat(value))
)
_Validator = validators.extend(
    Draft202012Validator,
    {"pattern": _pattern, "x-kubernetes-list-type": _list_type, "x-kubernetes-validations": _rules},
)


def is_valid(value: Any, schema: Schema) -> bool:
    """Whether the schema admits a value."""
    return bool(_Validator(schema, format_checker=_formats).is_valid(value))


def values(schema: Schema) -> st.SearchStrategy[Any]:
    """Values that the schema admits."""
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            return st.integers(schema.get("minimum", 0), schema["maximum"])
        case "number":
            return st.floats(allow_nan=False, allow_infinity=False)
        case "string":
            return _texts(schema)
        case "array":
            items = st.lists(values(schema["items"]), min_size=schema.get("minItems", 0), max_size=2)
            return items.filter(lambda made: is_valid(made, {**schema, "items": {}}))
    return _maps(schema) if "additionalProperties" in schema else _objects(schema)


def _texts(schema: Schema) -> st.SearchStrategy[str]:
    known = {"date": st.dates().map(str), "date-time": st.datetimes(_YEAR_1000).map(_instant)}
    if "format" in schema:
        return known[schema["format"]]
    made = (
        st.from_regex(compiled(schema["pattern"]), fullmatch=True)
        if "pattern" in schema
        else st.text(max_size=min(8, schema["maxLength"]))
    )
    return made.filter(lambda text: schema.get("minLength", 0) <= len(text) <= schema["maxLength"])


_YEAR_1000 = datetime(1000, 1, 1)


def _instant(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds") + "Z"


def _objects(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    required = schema.get("required", [])
    fields = {name: values(field) for name, field in schema.get("properties", {}).items()}
    return st.fixed_dictionaries(
        {name: field for name, field in fields.items() if name in required},
        optional={name: field for name, field in fields.items() if name not in required},
    )


def _maps(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    keys = st.sampled_from(["cpu", "memory", "backend", "moshi", "summaryVersion", "topology.kubernetes.io/zone", "a"])
    made = st.dictionaries(keys, values(schema["additionalProperties"]), max_size=2)
    return made.filter(lambda entries: is_valid(entries, {**schema, "additionalProperties": {}}))


JUNK: tuple[Any, ...] = (
    -1, 0, 1, 65536, 10**10, 1.5, 2.0, True, "", "a", "a\n", "A b", "é", "1", "10Gi", "1h", "2026-02-30", "0.0.0.0/0",
    "2026-03-31T25:00:00Z", "visio.example.fr", "https://visio.example.fr", "a" * 64, "a" * 5000, [], {}, [{}], [[]],
    {"name": "a"}, {"-": "a"}, ["a", "a"],
)  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, value: Any) -> Any:
    """The value with one change somewhere: a field taken away, an item doubled, or anything in its place."""
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        name = draw(st.sampled_from(sorted(value)))
        rest = {key: item for key, item in value.items() if key != name}
        if not draw(st.integers(0, 9)):
            return rest
        return {**rest, name: draw(mutated(value[name]))}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        place = draw(st.integers(0, len(value) - 1))
        if not draw(st.integers(0, 3)):
            return [*value, value[place]]
        return [*value[:place], draw(mutated(value[place])), *value[place + 1 :]]
    return draw(st.sampled_from(JUNK))
