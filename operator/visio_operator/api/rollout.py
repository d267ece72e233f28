"""What the platform must keep to and what may be changed about its parts: sovereignty and overrides."""

from __future__ import annotations

from ipaddress import ip_interface
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fields import Model, Quantity, Rule, Unique, Word, amount, pattern

CIDR = pattern(r"^[0-9a-fA-F.:]+/(0|[1-9][0-9]{0,2})$", "use an address range such as 192.0.2.0/24")
REGISTRY = pattern(
    r"^[a-z0-9][-a-z0-9.]*(:[0-9]{1,5})?(/[a-z0-9]+([-._]+[a-z0-9]+)*)*$",
    "use a registry host with an optional path and no scheme, such as registry.example.fr/visio",
)
LABEL_KEY = pattern(
    r"^([a-z0-9][-a-z0-9.]{0,251}[a-z0-9]/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$",
    "use a label key such as topology.kubernetes.io/zone",
)
LABEL_VALUE = pattern(
    r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$",
    "use up to 63 letters, digits, dashes, dots and underscores",
)
RESOURCE = pattern(r"^(cpu|memory|ephemeral-storage)$", "only cpu, memory and ephemeral-storage can be set")
VARIABLE = pattern(r"^[A-Z_][A-Z0-9_]*$", "use capital letters, digits and underscores")

LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY, max_length=316)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]
Amounts = Annotated[dict[Annotated[str, StringConstraints(pattern=RESOURCE)], Quantity], Field(max_length=3)]

_SECRET_ENDINGS = ("PASSWORD", "SECRET", "SECRET_KEY", "API_KEY", "PRIVATE_KEY", "_TOKEN")


def is_cidr(text: str) -> bool:
    """Whether a text is an address range, as CEL's isCIDR says."""
    try:
        address = ip_interface(text).ip
    except ValueError:
        return False
    return address.version == 4 or address.ipv4_mapped is None


class EgressRule(Model):
    """An address range outside the cluster that the platform may reach."""

    rules = (
        Rule(
            "isCIDR(self.cidr)",
            "cidr is no address range",
            "use an address and a prefix length, such as 192.0.2.0/24",
            lambda self: is_cidr(self.cidr),
            "cidr",
        ),
    )

    cidr: Annotated[str, StringConstraints(pattern=CIDR, max_length=43)] = Field(description="Address range.")
    ports: Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(max_length=20), Unique()] = Field(
        default=[], description="TCP ports; empty means all."
    )


class Sovereignty(Model):
    """Rules about where images come from, where nodes are and what may be reached."""

    rules = (
        Rule(
            "self.profile != 'SecNumCloud' || self.registries.size() > 0",
            "profile SecNumCloud needs a registry of your own, since public ones are outside its reach",
            "name it in registries and copy the images there",
            lambda self: self.profile != "SecNumCloud" or bool(self.registries),
            "registries",
        ),
        Rule(
            "self.profile != 'SecNumCloud' || self.egressAllow.all(e, !e.cidr.endsWith('/0'))",
            "profile SecNumCloud does not allow egress to every address",
            "name the ranges that are needed instead of a /0 range",
            lambda self: self.profile != "SecNumCloud" or all(not e.cidr.endswith("/0") for e in self.egress_allow),
            "egressAllow",
        ),
    )

    profile: Literal["SecNumCloud", "None"] = Field("None", description="A set of defaults for the fields below.")
    registries: Annotated[
        list[Annotated[str, StringConstraints(pattern=REGISTRY, max_length=253)]], Field(max_length=20), Unique()
    ] = Field(
        default=[],
        description="Registries or prefixes images may come from; the first one is used for all images. Empty: any.",
    )
    regions: Annotated[list[Word], Field(max_length=20), Unique()] = Field(
        default=[], description="Regions nodes may be in. Empty: any."
    )
    egress_allow: Annotated[list[EgressRule], Field(max_length=50)] = Field(
        default=[], description="What pods may reach outside the cluster besides the endpoints of this object."
    )
    require_digests: bool = Field(False, description="Refuse images without a digest.")


class Toleration(Model):
    """A taint that pods of the part may run beside."""

    rules = (
        Rule(
            "self.operator == 'Equal' || !has(self.value)",
            "value has no meaning with operator Exists",
            "remove value, or set operator to Equal",
            lambda self: self.operator == "Equal" or self.value is None,
        ),
        Rule(
            "self.operator == 'Exists' || has(self.key)",
            "key is required with operator Equal",
            "name the taint's key",
            lambda self: self.operator == "Exists" or self.key is not None,
        ),
    )

    key: LabelKey | None = Field(None, description="Taint key; without it every taint is meant.")
    operator: Literal["Exists", "Equal"] = Field("Exists", description="How the value is compared.")
    value: LabelValue | None = Field(None, description="Taint value, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(None, description="Taint effect.")


class Resources(Model):
    """Requests and limits of the part's main container."""

    rules = (
        Rule(
            "self.requests.all(k, !(k in self.limits)"
            " || quantity(self.requests[k]).compareTo(quantity(self.limits[k])) <= 0)",
            "a request exceeds its limit",
            "raise the limit or lower the request",
            lambda self: all(
                amount(value) <= amount(self.limits[key]) for key, value in self.requests.items() if key in self.limits
            ),
            "requests",
        ),
    )

    requests: Amounts = Field(default={}, description="Requested amounts of cpu, memory and ephemeral-storage.")
    limits: Amounts = Field(default={}, description="Limits of cpu, memory and ephemeral-storage.")


class EnvVar(Model):
    """An environment variable with a literal value."""

    rules = (
        Rule(
            f"!self.name.matches('({'|'.join(_SECRET_ENDINGS)})$')",
            "this name is one of a secret, and the value would be readable by everyone who may read this object",
            "use the secretRef of the service that it belongs to",
            lambda self: not self.name.endswith(_SECRET_ENDINGS),
            "name",
        ),
        Rule(
            "!self.name.startsWith('LD_')",
            "variables of the dynamic linker could replace code inside the container",
            "remove it",
            lambda self: not self.name.startswith("LD_"),
            "name",
        ),
    )

    name: Annotated[str, StringConstraints(pattern=VARIABLE, max_length=128)] = Field(description="Name.")
    value: Annotated[str, StringConstraints(max_length=4096)] = Field(description="Value, taken literally.")


class PartOverride(Model):
    """What may be changed about one part; privileges are not among it."""

    part: Literal[
        "backend", "celery-backend", "frontend", "sfu", "turn", "egress", "summary", "summarize", "call-webhook",
        "transcription", "captions", "subtitles", "metadata", "postgres", "redis", "garage",
    ] = Field(description="The part.")  # fmt: skip
    resources: Resources | None = Field(None, description="Requests and limits of the main container.")
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=10)] = Field(
        default={}, description="Node labels."
    )
    tolerations: Annotated[list[Toleration], Field(max_length=10)] = Field(default=[], description="Tolerated taints.")
    extra_env: Annotated[list[EnvVar], Field(max_length=50), Unique("name")] = Field(
        default=[], description="Further variables."
    )
