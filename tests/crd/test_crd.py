"""What the API server refuses and admits, and that `check` says the same without a cluster.

`invalid-*.yaml` differ from a valid object by one mistake each, `transition-*.yaml` hold an object and a change to it
that is refused. The first line of both names what the refusal says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from visio_lab.errors import LabError
from visio_lab.lab import Lab
from visio_lab.operator_process import make_namespace
from visio_operator.api.check import Problem, check_document
from visio_operator.api.crd import deployment_crd, release_crd
from visio_operator.api.documents import read_documents
from visio_operator.api.spec import GROUP

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INVALID = sorted(HERE.glob("invalid-*.yaml"))
VALID = sorted(HERE.glob("valid-*.yaml"))
TRANSITIONS = sorted(HERE.glob("transition-*.yaml"))
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
NAMESPACE = "crd-transitions"


def name_of(path: Path) -> str:
    return path.stem


def expectation(path: Path) -> str:
    first, _, _ = path.read_text().partition("\n")
    assert first.startswith("# expect: "), f"{path.name} does not say what is expected"
    return first.removeprefix("# expect: ")


def the_problem(path: Path) -> Problem:
    [problem] = check_document(path.read_text())
    return problem


@pytest.fixture(scope="module")
def api_server(lab: Lab) -> Lab:
    """The laboratory with the definitions as they lie in crds/."""
    lab.kubectl("apply", "--server-side", "--field-manager=crd-tests", "-f", str(ROOT / "crds"))
    lab.kubectl("wait", "--for=condition=Established", "--timeout=20s", "-f", str(ROOT / "crds"))
    return lab


@pytest.fixture(scope="module")
def namespace_of_transitions(api_server: Lab) -> Iterator[str]:
    make_namespace(api_server, NAMESPACE)
    yield NAMESPACE
    api_server.kubectl("delete", "namespace", NAMESPACE, "--wait=false", check=False)


def refusal(lab: Lab, *arguments: str, text: str) -> str:
    with pytest.raises(LabError) as refused:
        lab.kubectl(*arguments, "--dry-run=server", "-f", "-", input=text)
    return str(refused.value)


@pytest.mark.parametrize("path", INVALID, ids=name_of)
def test_the_api_server_refuses_and_check_names_the_same_field(api_server: Lab, path: Path) -> None:
    said = refusal(api_server, "create", text=path.read_text())

    assert expectation(path) in said
    assert names_the_field(said, the_problem(path).field), said


def names_the_field(said: str, field: str) -> bool:
    """Whether a refusal names the field; for a key of a map, CEL can name the map only."""
    places = re.findall(r"spec(?:\.[A-Za-z]+|\[[0-9]+\])+", said)
    return field in said or any(field.startswith(f"{place}.") for place in places)


def test_the_definitions_are_stored_as_they_are_written(api_server: Lab) -> None:
    # What the server changes when it stores it conflicts with every other manager, and drifts for ever in GitOps.
    apply = ("apply", "--server-side", "--field-manager=another", "--dry-run=server")
    api_server.kubectl(*apply, "-f", str(ROOT / "crds"))


@pytest.mark.parametrize("path", VALID, ids=name_of)
def test_the_api_server_admits(api_server: Lab, path: Path) -> None:
    api_server.kubectl("create", "--dry-run=server", "-f", "-", input=path.read_text())


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_the_api_server_admits_the_example(api_server: Lab, path: Path) -> None:
    for document in read_documents(path.read_text()):
        if document.value["apiVersion"].partition("/")[0] == GROUP:
            document.value["metadata"].pop("namespace", None)
            api_server.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(document.value))


@pytest.mark.parametrize("path", TRANSITIONS, ids=name_of)
def test_the_api_server_refuses_the_change(api_server: Lab, namespace_of_transitions: str, path: Path) -> None:
    before, after = (json.dumps(document.value) for document in read_documents(path.read_text()))
    apply = ("apply", "--server-side", "--namespace", namespace_of_transitions)
    api_server.kubectl(*apply, "-f", "-", input=before)
    try:
        said = refusal(api_server, *apply, text=after)
        # Without the change the same object is admitted again.
        api_server.kubectl(*apply, "--dry-run=server", "-f", "-", input=before)
    finally:
        delete = ("delete", "--wait=false", "--namespace", namespace_of_transitions)
        api_server.kubectl(*delete, "-f", "-", input=before)

    assert expectation(path) in said


@pytest.mark.parametrize("path", INVALID, ids=name_of)
def test_check_finds_exactly_this_mistake(path: Path) -> None:
    problem = the_problem(path)

    assert re.fullmatch(r"extra|(spec|metadata)(\.[^\s.]+|\[[0-9]+\])+", problem.field)
    assert problem.problem
    assert problem.next_step
    assert str(problem) == f"{problem.field}: {problem.problem}; {problem.next_step}"


@pytest.mark.parametrize("path", [*VALID, *EXAMPLES, *TRANSITIONS], ids=name_of)
def test_check_finds_nothing_wrong(path: Path) -> None:
    assert check_document(path.read_text()) == []


def test_every_rule_of_the_definitions_has_a_case() -> None:
    refused = [(expectation(path), the_problem(path).field) for path in INVALID]
    refused += [(expectation(path), f"{field}.") for path in TRANSITIONS for field in changed_fields(path)]
    cases = [(expected, re.sub(r"\[[0-9]+\]", "[]", field)) for expected, field in refused]

    without = [
        (place, message)
        for place, message in rules()
        if not any(expected in message and is_at(place, field) for expected, field in cases)
    ]
    assert without == []


def is_at(place: str, field: str) -> bool:
    return field in (place, place or "(object)") or field.startswith(f"{place}.") or place.startswith(field)


def changed_fields(path: Path) -> list[str]:
    before, after = (document.value["spec"] for document in read_documents(path.read_text()))
    return [f"spec.{name}" for name in before if before[name] != after[name]]


def rules() -> list[tuple[str, str]]:
    """Place and message of every CEL rule about what users write; they do not write the status."""
    schemas = [crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] for crd in (deployment_crd(), release_crd())]
    found = [rule for schema in schemas for rule in rules_below(schema, "")]
    return [(place, message) for place, message in found if not place.startswith("status")]


def rules_below(schema: dict[str, Any], place: str) -> Iterator[tuple[str, str]]:
    for rule in schema.get("x-kubernetes-validations", ()):
        yield f"{place}{rule.get('fieldPath', '')}".lstrip("."), rule["message"]
    for name, field in schema.get("properties", {}).items():
        yield from rules_below(field, f"{place}.{name}".lstrip("."))
    if "items" in schema:
        yield from rules_below(schema["items"], f"{place}[]")
    if "additionalProperties" in schema:
        yield from rules_below(schema["additionalProperties"], place)
