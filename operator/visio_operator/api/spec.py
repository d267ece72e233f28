"""The VisioDeployment object: one video-conferencing platform."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field, StringConstraints

from .fields import Bounds, HostName, Model, ObjectName, cel
from .parts import (
    Capacity,
    Captions,
    GpuPool,
    PartOverride,
    Recording,
    Sfu,
    Sovereignty,
    Transcription,
    Upgrade,
    Users,
)
from .services import Database, Docs, Gateway, Llm, Mail, ObjectStorage, Oidc, Redis, Superuser

GROUP = "visio-operator.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"
KIND = "VisioDeployment"
PLURAL = "visiodeployments"
SHORT_NAME = "vd"

ReleaseVersion = Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+\.[0-9]+$", max_length=20)]
"""A Visio release, such as 1.27.0."""


class VisioDeploymentSpec(Model):
    """What the platform shall be."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "!has(self.captions) || !has(self.captions.pool) || self.gpuPools.exists(p, p.name == self.captions.pool)",
                "captions.pool names no entry of gpuPools; add the pool or correct the name",
            ),
            (
                "!has(self.transcription) || !has(self.transcription.pool)"
                " || self.gpuPools.exists(p, p.name == self.transcription.pool)",
                "transcription.pool names no entry of gpuPools; add the pool or correct the name",
            ),
            (
                "!has(self.livekitHost) || self.livekitHost != self.host",
                "livekitHost must differ from host; both are served at the path /",
            ),
            (
                "!self.transcription.enabled || self.recording.enabled",
                "transcription needs recording; enable recording or disable transcription",
            ),
            (
                "!self.transcription.enabled || has(self.transcription.huggingFaceSecret)",
                "transcription.huggingFaceSecret is required: the diarization models are gated",
            ),
        )
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
    gateway: Gateway = Field(description="Routes from outside.")
    sfu: Sfu = Field(default=Sfu(), description="Media servers.")
    api: Bounds = Field(default=Bounds(), description="Replicas of the API.")
    frontend: Bounds = Field(default=Bounds(), description="Replicas of the web front end.")
    recording: Recording = Field(default=Recording(), description="Recording.")
    transcription: Transcription = Field(default=Transcription(), description="Transcription of recordings.")
    captions: Captions = Field(default=Captions(), description="Live captions.")
    gpu_pools: Annotated[list[GpuPool], Field(max_length=32)] = Field(
        default=[],
        description="Pools of GPU nodes.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
    )
    capacity: Capacity = Field(default=Capacity(), description="How GPU capacity follows the load.")
    upgrade: Upgrade = Field(default=Upgrade(), description="How a new version is rolled out.")
    sovereignty: Sovereignty = Field(default=Sovereignty(), description="Where things come from and may go.")
    overrides: Annotated[list[PartOverride], Field(max_length=20)] = Field(
        default=[],
        description="Per part: resources, placement and further environment.",
        json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["part"]},
    )
    deletion_policy: Literal["Retain", "Delete"] = Field(
        "Retain", description="What becomes of data volumes and generated secrets when this object is deleted."
    )
    image_pull_secrets: Annotated[list[ObjectName], Field(max_length=10)] = Field(
        default=[], description="Secrets with registry credentials for every pod."
    )

    @property
    def livekit_public_host(self) -> str:
        """The host under which browsers reach LiveKit."""
        return self.livekit_host or f"livekit.{self.host}"
