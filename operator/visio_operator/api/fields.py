"""Building blocks of the API types: the base model, bounded strings, and rules that CEL and Python both know.

Every string, list and map of the API is bounded, since the API server estimates the cost of CEL rules from the bounds.
Patterns use ASCII classes only: `\\s` and `\\d` do not mean the same to the regular expressions of Go (API server) and
Rust (pydantic).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, StringConstraints
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$"
QUANTITY = r"^[0-9]{1,12}(\.[0-9]{1,6})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
DURATION = r"^([0-9]{1,4}h)?([0-9]{1,5}m)?([0-9]{1,6}s)?$"
SECRET_KEY = r"^[-._a-zA-Z0-9]+$"  # noqa: S105 - a pattern
HTTP_URL = r"^https?://[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]{1,5})?(/[!-~]*)?$"
HTTPS_URL = r"^https://[a-zA-Z0-9][-a-zA-Z0-9.]*(:[0-9]{1,5})?(/[!-~]*)?$"
EMAIL = r"^[!-?A-~]+@[a-zA-Z0-9][-a-zA-Z0-9]*(\.[a-zA-Z0-9][-a-zA-Z0-9]*)+$"
TEXT = r"^[^\x00-\x1f\x7f]+$"
WORD = r"^[!-~]+$"

HINTS: dict[str, str] = {
    DNS_LABEL: "use lower-case letters, digits and dashes, with a letter or digit at both ends",
    DNS_NAME: "use a full host name in lower case, such as visio.example.fr",
    QUANTITY: "use a Kubernetes quantity such as 500m, 2 or 10Gi",
    DURATION: "use hours, minutes and seconds in this order, such as 10m or 1h30m",
    SECRET_KEY: "use letters, digits, dots, dashes and underscores",
    HTTP_URL: "use a URL such as https://s3.example.fr",
    HTTPS_URL: "use a URL that starts with https://",
    EMAIL: "use an address such as visio@example.fr",
    TEXT: "use one line of text without control characters",
    WORD: "use ASCII letters, digits and signs without blanks",
}
"""What to write instead, by pattern; `check` shows it."""


def pattern(expression: str, hint: str) -> str:
    """Register the hint of a pattern that only one field uses, and return the pattern."""
    HINTS[expression] = hint
    return expression


HostName = Annotated[str, StringConstraints(pattern=DNS_NAME, min_length=4, max_length=253)]
"""A fully qualified host name in lower case."""
ObjectName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
"""The name of a Kubernetes object, as a DNS label."""
SecretKey = Annotated[str, StringConstraints(pattern=SECRET_KEY, min_length=1, max_length=253)]
"""A key inside a Secret."""
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY, min_length=1, max_length=22)]
"""A Kubernetes quantity such as `500m` or `2Gi`."""
Duration = Annotated[str, StringConstraints(pattern=DURATION, min_length=2, max_length=18)]
"""A duration in hours, minutes and seconds, such as `10m` or `1h30m`."""
HttpUrl = Annotated[str, StringConstraints(pattern=HTTP_URL, min_length=8, max_length=1024)]
"""A URL with the scheme http or https."""
HttpsUrl = Annotated[str, StringConstraints(pattern=HTTPS_URL, min_length=9, max_length=1024)]
"""A URL with the scheme https."""
Email = Annotated[str, StringConstraints(pattern=EMAIL, min_length=3, max_length=254)]
"""An e-mail address."""
Text = Annotated[str, StringConstraints(pattern=TEXT, min_length=1, max_length=256)]
"""A short free text on one line."""
Word = Annotated[str, StringConstraints(pattern=WORD, min_length=1, max_length=256)]
"""Printable ASCII without blanks, such as a model or machine type name."""
Port = Annotated[int, Field(ge=1, le=65535)]
"""A TCP or UDP port."""


@dataclass(frozen=True)
class Rule:
    """A rule across fields, told twice: as CEL for the API server and as a predicate for `check` and reconcile.

    `field` is the camelCase path below the model that the message is about; empty means the model itself.
    """

    cel: str
    problem: str
    next_step: str
    holds: Callable[[Any], bool]
    field: str = ""


@dataclass(frozen=True)
class Transition:
    """A rule about a change (CEL with `oldSelf`); only the API server sees both states, so there is no predicate."""

    cel: str
    problem: str
    next_step: str
    field: str = ""


class Model(BaseModel):
    """The base of every API type: camelCase outside, snake_case inside, immutable.

    Unknown fields are ignored, since an older operator may meet an object of a newer CRD; `visio-operator check`
    refuses them. Rules are not enforced on construction: `check_object` lists all that are broken at once.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")
    rules: ClassVar[tuple[Rule, ...]] = ()
    transitions: ClassVar[tuple[Transition, ...]] = ()

    @classmethod
    def __get_pydantic_json_schema__(cls, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Put the rules beside the fields that they guard."""
        schema = handler.resolve_ref_schema(handler(core))
        if cls.rules or cls.transitions:
            schema["x-kubernetes-validations"] = validations(cls.rules, cls.transitions)
        return schema


def validations(rules: tuple[Rule, ...], transitions: tuple[Transition, ...] = ()) -> list[dict[str, str]]:
    """Rules as `x-kubernetes-validations`; the message names the problem and the next step."""
    everything: tuple[Rule | Transition, ...] = (*rules, *transitions)
    return [
        {
            **({"fieldPath": "." + rule.field} if rule.field else {}),
            "message": f"{rule.problem}; {rule.next_step}",
            "rule": rule.cel,
        }
        for rule in everything
    ]


@dataclass(frozen=True)
class Unique:
    """Marks a list whose items differ: as values (`x-kubernetes-list-type: set`) or by one key (`map`)."""

    key: str = ""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Refuse duplicates, as the API server does for these list types."""
        return core_schema.no_info_after_validator_function(self._refuse_duplicates, handler(source))

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """Tell the API server the list type."""
        schema = handler(core)
        schema["x-kubernetes-list-type"] = "map" if self.key else "set"
        if self.key:
            schema["x-kubernetes-list-map-keys"] = [self.key]
        return schema

    def _refuse_duplicates(self, items: list[Any]) -> list[Any]:
        seen: set[Any] = set()
        for item in items:
            value = getattr(item, self.key) if self.key else item
            if value in seen:
                what = f"{self.key} {value!r}" if self.key else repr(value)
                raise PydanticCustomError("duplicate", "{what} is there twice", {"what": what})
            seen.add(value)
        return items


MIN_MAX = Rule(
    "self.min <= self.max", "min exceeds max", "raise max or lower min", lambda self: bool(self.min <= self.max), "min"
)
"""The rule of every pair of bounds."""


class SecretRef(Model):
    """A Secret of the same namespace and, where one value is meant, the key inside it."""

    name: ObjectName = Field(description="Name of a Secret in the namespace of this object.")
    key: SecretKey | None = Field(None, description="Key inside the Secret; the default is named at the field.")


class Bounds(Model):
    """How many replicas a part may have."""

    rules = (MIN_MAX,)

    min: Annotated[int, Field(ge=1, le=500)] = Field(2, description="Replicas that always run.")
    max: Annotated[int, Field(ge=1, le=500)] = Field(10, description="Replicas that are never exceeded.")


class Embedded(Model):
    """Run this service inside the platform, for evaluation only: one replica, no backup."""

    rules = (
        Rule(
            "quantity(self.storage).compareTo(quantity('1Gi')) >= 0",
            "storage is below 1Gi",
            "ask for at least 1Gi",
            lambda self: amount(self.storage) >= amount("1Gi"),
            "storage",
        ),
    )
    transitions = (
        Transition(
            "self.storage == oldSelf.storage",
            "the size of an embedded volume cannot be changed",
            "restore the old value, or move the data to a new VisioDeployment",
            "storage",
        ),
    )

    storage: Quantity = Field("10Gi", description="Size of the data volume.")


_UNITS = {
    "": Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(10**3),
    "M": Decimal(10**6),
    "G": Decimal(10**9),
    "T": Decimal(10**12),
    "Ki": Decimal(2**10),
    "Mi": Decimal(2**20),
    "Gi": Decimal(2**30),
    "Ti": Decimal(2**40),
}


def amount(quantity: str) -> Decimal:
    """The number that a Kubernetes quantity stands for: cores, bytes. ValueError when it is none."""
    found = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", quantity)
    if found is None or found[2] not in _UNITS:
        raise ValueError(f"{quantity!r} is no quantity")
    return Decimal(found[1]) * _UNITS[found[2]]


def seconds(duration: str) -> int:
    """The length of a duration of the API in seconds. ValueError when it is none."""
    found = re.fullmatch(r"(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+)s)?", duration)
    if found is None or not duration:
        raise ValueError(f"{duration!r} is no duration")
    hours, minutes, rest = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + rest
