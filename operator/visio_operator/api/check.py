"""Everything that is wrong with an object, at once, as the API server would say it and with the next step.

The same models and rules make the CustomResourceDefinition, so what passes here passes there. No cluster is asked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, get_args

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from .controllers import unroutable
from .documents import Document, YamlError, read_documents
from .explain import did_you_mean, explain, show
from .fields import Model
from .releases import ReleaseEntry, VisioRelease, find_release, load_releases, order
from .spec import API_VERSION, GROUP, KIND, VisioDeployment

_KINDS: Mapping[str, type[Model]] = {KIND: VisioDeployment, "VisioRelease": VisioRelease}
Location = tuple[int | str, ...]
"""Where an error is, as pydantic says it."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: the field's path, what is wrong with its value, and what to do."""

    field: str
    problem: str
    next_step: str
    document: str = ""
    """Which document of a stream it is in; empty when there is only one."""

    def __str__(self) -> str:
        """One line for a terminal."""
        place = f"{self.document}: " if self.document else ""
        return f"{place}{self.field}: {self.problem}; {self.next_step}"


def check_document(text: str, ladder: Sequence[ReleaseEntry] | None = None) -> list[Problem]:
    """Check every VisioDeployment and VisioRelease of a YAML text; other kinds are passed over.

    An empty list means that the API server would admit them. `ladder` defaults to the built-in release ladder.
    """
    try:
        documents = read_documents(text)
    except YamlError as error:
        return [Problem("(text)", f"this is not readable YAML: {error}", "correct the YAML at that place")]
    problems: list[Problem] = []
    known = 0
    for number, document in enumerate(documents, 1):
        value = document.value
        if not (isinstance(value, dict) and isinstance(value.get("kind"), str)):
            found = [Problem("kind", "this is no Kubernetes object, since it names no kind", f"write kind: {KIND}")]
        elif not _is_ours(value):
            continue
        else:
            known += 1
            found = [*_duplicates(document), *check_object(value, ladder)]
        problems += [replace(problem, document=_place(number, document, len(documents))) for problem in found]
    if not known and not problems:
        return [_nothing_of_ours(documents)]
    return problems


def check_object(
    value: Mapping[str, Any], ladder: Sequence[ReleaseEntry] | None = None, *, unknown_fields: bool = True
) -> list[Problem]:
    """Check one object as plain data.

    Reconcile passes `unknown_fields=False`: the CRD may be newer than this code.
    """
    if value.get("apiVersion") != API_VERSION:
        return [Problem("apiVersion", f"{show(value.get('apiVersion'))} is not known", f"write {API_VERSION}")]
    model = _KINDS.get(str(value.get("kind")))
    if model is None:
        return [Problem("kind", f"{show(value.get('kind'))} is not known", f"use one of {', '.join(_KINDS)}")]
    content = _without_null({key: item for key, item in value.items() if key in ("metadata", "spec")})
    problems = [
        *_parse_problems(model, content),
        *(_unknown_fields(model, content) if unknown_fields else ()),
        *_unknown_top(value, unknown_fields),
        *_broken_rules(model, content),
    ]
    if model is VisioDeployment and not any(
        problem.field in ("(object)", "spec", "spec.version") for problem in problems
    ):
        known = load_releases() if ladder is None else ladder
        problems += _unknown_version(content, known)
        if not problems:
            problems += _beyond_the_controller(content, known)
    return sorted(set(problems), key=lambda problem: (problem.field, problem.problem))


def check_model(model: type[Model], content: Mapping[str, Any]) -> list[Problem]:
    """Check plain data against one model and its rules, such as the parts of a spec that a command reads."""
    given = _without_null(content)
    found = {*_parse_problems(model, given), *_unknown_fields(model, given), *_broken_rules(model, given)}
    return sorted(found, key=lambda problem: (problem.field, problem.problem))


def _is_ours(value: Mapping[str, Any]) -> bool:
    return str(value.get("apiVersion", "")).partition("/")[0] == GROUP or value.get("kind") in _KINDS


def _place(number: int, document: Document, count: int) -> str:
    return f"document {number} (line {document.line})" if count > 1 else ""


def _nothing_of_ours(documents: Sequence[Document]) -> Problem:
    kinds = ", ".join(sorted({str(document.value["kind"]) for document in documents})) or "nothing"
    return Problem("kind", f"there is no {KIND} here, only {kinds}", f"add an object of kind {KIND}")


def _duplicates(document: Document) -> Iterator[Problem]:
    for line, name in document.duplicates:
        yield Problem(name, f"this key is there twice, the second time in line {line}", "remove one of the two")


def _unknown_top(value: Mapping[str, Any], unknown_fields: bool) -> Iterator[Problem]:
    known = ["apiVersion", "kind", "metadata", "spec", "status"]
    for name in value if unknown_fields else ():
        if name not in known:
            yield _unknown(str(name), name, known)


def _unknown_version(content: Mapping[str, Any], ladder: Sequence[ReleaseEntry]) -> Iterator[Problem]:
    version = content.get("spec", {}).get("version", "")
    if find_release(ladder, version) is None:
        known = [entry.version for entry in ladder]
        nearest = min(known, key=lambda other: _distance(other, version))
        yield Problem(
            "spec.version",
            f"{version} is not in the release ladder ({known[0]} to {known[-1]})",
            f"the nearest is {nearest}; a VisioRelease object can add another",
        )


