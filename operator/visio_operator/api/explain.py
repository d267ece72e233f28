"""Pydantic's errors in the user's words: what is wrong with the value, and what to do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from pydantic_core import ErrorDetails

from .fields import HINTS

_SHOWN = 60
_HIDDEN = frozenset({"value"})
"""Fields whose value is not repeated: it may be one that should not have been written there."""

_GROUP = ("{shown} is {kind}, and fields are needed here", "write fields below it, or {{}}")
_NUMBER = ("{shown} is {kind}, and a whole number is needed", "write it without quotes and without a dot")
_WORDS: dict[str, tuple[str, str]] = {
    "missing": ("this field is required and missing", "add it"),
    "greater_than_equal": ("{shown} is below {ge}", "use {ge} or more"),
    "less_than_equal": ("{shown} is above {le}", "use {le} or less"),
    "string_too_long": ("{shown} is longer than {max_length} characters", "shorten it"),
    "string_too_short": ("{shown} is shorter than {min_length} characters", "write more, or remove the field"),
    "too_long": ("it has more than {max_length} entries", "remove some"),
    "too_short": ("it has fewer than {min_length} entries", "add some"),
    "duplicate": ("{what} is there twice", "remove one of the two"),
    "value_error": ("{shown} does not exist: {error}", "correct it"),
    "string_type": ("{shown} is {kind}, and text is needed", "put it in quotes"),
    "int_type": _NUMBER,
    "int_from_float": _NUMBER,
    "bool_type": ("{shown} is {kind}, and true or false is needed", "write true or false without quotes"),
    "model_type": _GROUP,
    "model_attributes_type": _GROUP,
    "dict_type": _GROUP,
    "list_type": ("{shown} is {kind}, and a list is needed here", "write entries that begin with a dash"),
}
"""Problem and next step by pydantic's type of error; names in braces are `shown`, `kind` and the error's context."""


def explain(error: ErrorDetails) -> tuple[str, str]:
    """The problem and the next step of one error."""
    context = error.get("ctx", {})
    shown = "its value" if error["loc"] and error["loc"][-1] in _HIDDEN else show(error["input"])
    if error["type"] == "string_pattern_mismatch":
        return f"{shown} does not fit", HINTS.get(context["pattern"], f"it must match {context['pattern']}")
    if error["type"] == "literal_error":
        allowed = [choice.strip("' ") for choice in context["expected"].replace(" or ", ", ").split(",")]
        return f"{shown} is not one of {', '.join(allowed)}", did_you_mean(str(error["input"]), allowed)
    problem, next_step = _WORDS.get(
        error["type"], ("{shown}: " + error["msg"].replace("{", "(").replace("}", ")"), "correct it")
    )
    words = {"shown": shown, "kind": kind_of(error["input"]), **context}
    return problem.format(**words), next_step.format(**words)


def show(value: Any) -> str:
    """A value as the user wrote it, cut to a readable length; `it` for what has values inside."""
    text = "it" if isinstance(value, dict | list) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def kind_of(value: Any) -> str:
    """What sort of value it is, in words."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
    return "a group of fields"


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """The next step for a name that does not exist: the closest one that does, or all of them."""
    camel = "".join(
        part[:1].upper() + part[1:] if i else part for i, part in enumerate(name.replace("-", "_").split("_"))
    )
    by_case = [k for k in known if k.lower() in (name.lower(), camel.lower())]
    close = by_case or get_close_matches(name, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]}?" if close else f"use one of {', '.join(known)}"
