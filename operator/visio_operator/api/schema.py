"""From pydantic's JSON schema to a structural OpenAPI v3 schema, by a whitelist.

Whatever is not named here is an error at build time: the API server would refuse it, drop it without a word, or read it
differently (facts: KEP-2335 for structural schemas; pydantic's output was read field by field).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .fields import HINTS, Model

Schema = dict[str, Any]

_KEPT = frozenset(
    {
        "type", "description", "default", "enum", "format", "pattern", "minLength", "maxLength", "minimum", "maximum",
        "minItems", "maxItems", "minProperties", "maxProperties", "required", "x-kubernetes-list-type",
        "x-kubernetes-list-map-keys", "x-kubernetes-validations",
    }
)  # fmt: skip
_DROPPED = frozenset({"title", "$defs"})
_BOUNDS = {"string": ("maxLength", "enum"), "array": ("maxItems",), "integer": ("maximum", "enum")}


class SchemaError(Exception):
    """A model says something that a CustomResourceDefinition cannot say; the message names the place."""


def structural_schema(model: type[Model]) -> Schema:
    """The structural schema of a model, with bounds, defaults, descriptions and CEL rules.

    SchemaError names the place of what a definition cannot say.
    """
    source = model.model_json_schema(by_alias=True, mode="validation")
    return _convert(source, source.get("$defs", {}), model.__name__, ())


def defaults_of(schema: Mapping[str, Any]) -> Any:
    """What the API server makes of an empty object of this schema."""
    filled: dict[str, Any] = {}
    for name, field in schema.get("properties", {}).items():
        if "default" in field:
            filled[name] = with_defaults(field["default"], field)
    return filled


def with_defaults(value: Any, schema: Mapping[str, Any]) -> Any:
    """A value after the API server's defaulting: missing fields with a default are filled, at every depth."""
    if isinstance(value, dict) and "properties" in schema:
        known = {k: with_defaults(v, schema["properties"].get(k, {})) for k, v in value.items()}
        return {**defaults_of({"properties": _missing(schema["properties"], value)}), **known}
    if isinstance(value, list) and "items" in schema:
        return [with_defaults(item, schema["items"]) for item in value]
    return value


def _missing(properties: Mapping[str, Any], value: Mapping[str, Any]) -> Schema:
    return {name: field for name, field in properties.items() if name not in value}


def _convert(node: Mapping[str, Any], defs: Mapping[str, Any], where: str, above: tuple[str, ...]) -> Schema:
    node, above = _inline(dict(node), defs, where, above)
    if "anyOf" in node:
        node, above = _inline(_unwrap_null(node, where), defs, where, above)
    children: Schema = {key: node.pop(key) for key in ("properties", "items", "additionalProperties") if key in node}
    keys = _map_keys(node, children, where)
    result = _keywords(node, where)
    if keys:
        result["x-kubernetes-validations"] = [*result.get("x-kubernetes-validations", []), *keys]
    if "properties" in children:
        fields = children["properties"].items()
        result["properties"] = {name: _convert(field, defs, f"{where}.{name}", above) for name, field in fields}
        _check_described(result["properties"], where)
    if "items" in children:
        result["items"] = _convert(children["items"], defs, f"{where}[]", above)
    values = children.get("additionalProperties", False)
    if values is True:
        raise SchemaError(f"{where}: a map needs a type of its values")
    if values is not False:
        result["additionalProperties"] = _convert(values, defs, f"{where}[*]", above)
    _fit_default(result, where)
    _check_bounded(result, where)
    if result.get("properties") == {}:
        # The API server drops an empty map, after which the stored definition differs for ever from the applied one.
        del result["properties"]
    return dict(sorted(result.items()))


def _keywords(node: Mapping[str, Any], where: str) -> Schema:
    """The keywords of one node that have no schema inside."""
    result: Schema = {}
    for key, value in node.items():
        if key in _KEPT:
            result[key] = sorted(value) if key == "required" else value
        elif key == "const":
            result["enum"] = [value]
        elif key in ("exclusiveMinimum", "exclusiveMaximum"):
            result[key.removeprefix("exclusive").lower()] = value
            result[key] = True
        elif key not in _DROPPED:
            raise SchemaError(f"{where}: {key}={value!r} cannot be said in a CustomResourceDefinition")
    return result


