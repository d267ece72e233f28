"""Building blocks of the API types: the base model, bounded strings and the marker for CEL rules.

Every string, list and map of the API is bounded, because the API server estimates the cost of CEL rules from the bounds.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from pydantic.alias_generators import to_camel

DNS_LABEL = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
DNS_NAME = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$"
QUANTITY = r"^[0-9]+(\.[0-9]+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"
DURATION = r"^([0-9]+h)?([0-9]+m)?([0-9]+s)?$"

HostName = Annotated[str, StringConstraints(pattern=DNS_NAME, min_length=4, max_length=253)]
"""A fully qualified host name in lower case."""
ObjectName = Annotated[str, StringConstraints(pattern=DNS_LABEL, min_length=1, max_length=63)]
"""The name of a Kubernetes object, as a DNS label."""
SecretKey = Annotated[str, StringConstraints(pattern=r"^[-._a-zA-Z0-9]+$", min_length=1, max_length=253)]
"""A key inside a Secret."""
Quantity = Annotated[str, StringConstraints(pattern=QUANTITY, min_length=1, max_length=20)]
"""A Kubernetes quantity such as `500m` or `2Gi`."""
Duration = Annotated[str, StringConstraints(pattern=DURATION, min_length=2, max_length=20)]
"""A duration in hours, minutes and seconds, such as `10m` or `1h30m`."""
HttpUrl = Annotated[str, StringConstraints(pattern=r"^https?://[^\s/$?#]+[^\s]*$", min_length=8, max_length=1024)]
"""A URL with the scheme http or https."""
HttpsUrl = Annotated[str, StringConstraints(pattern=r"^https://[^\s/$?#]+[^\s]*$", min_length=9, max_length=1024)]
"""A URL with the scheme https."""
Text = Annotated[str, StringConstraints(min_length=1, max_length=256)]
"""A short free text."""
Port = Annotated[int, Field(ge=1, le=65535)]
"""A TCP or UDP port."""


class Model(BaseModel):
    """The base of every API type: camelCase outside, snake_case inside, immutable.

    Unknown fields are ignored, since an older operator may meet an object of a newer CRD; `visio-operator check` refuses them.
    """

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True, extra="ignore")


def cel(*rules: tuple[str, str]) -> dict[str, Any]:
    """Attach CEL rules to a field or a model as `json_schema_extra`; each rule is (expression, message).

    The message says what is wrong and what to do, since it is what the user reads at admission.
    """
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}


class SecretRef(Model):
    """A Secret of the same namespace and, where one value is meant, the key inside it."""

    name: ObjectName = Field(description="Name of a Secret in the namespace of this object.")
    key: SecretKey | None = Field(None, description="Key inside the Secret; the default is named at the field.")


class Bounds(Model):
    """How many replicas a part may have."""

    model_config = ConfigDict(
        json_schema_extra=cel(("self.min <= self.max", "min must not exceed max; raise max or lower min"))
    )

    min: Annotated[int, Field(ge=1, le=500)] = Field(2, description="Replicas that always run.")
    max: Annotated[int, Field(ge=1, le=500)] = Field(10, description="Replicas that are never exceeded.")


class Embedded(Model):
    """Run this service inside the platform, for evaluation only: one replica, no backup."""

    storage: Quantity = Field("10Gi", description="Size of the data volume.")