def _beyond_the_controller(content: Mapping[str, Any], ladder: Sequence[ReleaseEntry]) -> Iterator[Problem]:
    spec = VisioDeployment.model_validate(content).spec
    release = find_release(ladder, spec.version)
    for found in unroutable(spec, release.settings if release is not None else {}):
        yield Problem(f"spec.{found.field}", found.problem, found.next_step)


def _distance(one: str, other: str) -> tuple[int, ...]:
    return tuple(abs(a - b) for a, b in zip(order(one), order(other), strict=True))


# --- the shape: pydantic's errors in the user's words ---------------------------------------------------------------


def _parse_problems(model: type[Model], content: Mapping[str, Any]) -> Iterator[Problem]:
    for error in _errors(model, content):
        yield Problem(_path(error["loc"]), *explain(error))


def _errors(model: type[Model], content: Any) -> list[ErrorDetails]:
    try:
        model.model_validate_json(json.dumps(content, allow_nan=False), strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        return error.errors(include_url=False)
    except ValueError:
        return [{"type": "finite_number", "loc": (), "msg": "a number is not finite", "input": None}]
    return []


def _path(location: Sequence[int | str]) -> str:
    path = ""
    for step in location:
        if isinstance(step, int):
            path += f"[{step}]"
        elif step != "[key]":
            path += f".{step}" if path else step
    return path or "(object)"


# --- walking: fields that do not exist, rules that do not hold ------------------------------------------------------


def _nested(annotation: Any) -> type[Model] | None:
    """The model inside an annotation such as `Model | None` or `list[Model]`."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _nested(inner)) is not None), None)


def _children(model: type[Model], content: Mapping[str, Any], path: str) -> Iterator[tuple[type[Model], Any, str]]:
    """Model, raw value and path of every nested object that is given."""
    for name, info in model.model_fields.items():
        alias = info.alias or name
        nested = _nested(info.annotation)
        if nested is None or alias not in content:
            continue
        place = f"{path}.{alias}" if path else alias
        value = content[alias]
        if isinstance(value, dict):
            yield nested, value, place
        elif isinstance(value, list):
            yield from ((nested, item, f"{place}[{i}]") for i, item in enumerate(value) if isinstance(item, dict))


def _unknown_fields(model: type[Model], content: Mapping[str, Any], path: str = "") -> Iterator[Problem]:
    known = [info.alias or name for name, info in model.model_fields.items()]
    for name in content:
        if path and path != "metadata" and name not in known:
            yield _unknown(f"{path}.{name}", str(name), known)
    for nested, value, place in _children(model, content, path):
        yield from _unknown_fields(nested, value, place)


def _unknown(field: str, name: str, known: Sequence[str]) -> Problem:
    return Problem(field, "this field does not exist", did_you_mean(name, known))


def _broken_rules(model: type[Model], content: Mapping[str, Any]) -> Iterator[Problem]:
    """Rules that do not hold; a rule about a field that is wrong by itself says nothing, as that is told already."""
    locations = [error["loc"] for error in _errors(model, content)]
    if () in locations:
        return iter(())
    return _rules_below(_as_far_as_valid(model, content, locations), content, "")


def _rules_below(parsed: Model, content: Mapping[str, Any], path: str) -> Iterator[Problem]:
    for rule in parsed.rules:
        try:
            holds = rule.holds(parsed)
        except AttributeError:
            continue
        if not holds:
            field = ".".join(part for part in (path, rule.field) if part) or "(object)"
            yield Problem(field, rule.problem, rule.next_step)
    for name, info in type(parsed).model_fields.items():
        alias = info.alias or name
        value, raw = parsed.__dict__.get(name), content.get(alias)
        place = f"{path}.{alias}" if path else alias
        if isinstance(value, Model) and isinstance(raw, dict):
            yield from _rules_below(value, raw, place)
        elif isinstance(value, list) and isinstance(raw, list):
            for i, (item, raw_item) in enumerate(zip(value, raw, strict=True)):
                if isinstance(item, Model):
                    yield from _rules_below(item, raw_item, f"{place}[{i}]")


def _as_far_as_valid(model: type[Model], content: Mapping[str, Any], wrong: Sequence[Location]) -> Model:
    """An instance that lacks the attributes of the fields that are wrong, so that reading them is an AttributeError."""
    values: dict[str, Any] = {}
    lacking = []
    for name, info in model.model_fields.items():
        alias = info.alias or name
        here = [location[1:] for location in wrong if location[0] == alias]
        nested, value = _nested(info.annotation), content.get(alias)
        if () in here or (here and nested is None):
            lacking.append(name)
        elif nested is not None and isinstance(value, dict):
            values[name] = _as_far_as_valid(nested, value, here)
        elif nested is not None and isinstance(value, list):
            values[name] = [
                _as_far_as_valid(nested, item, [below[1:] for below in here if below[0] == i])
                if isinstance(item, dict)
                else item
                for i, item in enumerate(value)
            ]
        elif alias in content:
            values[name] = value
    made = model.model_construct(**values)
    for name in lacking:
        made.__dict__.pop(name, None)
    return made


def _without_null(value: Any) -> Any:
    """The API server drops nulls of fields that cannot be null, before it fills in defaults."""
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return [_without_null(item) for item in value] if isinstance(value, list) else value
