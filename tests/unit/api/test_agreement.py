"""The models and the definitions made from them admit the same objects; `check` answers whatever it is given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from structural import JUNK, is_valid, mutated, values

from visio_operator.api.check import check_object
from visio_operator.api.documents import read_documents
from visio_operator.api.fields import Model
from visio_operator.api.releases import VisioReleaseSpec
from visio_operator.api.schema import structural_schema, with_defaults
from visio_operator.api.spec import API_VERSION, KIND, VisioDeploymentSpec
from visio_operator.api.status import VisioDeploymentStatus

FILE = Path(__file__).resolve().parents[2] / "crd" / "valid-every-field.yaml"
MODELS: tuple[type[Model], ...] = (VisioDeploymentSpec, VisioReleaseSpec, VisioDeploymentStatus)
SCHEMAS = {model: structural_schema(model) for model in MODELS}
SPECS = {model: values(schema) for model, schema in SCHEMAS.items()}
[EVERY_FIELD] = read_documents(FILE.read_text())
unhurried = settings(
    max_examples=40,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


def admits(model: type[Model], value: Any) -> bool:
    """Whether the model takes a value, read as `check` and reconcile read it."""
    try:
        model.model_validate_json(json.dumps(value), strict=True, by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def as_read(value: Any) -> Any:
    """Whole numbers as whole numbers, as every reader of JSON in Kubernetes takes them."""
    if isinstance(value, dict):
        return {key: as_read(item) for key, item in value.items()}
    if isinstance(value, list):
        return [as_read(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() and abs(value) < 2**53 else value


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@unhurried
@given(data=st.data())
def test_both_admit_what_the_schema_says(model: type[Model], data: st.DataObject) -> None:
    value = data.draw(SPECS[model])

    assert is_valid(value, SCHEMAS[model])
    assert admits(model, value)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@unhurried
@given(data=st.data())
def test_both_say_the_same_about_one_random_change(model: type[Model], data: st.DataObject) -> None:
    value = as_read(data.draw(mutated(data.draw(SPECS[model]))))

    assert admits(model, value) == is_valid(value, SCHEMAS[model])


@settings(unhurried, max_examples=300)
@given(spec=mutated(EVERY_FIELD.value["spec"]).map(as_read))
def test_both_say_the_same_about_one_change_to_an_object_with_every_field(spec: Any) -> None:
    assert admits(VisioDeploymentSpec, spec) == is_valid(spec, SCHEMAS[VisioDeploymentSpec])


@unhurried
@given(spec=SPECS[VisioReleaseSpec])
def test_defaults_of_the_schema_are_those_of_the_model(spec: dict[str, Any]) -> None:
    filled = with_defaults(spec, SCHEMAS[VisioReleaseSpec])

    assert VisioReleaseSpec.model_validate(filled) == VisioReleaseSpec.model_validate(spec)


def test_defaults_of_a_deployment_are_those_of_the_model() -> None:
    required = {name: EVERY_FIELD.value["spec"][name] for name in SCHEMAS[VisioDeploymentSpec]["required"]}
    filled = with_defaults(required, SCHEMAS[VisioDeploymentSpec])

    assert {"users", "sfu", "captions", "capacity", "upgrade", "sovereignty"} <= set(filled)
    assert VisioDeploymentSpec.model_validate(filled) == VisioDeploymentSpec.model_validate(required)


def test_the_object_with_every_field_lacks_none() -> None:
    """It exercises alternatives too, so of each pair such as embedded and host it has one."""
    alternatives = {
        "database.embedded", "database.secretRef", "redis.embedded", "objectStorage.embedded",
        "gateway.ingressClassName", "gateway.tls.issuerRef", "sfu.externalAddress.address", "sfu.drainDeadline",
        "upgrade.backup.cloudNativePG", "upgrade.backup.none",
        "captions.weights.claim",
        "transcription.weights.snapshot", "transcription.weights.storageClass", "transcription.weights.storage",
    }  # fmt: skip
    lacking = set(missing(EVERY_FIELD.value["spec"], SCHEMAS[VisioDeploymentSpec], ""))
    optional = {place for place in lacking if place.lower().endswith("secretref.key") or "[" in place}

    assert lacking - optional == alternatives


def missing(value: Any, schema: dict[str, Any], place: str) -> list[str]:
    if isinstance(value, list):
        return [gap for item in value for gap in missing(item, schema["items"], f"{place}[]")]
    found = []
    for name, field in schema.get("properties", {}).items():
        below = f"{place}.{name}".lstrip(".")
        found += missing(value[name], field, below) if name in value else [below]
    return found


@settings(unhurried, max_examples=300)
@given(value=mutated(EVERY_FIELD.value))
def test_check_never_fails_and_always_names_a_next_step(value: Any) -> None:
    for problem in check_object(value, unknown_fields=False) if isinstance(value, dict) else ():
        assert problem.field
        assert problem.problem
        assert problem.next_step


@pytest.mark.parametrize("part", ["metadata", "spec", "apiVersion", "kind"])
@pytest.mark.parametrize("junk", [None, *JUNK], ids=lambda junk: repr(junk)[:20])
def test_check_answers_to_anything_at_the_top(part: str, junk: Any) -> None:
    is_good = part == "metadata" and junk == {"name": "a"}

    assert bool(check_object({**EVERY_FIELD.value, part: junk})) != is_good


def test_check_says_nothing_about_a_good_object_made_in_code() -> None:
    assert (EVERY_FIELD.value["apiVersion"], EVERY_FIELD.value["kind"]) == (API_VERSION, KIND)
    assert check_object(EVERY_FIELD.value) == []