def _check_described(fields: Mapping[str, Schema], where: str) -> None:
    for name, field in fields.items():
        if not field.get("description"):
            raise SchemaError(f"{where}.{name}: has no description")


def _inline(
    node: Schema, defs: Mapping[str, Any], where: str, above: tuple[str, ...]
) -> tuple[Schema, tuple[str, ...]]:
    while "$ref" in node:
        name = str(node.pop("$ref")).removeprefix("#/$defs/")
        if name in above:
            raise SchemaError(f"{where}: {name} contains itself")
        above = (*above, name)
        node = {**defs[name], **node}
    return node, above


def _unwrap_null(node: Schema, where: str) -> Schema:
    variants = [variant for variant in node.pop("anyOf") if variant != {"type": "null"}]
    if len(variants) != 1:
        raise SchemaError(f"{where}: a union of types is not structural; use one optional field for each variant")
    if node.pop("default", None) is not None:
        raise SchemaError(f"{where}: an optional field has a default other than none")
    return {**variants[0], **node}


def _map_keys(node: Schema, children: Schema, where: str) -> list[dict[str, str]]:
    """Turn conditions on the keys of a map, which OpenAPI v3 lacks, into CEL rules."""
    rules = []
    if "patternProperties" in node:
        [(expression, values)] = node.pop("patternProperties").items()
        children["additionalProperties"] = values
        rules.append(_key_rule(expression, where))
    names: Schema = node.pop("propertyNames", {})
    for key, value in names.items():
        if key == "pattern":
            rules.append(_key_rule(value, where))
        elif key == "maxLength":
            rules.append(
                {
                    "message": f"a key is longer than {value} characters; shorten it",
                    "rule": f"self.all(key, key.size() <= {value})",
                }
            )
        elif key != "type":
            raise SchemaError(f"{where}: keys of a map cannot have {key}")
    return rules


def _key_rule(expression: str, where: str) -> dict[str, str]:
    if "'" in expression or "\\" in expression:
        raise SchemaError(f"{where}: a key's pattern must do without quotes and backslashes")
    return {
        "message": f"a key does not fit; {HINTS[expression]}",
        "rule": f"self.all(key, key.matches('{expression}'))",
    }


def _fit_default(schema: Schema, where: str) -> None:
    """Replace the default of a nested object by an empty one, so that only the defaults of its fields count.

    Beside CEL rules the fields' defaults are written out: the API server evaluates the rules on the default as it
    stands, before it fills it (seen with 1.37.2: "no such key").
    """
    default = schema.get("default")
    if not isinstance(default, dict) or "properties" not in schema:
        return
    if _without_null(default) != defaults_of(schema):
        raise SchemaError(f"{where}: the default of an object must equal the defaults of its fields")
    schema["default"] = defaults_of(schema) if _has_rules(schema) else {}


def _has_rules(schema: Mapping[str, Any]) -> bool:
    fields = schema.get("properties", {}).values()
    return "x-kubernetes-validations" in schema or any("default" in field and _has_rules(field) for field in fields)


def _without_null(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_null(item) for key, item in value.items() if item is not None}
    return value


def _check_bounded(schema: Schema, where: str) -> None:
    kind = schema.get("type")
    if kind is None:
        raise SchemaError(f"{where}: has no type")
    needed = _BOUNDS.get(kind, ())
    if kind == "object" and "additionalProperties" in schema:
        needed = ("maxProperties",)
    if needed and not any(bound in schema for bound in needed):
        raise SchemaError(f"{where}: a {kind} needs a bound ({' or '.join(needed)})")
    if kind == "object" and "properties" not in schema and "additionalProperties" not in schema:
        raise SchemaError(f"{where}: an object needs fields or a type of its values")
