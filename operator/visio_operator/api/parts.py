"""The parts that are sized and bought: users, SFU, recording, transcription, captions, GPU pools, capacity."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from .fields import MIN_MAX, Duration, Model, ObjectName, Rule, Text, Word, pattern, seconds
from .weights import Weights

DATE = pattern(r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])$", "use year-month-day, such as 2026-03-31")
INSTANT = pattern(
    r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$",
    "use a date, a time with seconds and an offset, such as 2026-03-31T09:00:00+02:00",
)
PRICE = pattern(r"^[0-9]{1,6}(\.[0-9]{1,4})?$", "use euros with a dot, in quotes, such as '2.35'")
PROBABILITY = pattern(r"^0(\.[0-9]{1,6})?$", "use a share below 1, in quotes, such as '0.0005'")


def _is_date(value: str) -> str:
    try:
        date.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"there is no such day: {error}") from error
    return value


def _is_instant(value: str) -> str:
    try:
        datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError(f"there is no such time: {error}") from error
    return value


def _text_with_format(expression: str, form: str, longest: int) -> WithJsonSchema:
    schema: dict[str, Any] = {"type": "string", "format": form, "pattern": expression, "maxLength": longest}
    return WithJsonSchema(schema)


Date = Annotated[
    str,
    StringConstraints(pattern=DATE, max_length=10),
    AfterValidator(_is_date),
    _text_with_format(DATE, "date", 10),
]
"""A calendar date, ISO 8601."""
Instant = Annotated[
    str,
    StringConstraints(pattern=INSTANT, max_length=25),
    AfterValidator(_is_instant),
    _text_with_format(INSTANT, "date-time", 25),
]
"""A point in time with seconds and its offset, RFC 3339."""


def _pool_is_named(what: str) -> Rule:
    return Rule(
        "!self.enabled || has(self.pool)",
        f"pool is required when {what} enabled",
        "name an entry of gpuPools, or disable it",
        lambda self: not self.enabled or self.pool is not None,
    )


class Wave(Model):
    """A planned growth of the number of users."""

    date: Date = Field(description="Day from which these users are expected.")
    add: Annotated[int, Field(ge=1, le=10_000_000)] = Field(description="Users added on that day.")
    name: Text | None = Field(None, description="Name of the administration that joins.")


class Users(Model):
    """How many people the platform serves; the first sizing comes from it."""

    regular: Annotated[int, Field(ge=1, le=10_000_000)] = Field(100, description="People who use it regularly today.")
    waves: Annotated[list[Wave], Field(max_length=50)] = Field(default=[], description="Planned growth, in any order.")


class Encoding(Model):
    """How recordings of the picture are encoded; smaller figures save storage and recorder time."""

    width: Annotated[int, Field(ge=320, le=3840)] = Field(1280, description="Width in pixels.")
    height: Annotated[int, Field(ge=180, le=2160)] = Field(720, description="Height in pixels.")
    framerate: Annotated[int, Field(ge=5, le=60)] = Field(30, description="Pictures a second.")
    video_kbps: Annotated[int, Field(ge=100, le=20_000)] = Field(3000, description="Kilobits a second of the picture.")
    audio_kbps: Annotated[int, Field(ge=16, le=512)] = Field(128, description="Kilobits a second of the sound.")


class Recording(Model):
    """Recording of meetings by LiveKit egress."""

    rules = (
        Rule(
            "self.spare <= self.max",
            "spare exceeds max",
            "raise max or lower spare",
            lambda self: self.spare <= self.max,
            "spare",
        ),
        Rule(
            "!has(self.maxDuration) || duration(self.maxDuration) >= duration('1m')",
            "maxDuration is below one minute",
            "ask for at least 1m, or remove it",
            lambda self: self.max_duration is None or seconds(self.max_duration) >= 60,
            "maxDuration",
        ),
    )

    enabled: bool = Field(True, description="Offer recording.")
    spare: Annotated[int, Field(ge=1, le=100)] = Field(1, description="Idle recorders kept ready.")
    max: Annotated[int, Field(ge=1, le=500)] = Field(10, description="Recorders that are never exceeded.")
    max_duration: Duration | None = Field(
        None, description="A recording ends by itself after this time; unset records until somebody stops it."
    )
    expiration_days: Annotated[int, Field(ge=1, le=3650)] | None = Field(
        None,
        description="Days after which people are told that a recording is gone; the bucket's own lifecycle rule has to "
        "delete it after as many. Unset keeps recordings.",
    )
    encoding: Encoding | None = Field(None, description="Encoding; unset is 1280x720 at 30 pictures a second.")


class Transcription(Model):
    """Transcription of recordings by WhisperX with pyannote, one job per GPU."""

    rules = (
        MIN_MAX,
        _pool_is_named("transcription is"),
        Rule(
            "!self.enabled || has(self.huggingFaceSecret)",
            "huggingFaceSecret is required when transcription is enabled, since the diarization models are gated",
            "name a Secret whose key `token` holds a Hugging Face token",
            lambda self: not self.enabled or self.hugging_face_secret is not None,
        ),
        Rule(
            "duration(self.startWithin) >= duration('1m')",
            "startWithin is below one minute, which no GPU node can keep",
            "ask for at least 1m",
            lambda self: seconds(self.start_within) >= 60,
            "startWithin",
        ),
        Rule(
            "!self.enabled || self.max > 0",
            "max is 0 while transcription is enabled, so nothing would ever be transcribed",
            "set max to at least 1, or disable transcription",
            lambda self: not self.enabled or self.max > 0,
            "max",
        ),
    )

    enabled: bool = Field(False, description="Offer transcription.")
    model: Word = Field("large-v2", description="Whisper model name.")
    start_within: Duration = Field("10m", description="A recording's transcription starts within this time.")
    pool: ObjectName | None = Field(None, description="GPU pool, by its name or its group in gpuPools.")
    hugging_face_secret: ObjectName | None = Field(
        None, description="Secret with the key `token` for the gated diarization models."
    )
    weights: Weights | None = Field(
        None, description="Models that are there already; unset downloads them when a pod starts."
    )
    min: Annotated[int, Field(ge=0, le=500)] = Field(0, description="Workers that always run.")
    max: Annotated[int, Field(ge=0, le=500)] = Field(4, description="Workers that are never exceeded.")


class Captions(Model):
    """Live captions by Kyutai's streaming speech-to-text."""

    rules = (
        MIN_MAX,
        _pool_is_named("captions are"),
        Rule(
            "!self.enabled || self.max > 0",
            "max is 0 while captions are enabled, so nobody would ever get captions",
            "set max to at least 1, or disable captions",
            lambda self: not self.enabled or self.max > 0,
            "max",
        ),
    )

    enabled: bool = Field(False, description="Offer live captions.")
    slots_per_gpu: Annotated[int, Field(ge=1, le=1024)] = Field(64, description="Streams one GPU carries at real time.")
    pool: ObjectName | None = Field(None, description="GPU pool, by its name or its group in gpuPools.")
    weights: Weights | None = Field(
        None, description="Models that are there already; unset downloads them when a pod starts."
    )
    min: Annotated[int, Field(ge=0, le=500)] = Field(0, description="Servers that always run.")
    max: Annotated[int, Field(ge=0, le=500)] = Field(4, description="Servers that are never exceeded.")


