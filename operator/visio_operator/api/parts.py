"""The parts of the platform that are sized, bought and upgraded: SFU, recording, transcription, captions, GPU pools."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from .fields import Duration, Model, ObjectName, Quantity, Text, cel

Date = Annotated[str, StringConstraints(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", max_length=10)]
"""A calendar date, ISO 8601."""
Instant = Annotated[
    str,
    StringConstraints(
        pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})$", max_length=32
    ),
]
"""A point in time with its offset, RFC 3339."""
_MIN_MAX = ("self.min <= self.max", "min must not exceed max; raise max or lower min")


class Wave(Model):
    """A planned growth of the number of users."""

    date: Date = Field(description="Day from which these users are expected.")
    add: Annotated[int, Field(ge=1, le=10_000_000)] = Field(description="Users added on that day.")
    name: Text | None = Field(None, description="Name of the administration that joins.")


class Users(Model):
    """How many people the platform serves; the first sizing comes from it."""

    regular: Annotated[int, Field(ge=1, le=10_000_000)] = Field(100, description="People who use it regularly today.")
    waves: Annotated[list[Wave], Field(max_length=50)] = Field(default=[], description="Planned growth, in any order.")


class Sfu(Model):
    """The LiveKit media server."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            _MIN_MAX,
            ("!self.hostNetwork || self.network == 'udpMux'", "hostNetwork is possible with network udpMux only"),
        )
    )
    network: Literal["udpMux", "nodePorts", "turnTLS"] = Field(
        "udpMux", description="How media reach the servers: one UDP port, node ports, or TURN over TLS on 443."
    )
    host_network: bool = Field(
        False,
        description="Use the node's network. Such pods are refused by PodSecurity `restricted`; choose it knowingly.",
    )
    participants_per_core: Annotated[int, Field(ge=1, le=1000)] = Field(
        25, description="Participants one core carries."
    )
    min: Annotated[int, Field(ge=1, le=200)] = Field(2, description="Servers that always run.")
    max: Annotated[int, Field(ge=1, le=200)] = Field(10, description="Servers that are never exceeded.")
    drain_deadline: Duration | None = Field(
        None, description="Longest wait for rooms to end; unset waits without limit."
    )


class Recording(Model):
    """Recording of meetings by LiveKit egress."""

    model_config = ConfigDict(
        json_schema_extra=cel(("self.spare <= self.max", "spare must not exceed max; raise max or lower spare"))
    )
    enabled: bool = Field(True, description="Offer recording.")
    spare: Annotated[int, Field(ge=1, le=100)] = Field(1, description="Idle recorders kept ready.")
    max: Annotated[int, Field(ge=1, le=500)] = Field(10, description="Recorders that are never exceeded.")


class Transcription(Model):
    """Transcription of recordings by WhisperX with pyannote, one job per GPU."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            _MIN_MAX, ("!self.enabled || has(self.pool)", "pool is required when transcription is enabled")
        )
    )
    enabled: bool = Field(False, description="Offer transcription.")
    model: Text = Field("large-v2", description="Whisper model name.")
    start_within: Duration = Field("10m", description="A recording's transcription starts within this time.")
    pool: ObjectName | None = Field(None, description="GPU pool, by its name in gpuPools.")
    hugging_face_secret: ObjectName | None = Field(
        None, description="Secret with the key `token` for the gated diarization models."
    )
    min: Annotated[int, Field(ge=0, le=500)] = Field(0, description="Workers that always run.")
    max: Annotated[int, Field(ge=0, le=500)] = Field(4, description="Workers that are never exceeded.")


class Captions(Model):
    """Live captions by Kyutai's streaming speech-to-text."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            _MIN_MAX, ("!self.enabled || has(self.pool)", "pool is required when captions are enabled")
        )
    )
    enabled: bool = Field(False, description="Offer live captions.")
    slots_per_gpu: Annotated[int, Field(ge=1, le=1024)] = Field(64, description="Streams one GPU carries at real time.")
    pool: ObjectName | None = Field(None, description="GPU pool, by its name in gpuPools.")
    min: Annotated[int, Field(ge=0, le=500)] = Field(0, description="Servers that always run.")
    max: Annotated[int, Field(ge=0, le=500)] = Field(4, description="Servers that are never exceeded.")


class GpuPool(Model):
    """A pool of GPU nodes that the operator may grow and shrink."""

    model_config = ConfigDict(json_schema_extra=cel(_MIN_MAX))
    name: ObjectName = Field(description="Name of the pool, and of the provider's pool object.")
    provider: Literal["oks", "clusterAPI", "ovh", "karpenter", "clusterAutoscaler", "none"] = Field(
        "none", description="Who sells the nodes; with `none` the nodes are somebody else's business."
    )
    node_type: Text | None = Field(None, description="The provider's machine type.")
    gpu_model: Text | None = Field(None, description="GPU model, such as nvidia-l40.")
    min: Annotated[int, Field(ge=0, le=500)] = Field(0, description="Nodes that are always kept.")
    max: Annotated[int, Field(ge=0, le=500)] = Field(4, description="Nodes that are never exceeded.")
    zone: Text | None = Field(None, description="Zone of the nodes.")
    price_per_hour: Annotated[str, StringConstraints(pattern=r"^[0-9]+(\.[0-9]{1,4})?$", max_length=12)] | None = Field(
        None, description="Euros for one node and hour; unset is reported as unknown."
    )


