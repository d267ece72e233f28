"""The VisioDeployment object: one video-conferencing platform."""

from __future__ import annotations

import re
from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .branding import Branding, Rooms
from .drains import Drain
from .fields import Bounds, HostName, Model, ObjectName, Rule, Unique, pattern
from .integrations import ExternalApi, RoomKits, Sentry, Telephony
from .keys import Livekit, Secrets
from .media import Sfu, Workers
from .parts import Capacity, Captions, GpuPool, Recording, Transcription, Users
from .rollout import PartOverride, Sovereignty
from .routes import CaBundle, Gateway
from .services import Database, Docs, Llm, Mail, ObjectStorage, Oidc, Redis, Superuser
from .signals import Signals
from .upgrades import Upgrade

GROUP = "visio-operator.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "VisioDeployment"
PLURAL = "visiodeployments"
SHORT_NAME = "vd"

RELEASE = pattern(r"^[0-9]{1,4}\.[0-9]{1,4}\.[0-9]{1,4}$", "use three numbers such as 1.27.0, without a v")

ReleaseVersion = Annotated[str, StringConstraints(pattern=RELEASE, max_length=14)]
"""A Visio release, such as 1.27.0."""


def is_ip(text: str) -> bool:
    """Whether a text is an IP address, as CEL's isIP says."""
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _has_pool(spec: VisioDeploymentSpec, name: str | None) -> bool:
    return name is None or any(pool.known_as == name for pool in spec.gpu_pools)


def _kept_price(spec: VisioDeploymentSpec) -> float:
    """Euros a day of the nodes that are always kept, as far as prices are known."""
    return sum(24 * pool.min * float(pool.price_per_hour or 0) for pool in spec.gpu_pools)