class GpuPool(Model):
    """A pool of GPU nodes that the operator may grow and shrink."""

    rules = (
        MIN_MAX,
        Rule(
            "!has(self.group) || self.provider in ['oks', 'ovh', 'clusterAPI']",
            "only pools whose provider is told a size can be in a group",
            "remove it, or set provider to oks, ovh or clusterAPI",
            lambda self: self.group is None or self.provider in ("oks", "ovh", "clusterAPI"),
            "group",
        ),
        Rule(
            "!has(self.namespace) || self.provider == 'clusterAPI'",
            "only a MachineDeployment has a namespace",
            "remove it, or set provider clusterAPI",
            lambda self: self.namespace is None or self.provider == "clusterAPI",
            "namespace",
        ),
        Rule(
            "self.provider != 'ovh' || self.max <= 100",
            "OVHcloud sells at most 100 nodes in one pool",
            "lower it and add a second pool",
            lambda self: self.provider != "ovh" or self.max <= 100,
            "max",
        ),
    )

    name: ObjectName = Field(description="Name of the pool, and of the provider's pool object.")
    group: ObjectName | None = Field(
        None,
        description="Pools of one group serve together; parts then name the group in their `pool`. Many pools of one "
        "node each can be returned one by one, and where one is out of stock the next one sells.",
    )
    provider: Literal["oks", "clusterAPI", "ovh", "karpenter", "clusterAutoscaler", "none"] = Field(
        "none", description="Who sells the nodes; with `none` the nodes are somebody else's business."
    )
    namespace: ObjectName | None = Field(
        None, description="Namespace of the MachineDeployment (clusterAPI); that of the VisioDeployment when unset."
    )
    node_type: Word | None = Field(None, description="The provider's machine type.")
    gpu_model: Word | None = Field(None, description="GPU model, such as nvidia-l40.")
    min: Annotated[int, Field(ge=0, le=500)] = Field(0, description="Nodes that are always kept.")
    max: Annotated[int, Field(ge=0, le=500)] = Field(4, description="Nodes that are never exceeded.")
    zone: Word | None = Field(None, description="Zone of the nodes.")
    price_per_hour: Annotated[str, StringConstraints(pattern=PRICE, max_length=11)] | None = Field(
        None, description="Euros for one node and hour; unset is reported as unknown."
    )

    @property
    def known_as(self) -> str:
        """What parts call it in their `pool`: its group, or its own name."""
        return self.group or self.name


class CalendarEntry(Model):
    """Announced meetings that need captions."""

    rules = (
        Rule(
            "self.start < self.end",
            "end is not after start",
            "correct one of the two",
            lambda self: datetime.fromisoformat(self.start) < datetime.fromisoformat(self.end),
            "end",
        ),
    )

    start: Instant = Field(description="Start of the meetings.")
    end: Instant = Field(description="End of the meetings.")
    streams: Annotated[int, Field(ge=1, le=1_000_000)] = Field(description="Captioned participants expected.")
    name: Text | None = Field(None, description="What it is, for the report.")


class Capacity(Model):
    """How GPU capacity follows the load."""

    mode: Literal["Auto", "Propose", "ForecastOnly"] = Field(
        "Auto",
        description="Auto: act. Propose: write changes of node pools to status and wait for approval. "
        "ForecastOnly: write them to status and never make them.",
    )
    blocked_target: Annotated[str, StringConstraints(pattern=PROBABILITY, max_length=8)] = Field(
        "0.0005", description="Share of caption streams that may find no slot at once."
    )
    calendar: Annotated[list[CalendarEntry], Field(max_length=200)] = Field(
        default=[], description="Announced meetings."
    )
    budget_per_day: Annotated[int, Field(ge=1, le=10_000_000)] | None = Field(
        None, description="Euros that GPU nodes may cost in one day."
    )