class CalendarEntry(Model):
    """Announced meetings that need captions."""

    start: Instant = Field(description="Start of the meetings.")
    end: Instant = Field(description="End of the meetings.")
    streams: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Captioned participants expected.")
    name: Text | None = Field(None, description="What it is, for the report.")


class Capacity(Model):
    """How GPU capacity follows the load."""

    mode: Literal["Auto", "Propose"] = Field(
        "Auto", description="Act, or write the plan to status and wait for approval."
    )
    blocked_target: Annotated[str, StringConstraints(pattern=r"^0(\.[0-9]{1,6})?$", max_length=8)] = Field(
        "0.0005", description="Share of caption streams that may find no slot at once."
    )
    calendar: Annotated[list[CalendarEntry], Field(max_length=200)] = Field(
        default=[], description="Announced meetings."
    )
    budget_per_day: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Euros that GPU nodes may cost in one day."
    )


class Window(Model):
    """A time in which upgrades may start."""

    days: Annotated[
        list[Literal["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"]], Field(min_length=1, max_length=7)
    ] = Field(description="Days of the week.")
    start: Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", max_length=5)] = Field(
        description="Time of day."
    )
    duration: Duration = Field(description="Length of the window.")
    time_zone: Text = Field("Europe/Paris", description="IANA time zone of the window.")


class Upgrade(Model):
    """How a new version is rolled out."""

    mode: Literal["Auto", "Approve"] = Field("Auto", description="Upgrade by itself, or wait for approval.")
    windows: Annotated[list[Window], Field(max_length=20)] = Field(default=[], description="Empty means at any time.")
    ring: Literal["pilot", "early", "broad"] = Field("broad", description="Later rings wait for earlier ones.")
    soak: Duration = Field("30m", description="Quiet time after a rung before the next one.")
    canary: bool = Field(True, description="Try one new media server before the others.")
    on_failure: Literal["Rollback", "Hold"] = Field("Rollback", description="What follows a failed rung.")


class EgressRule(Model):
    """An address range outside the cluster that the platform may reach."""

    cidr: Annotated[str, StringConstraints(pattern=r"^[0-9a-fA-F.:]+/[0-9]{1,3}$", max_length=43)] = Field(
        description="Address range."
    )
    ports: Annotated[list[Annotated[int, Field(ge=1, le=65535)]], Field(max_length=20)] = Field(
        default=[], description="TCP ports; empty means all."
    )


class Sovereignty(Model):
    """Rules about where images come from, where nodes are and what may be reached."""

    profile: Literal["SecNumCloud", "None"] = Field("None", description="A set of defaults for the fields below.")
    registries: Annotated[list[Text], Field(max_length=20)] = Field(
        default=[],
        description="Registries or prefixes images may come from; the first one is used for all images. Empty: any.",
    )
    regions: Annotated[list[Text], Field(max_length=20)] = Field(
        default=[], description="Regions nodes may be in. Empty: any."
    )
    egress_allow: Annotated[list[EgressRule], Field(max_length=50)] = Field(
        default=[], description="What pods may reach outside the cluster besides the endpoints of this object."
    )
    require_digests: bool = Field(False, description="Refuse images without a digest.")


class Toleration(Model):
    """A taint that pods of the part may run beside."""

    key: Text | None = Field(None, description="Taint key.")
    operator: Literal["Exists", "Equal"] = Field("Exists", description="How the value is compared.")
    value: Text | None = Field(None, description="Taint value, with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(None, description="Taint effect.")


class Resources(Model):
    """Requests and limits of the part's main container."""

    requests: Annotated[dict[Text, Quantity], Field(max_length=10)] = Field(
        default={}, description="Requested amounts."
    )
    limits: Annotated[dict[Text, Quantity], Field(max_length=10)] = Field(default={}, description="Limits.")


class EnvVar(Model):
    """An environment variable with a literal value."""

    name: Annotated[str, StringConstraints(pattern=r"^[A-Z_][A-Z0-9_]*$", max_length=128)] = Field(description="Name.")
    value: Annotated[str, StringConstraints(max_length=4096)] = Field(description="Value, taken literally.")


class PartOverride(Model):
    """What may be changed about one part; privileges are not among it."""

    part: Literal[
        "backend", "celery-backend", "frontend", "sfu", "turn", "egress", "summary", "summarize", "call-webhook",
        "transcription", "captions", "subtitles", "metadata", "postgres", "redis", "garage",
    ] = Field(description="The part.")  # fmt: skip
    resources: Resources | None = Field(None, description="Requests and limits of the main container.")
    node_selector: Annotated[dict[Text, Text], Field(max_length=10)] = Field(default={}, description="Node labels.")
    tolerations: Annotated[list[Toleration], Field(max_length=10)] = Field(default=[], description="Tolerated taints.")
    extra_env: Annotated[list[EnvVar], Field(max_length=50)] = Field(default=[], description="Further variables.")