class VisioDeploymentSpec(Model):
    """What the platform shall be."""

    rules = (
        Rule(
            "!has(self.captions.pool) || self.gpuPools.exists(p,"
            " has(p.group) ? p.group == self.captions.pool : p.name == self.captions.pool)",
            "captions.pool names no entry of gpuPools, and no group of them",
            "add the pool or correct the name",
            lambda self: _has_pool(self, self.captions.pool),
            "captions.pool",
        ),
        Rule(
            "!has(self.transcription.pool) || self.gpuPools.exists(p,"
            " has(p.group) ? p.group == self.transcription.pool : p.name == self.transcription.pool)",
            "transcription.pool names no entry of gpuPools, and no group of them",
            "add the pool or correct the name",
            lambda self: _has_pool(self, self.transcription.pool),
            "transcription.pool",
        ),
        Rule(
            "!has(self.capacity.budgetPerDay) || self.gpuPools.map(p, !has(p.pricePerHour) ? 0.0"
            " : 24.0 * double(p.min) * double(p.pricePerHour)).sum() <= double(self.capacity.budgetPerDay)",
            "capacity.budgetPerDay does not pay for the nodes that are always kept",
            "raise it, or lower min of the pools",
            lambda self: self.capacity.budget_per_day is None or _kept_price(self) <= self.capacity.budget_per_day,
            "capacity.budgetPerDay",
        ),
        Rule(
            "!has(self.livekitHost) || self.livekitHost != self.host",
            "livekitHost equals host, and both are served at the path /",
            "choose another host, or remove it for livekit.<host>",
            lambda self: self.livekit_host != self.host,
            "livekitHost",
        ),
        Rule(
            "!isIP(self.host)",
            "host is an address, and browsers need a certificate for a name",
            "use a host name",
            lambda self: not is_ip(self.host),
            "host",
        ),
        Rule(
            "!has(self.drain.deadline) || !has(self.sfu.drainDeadline)",
            "drain.deadline and sfu.drainDeadline say the same thing twice",
            "remove sfu.drainDeadline",
            lambda self: self.drain.deadline is None or self.sfu.drain_deadline is None,
            "drain.deadline",
        ),
        Rule(
            "!self.transcription.enabled || self.recording.enabled",
            "transcription needs recording",
            "enable recording, or disable transcription",
            lambda self: not self.transcription.enabled or self.recording.enabled,
            "transcription.enabled",
        ),
    )

    version: ReleaseVersion = Field(description="Visio release; one of the release ladder.")
    host: HostName = Field(description="Public host of the web page and the API.")
    livekit_host: HostName | None = Field(None, description="Public host of LiveKit; defaults to livekit.<host>.")
    users: Users = Field(default=Users(), description="How many people the platform serves.")
    oidc: Oidc = Field(description="Sign-in.")
    database: Database = Field(description="PostgreSQL.")
    redis: Redis = Field(description="Redis.")
    object_storage: ObjectStorage = Field(description="S3-compatible storage.")
    mail: Mail | None = Field(None, description="SMTP relay; without it no mail is sent.")
    docs: Docs | None = Field(None, description="La Suite Docs, where transcripts are delivered.")
    llm: Llm | None = Field(None, description="Language model for summaries; without it none are written.")
    superuser: Superuser | None = Field(None, description="First administrator; without it none is made.")
    secrets: Secrets = Field(default=Secrets(), description="Keys of the platform's own.")
    livekit: Livekit = Field(default=Livekit(), description="LiveKit's key pair.")
    branding: Branding = Field(default=Branding(), description="Names and looks.")
    rooms: Rooms = Field(default=Rooms(), description="Who may open rooms and come in.")
    telephony: Telephony | None = Field(None, description="Dialling in by telephone; without it there is none.")
    room_kits: RoomKits | None = Field(None, description="Meeting-room systems; without it they cannot join.")
    external_api: ExternalApi | None = Field(None, description="API for other applications; without it there is none.")
    sentry: Sentry | None = Field(None, description="Reports of errors; without it none are sent.")
    gateway: Gateway = Field(description="Routes from outside.")
    ca_bundle: CaBundle | None = Field(
        None, description="Certificate authorities that all pods trust; without it, those of their images."
    )
    sfu: Sfu = Field(default=Sfu(), description="Media servers.")
    drain: Drain = Field(default=Drain(), description="What becomes of calls whose media server has to go.")
    api: Bounds = Field(default=Bounds(), description="Replicas of the API.")
    frontend: Bounds = Field(default=Bounds(), description="Replicas of the web front end.")
    workers: Workers = Field(default=Workers(), description="Replicas of each queue worker.")
    recording: Recording = Field(default=Recording(), description="Recording.")
    transcription: Transcription = Field(default=Transcription(), description="Transcription of recordings.")
    captions: Captions = Field(default=Captions(), description="Live captions.")
    gpu_pools: Annotated[list[GpuPool], Field(max_length=32), Unique("name")] = Field(
        default=[], description="Pools of GPU nodes."
    )
    capacity: Capacity = Field(default=Capacity(), description="How GPU capacity follows the load.")
    signals: Signals = Field(default=Signals(), description="Where the signals of load are read.")
    upgrade: Upgrade = Field(default=Upgrade(), description="How a new version is rolled out.")
    sovereignty: Sovereignty = Field(default=Sovereignty(), description="Where things come from and may go.")
    overrides: Annotated[list[PartOverride], Field(max_length=20), Unique("part")] = Field(
        default=[], description="Per part: resources, placement and further environment."
    )
    emergency_stop: bool = Field(
        False, description="The operator writes nothing but status: no rung, no scaling, no repair. Calls go on."
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain", description="What becomes of data volumes and generated secrets when this object is deleted."
    )
    image_pull_secrets: Annotated[list[ObjectName], Field(max_length=10), Unique()] = Field(
        default=[], description="Secrets with registry credentials for every pod."
    )

    @property
    def livekit_public_host(self) -> str:
        """The host under which browsers reach LiveKit."""
        return self.livekit_host or f"livekit.{self.host}"


NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
"""Names from which Service names can be made: RFC 1035 labels."""


class ObjectMeta(Model):
    """What the API checks of an object's metadata."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)] = Field(description="Name of the object.")


class VisioDeployment(Model):
    """One Visio platform: web page and API, LiveKit media servers, recording, GPU transcription and live captions."""

    rules = (
        Rule(
            "self.metadata.name.size() <= 40",
            "metadata.name is longer than 40 characters, and the names of its objects are made from it",
            "choose a shorter name",
            lambda self: len(self.metadata.name) <= 40,
            "metadata.name",
        ),
        Rule(
            "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
            "metadata.name is no name for Services",
            "use lower-case letters, digits and dashes, beginning with a letter",
            lambda self: NAME.fullmatch(self.metadata.name) is not None,
            "metadata.name",
        ),
    )

    metadata: ObjectMeta = Field(description="Standard object metadata.")
    spec: VisioDeploymentSpec = Field(description="What the platform shall be.")
