"""What a definition cannot say is an error when it is built, not a surprise in the cluster."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field, StringConstraints

from visio_operator.api.fields import Model, SecretRef, Unique
from visio_operator.api.schema import SchemaError, defaults_of, structural_schema, with_defaults

Short = Annotated[str, StringConstraints(max_length=10)]


def built(annotation: Any, default: Any = ...) -> dict[str, Any]:
    """The schema of the only field of a model."""
    fields = {"__annotations__": {"field": annotation}, "field": Field(default, description="A field.")}
    schema: dict[str, Any] = structural_schema(type("Sample", (Model,), {"__module__": __name__, **fields}))
    return schema


class Tree(Model):
    """A model that contains itself."""

    below: list[Tree] = Field(description="Further trees.", max_length=3)


class Pair(Model):
    """A model with defaults."""

    left: Short = Field("a", description="Left.")
    right: Short | None = Field(None, description="Right.")


class Nothing(Model):
    """A model that says all by being there."""


def test_a_model_without_fields_has_no_empty_map_which_the_api_server_would_drop() -> None:
    field = built(Nothing)["properties"]["field"]
    assert (field["type"], "properties" in field) == ("object", False)


@pytest.mark.parametrize(
    "annotation, complaint",
    [
        pytest.param(tuple[int, int], "prefixItems", id="tuple"),
        pytest.param(dict, r"Sample\.field: a map needs a type", id="plain-dict"),
        pytest.param(dict[str, Any], r"Sample\.field: a map needs a type", id="dict-of-anything"),
        pytest.param(dict[str, Short], "a object needs a bound", id="dict-without-bound"),
        pytest.param(int | str, "a union of types is not structural", id="union"),
        pytest.param(SecretRef | Pair, "a union of types is not structural", id="union-of-models"),
        pytest.param(Any, "has no type", id="anything"),
        pytest.param(str, "a string needs a bound", id="string-without-bound"),
        pytest.param(int, "a integer needs a bound", id="integer-without-bound"),
        pytest.param(list[Short], "a array needs a bound", id="list-without-bound"),
        pytest.param(Annotated[list[str], Field(max_length=2)], r"field\[\]: a string needs", id="string-in-list"),
        pytest.param(Annotated[set[Short], Field(max_length=2)], "uniqueItems", id="set"),
        pytest.param(Annotated[int, Field(multiple_of=2, le=9)], "multipleOf", id="multiple-of"),
        pytest.param(Annotated[Short, Field(examples=["x"])], "examples", id="examples"),
        pytest.param(Tree, "Tree contains itself", id="recursion"),
        pytest.param(
            Annotated[dict[Annotated[str, StringConstraints(min_length=3, max_length=5)], Short], Field(max_length=2)],
            "keys of a map cannot have minLength",
            id="shortest-key",
        ),
    ],
)
def test_what_cannot_be_said_is_a_build_error(annotation: Any, complaint: str) -> None:
    with pytest.raises(SchemaError, match=complaint):
        built(annotation)


def test_a_field_without_description_is_a_build_error() -> None:
    class Silent(Model):
        """Says nothing about its field."""

        field: Short

    with pytest.raises(SchemaError, match=r"Silent\.field: has no description"):
        structural_schema(Silent)


def test_a_default_that_differs_from_those_of_the_fields_is_a_build_error() -> None:
    with pytest.raises(SchemaError, match="must equal the defaults of its fields"):
        built(Pair, Pair(left="b"))


def test_an_optional_field_is_one_that_may_be_absent() -> None:
    schema = built(Short | None, None)

    assert schema["properties"]["field"] == {"type": "string", "maxLength": 10, "description": "A field."}
    assert "required" not in schema


def test_a_required_field_is_required() -> None:
    assert built(Literal["a", "b"])["required"] == ["field"]


def test_lists_of_different_items_tell_their_type() -> None:
    of_values = built(Annotated[list[Short], Field(max_length=2), Unique()])["properties"]["field"]
    of_models = built(Annotated[list[Pair], Field(max_length=2), Unique("left")])["properties"]["field"]

    assert of_values["x-kubernetes-list-type"] == "set"
    assert of_models["x-kubernetes-list-type"] == "map"
    assert of_models["x-kubernetes-list-map-keys"] == ["left"]


def test_defaults_are_filled_at_every_depth() -> None:
    schema = structural_schema(Pair)
    both = {"type": "object", "properties": {"one": {**schema, "default": {}}, "many": {"items": schema}}}

    assert defaults_of(both) == {"one": {"left": "a"}}
    assert with_defaults({"many": [{}, {"left": "b"}]}, both) == {
        "one": {"left": "a"},
        "many": [{"left": "a"}, {"left": "b"}],
    }
