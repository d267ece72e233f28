"""YAML as the API server's clients read it: no timestamps, no base-60 numbers, no duplicate keys, several documents.

PyYAML's own loader would turn `2026-03-31` into a date and `22:30` into 1350; kubectl keeps both as text.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_TEXT = 3 * 1024 * 1024
MAX_NODES = 100_000
MAX_DEPTH = 64


@dataclass(frozen=True)
class Document:
    """One document of a stream; `line` is where it starts, counted from 1."""

    line: int
    value: Any
    duplicates: tuple[tuple[int, str], ...] = ()
    """Line and name of keys that are there twice."""


class YamlError(Exception):
    """The text is no YAML that can be read; the message names line and column where they are known."""


@dataclass
class _Budget:
    left: int = MAX_NODES
    duplicates: list[tuple[int, str]] = field(default_factory=list)


class _Loader(yaml.SafeLoader):
    """Resolves scalars as kubectl does."""


_NUMBERS_AND_TIMES = {f"tag:yaml.org,2002:{name}" for name in ("timestamp", "int", "float")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, expression) for tag, expression in resolvers if tag not in _NUMBERS_AND_TIMES]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"^[-+]?(0b[01][01_]*|0o?[0-7][0-7_]*|0|[1-9][0-9_]*|0x[0-9a-fA-F][0-9a-fA-F_]*)$"),
    list("-+0123456789"),
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?((\.[0-9]+|[0-9][0-9_]*(\.[0-9_]*)?)([eE][-+]?[0-9]+)?|\.(inf|Inf|INF))$|^\.(nan|NaN|NAN)$",
    ),
    list("-+.0123456789"),
)


def read_documents(text: str) -> list[Document]:
    """The documents of a YAML text, empty ones left out. YamlError when it cannot be read."""
    if len(text) > MAX_TEXT:
        raise YamlError(f"the text has {len(text)} characters, more than {MAX_TEXT}")
    documents = []
    try:
        loader = _Loader(text)
        try:
            while loader.check_node():
                node: yaml.Node = loader.get_node()  # type: ignore[assignment]  # check_node says there is one
                budget = _Budget()
                value = _value(loader, node, budget, 0)
                if value is not None:
                    documents.append(Document(node.start_mark.line + 1, value, tuple(budget.duplicates)))
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        raise YamlError(f"{place}{error.problem or error.context or 'cannot be read'}") from error
    except yaml.YAMLError as error:
        raise YamlError(" ".join(str(error).split())) from error
    except RecursionError as error:
        raise YamlError(f"it is nested deeper than {MAX_DEPTH} levels") from error
    return documents


def _value(loader: yaml.SafeLoader, node: yaml.Node, budget: _Budget, depth: int) -> Any:
    budget.left -= 1
    if budget.left < 0 or depth > MAX_DEPTH:
        raise YamlError(f"it has more than {MAX_NODES} values or is nested deeper than {MAX_DEPTH} levels")
    if isinstance(node, yaml.MappingNode):
        loader.flatten_mapping(node)
        result: dict[str, Any] = {}
        own: set[str] = set()
        for key_node, value_node in node.value:
            name = _key(_scalar(loader, key_node))
            # A merge key brings keys of other mappings, which may be there again.
            if node.start_mark.index <= key_node.start_mark.index < node.end_mark.index:
                if name in own:
                    budget.duplicates.append((key_node.start_mark.line + 1, name))
                own.add(name)
            result[name] = _value(loader, value_node, budget, depth + 1)
        return result
    if isinstance(node, yaml.SequenceNode):
        return [_value(loader, item, budget, depth + 1) for item in node.value]
    return _scalar(loader, node)


def _scalar(loader: yaml.SafeLoader, node: yaml.Node) -> str | int | float | bool | None:
    """A value that JSON can carry. YamlError for others: dates by tag, bytes, infinity, half of a surrogate pair."""
    place = f"line {node.start_mark.line + 1}, column {node.start_mark.column + 1}"
    if not isinstance(node, yaml.ScalarNode):
        raise YamlError(f"{place}: a key must be text")
    try:
        value = loader.construct_object(node)
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if value is None or isinstance(value, str | int | float):
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
            return value
    except ValueError as error:
        raise YamlError(f"{place}: this value cannot be read: {str(error).partition(';')[0]}") from error
    raise YamlError(f"{place}: {node.tag} is no text, number or truth value")


def _key(key: str | float | None) -> str:
    """A key as JSON writes it."""
    if isinstance(key, bool):
        return "true" if key else "false"
    return "null" if key is None else str(key)
