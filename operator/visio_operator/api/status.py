"""The status of a VisioDeployment: what is observed and what was decided, never an input of the user.

Bounds hold here too, so the runtime cuts what is longer before it writes (`LIMITS`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fields import Model, Unique, pattern
from .parts import Instant

TRACE_LINES = 40
TRACE_LENGTH = 300
MESSAGE_LENGTH = 1024

CONDITION = pattern(r"^[A-Z][A-Za-z]*$", "use a condition name such as Ready")

Count = Annotated[int, Field(ge=0, le=10_000_000)]
Name = Annotated[str, StringConstraints(max_length=253)]
Digest = Annotated[str, StringConstraints(max_length=64)]
Euros = Annotated[str, StringConstraints(max_length=24)]
Message = Annotated[str, StringConstraints(max_length=MESSAGE_LENGTH)]


class StatusCondition(Model):
    """One condition in the Kubernetes convention (KEP-1623)."""

    type: Annotated[str, StringConstraints(pattern=CONDITION, max_length=64)] = Field(description="What it is about.")
    status: Literal["True", "False", "Unknown"] = Field(description="Whether it holds.")
    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = Field(0, description="Generation that it is about.")
    last_transition_time: Instant = Field(description="When `status` last changed.")
    reason: Annotated[str, StringConstraints(pattern=CONDITION, max_length=128)] = Field(
        description="The cause, in one word."
    )
    message: Message = Field("", description="The cause, in a sentence, with the next step.")


class PartStatus(Model):
    """How one part is."""

    name: Name = Field(description="The part.")
    desired: Count = Field(0, description="Replicas that are wanted.")
    ready: Count = Field(0, description="Replicas that are ready.")
    version: Name = Field("", description="Version that its image names, such as 1.27.0.")
    state: Literal["Ready", "Progressing", "Waiting", "Failed"] = Field(
        "Progressing", description="Ready, on its way, held back until what it needs is up, or failed."
    )
    message: Message = Field("", description="What it waits for, or why it failed.")


class StageStatus(Model):
    """How long one stage of the lead of a pool takes."""

    name: Name = Field(
        description="order: to the Node object; boot: to Ready; driver: to an allocatable GPU; placement: to a pod on"
        " it; image: to its running containers; weights: to its first slot."
    )
    orders: Count = Field(0, description="Servers that it was learned from.")
    median_seconds: float = Field(0.0, description="Half of the servers took less.")
    p95_seconds: float = Field(0.0, description="95 of 100 servers took less.")


class LeadStatus(Model):
    """How long it takes from the order of a node to its first slot, and where the time goes."""

    orders: Count = Field(0, description="Servers that it was learned from.")
    median_seconds: float = Field(0.0, description="Half of the servers took less.")
    p95_seconds: float = Field(0.0, description="95 of 100 servers took less.")
    stages: Annotated[list[StageStatus], Field(max_length=8), Unique("name")] = Field(
        default=[], description="The stages in their order; those of which nothing is known are left out."
    )
    nodes: Annotated[list[Name], Field(max_length=200), Unique()] = Field(
        default=[], description="Nodes that are counted already, each with the second of its creation."
    )


class PoolStatus(Model):
    """How one GPU pool is."""

    name: Name = Field(description="The pool, by its name in gpuPools.")
    desired: Count = Field(0, description="Nodes that are wanted.")
    ready: Count = Field(0, description="Nodes that are Ready.")
    gpu_ready: Count = Field(0, description="Nodes whose GPU can be allocated.")
    joining: Count | None = Field(None, description="Machines on their way; unset where the provider does not tell.")
    error: Message = Field("", description="What the provider says is wrong.")
    lead: LeadStatus | None = Field(None, description="The lead of its orders, once a server has come.")


class CaptionsStatus(Model):
    """How full the captions servers are."""

    used: Count = Field(0, description="Slots in use.")
    total: Count = Field(0, description="Slots of all servers that could be read.")
    serving: Count = Field(0, description="Servers that take new streams.")


class TranscriptionStatus(Model):
    """How much transcription work there is."""

    waiting: Count | None = Field(None, description="Recordings in the queue; unset while the queue could not be read.")
    workers: Count = Field(0, description="Workers that run.")
    busy: Count = Field(0, description="Workers with a job.")


class PlannedPool(Model):
    """A node pool that would get another size."""

    name: Name = Field(description="The pool, by its name in gpuPools.")
    from_nodes: Count = Field(0, description="Nodes that the provider is asked for now.")
    to_nodes: Count = Field(0, description="Nodes that it would be asked for.")
    euros_per_day: Euros = Field(
        "unknown", description="What that adds to a day, such as +56.40; unknown without a price."
    )
    reason: Message = Field("", description="Why, with numbers.")


class ProposedPlan(Model):
    """Changes of node pools that are planned and not made."""

    digest: Digest = Field(description="Names these changes; approval is given to it.")
    approvable: bool = Field(True, description="Whether approval has an effect; false in mode ForecastOnly.")
    pools: Annotated[list[PlannedPool], Field(max_length=32), Unique("name")] = Field(
        default=[], description="Pools that would change."
    )
    euros_per_day: Euros = Field("unknown", description="All of them together; unknown as soon as one is.")


class SignalStatus(Model):
    """Whether one signal of load can be read."""

    name: Name = Field(description="The signal, such as captionsSlots.")
    source: Name = Field("", description="Where it is read.")
    state: Literal["Fresh", "Missing"] = Field(description="Missing is what could not be read for a minute.")
    since: Instant = Field(description="When `state` last changed. The age of readings is in the operator's metrics.")
    message: Message = Field("", description="What is wrong, what is done without the signal, and the next step.")


class VisioDeploymentStatus(Model):
    """What the operator observed and decided in its last full pass."""

    observed_generation: Annotated[int, Field(ge=0, le=2**53)] = Field(
        0, description="Generation for which a full pass was reported."
    )
    conditions: Annotated[list[StatusCondition], Field(max_length=16), Unique("type")] = Field(
        default=[],
        description="Ready, Progressing, UpgradeHeld, CapacityLimited, ScalingFrozen, ApprovalPending, "
        "PolicyCompliant, Degraded.",
    )
    version: Name = Field("", description="Release that runs; empty until all parts run one.")
    gpu_nodes: Annotated[str, StringConstraints(max_length=16)] = Field(
        "", description="GPU nodes that are ready and those wanted, such as 2/3."
    )
    parts: Annotated[list[PartStatus], Field(max_length=40), Unique("name")] = Field(default=[], description="Parts.")
    pools: Annotated[list[PoolStatus], Field(max_length=32), Unique("name")] = Field(
        default=[], description="GPU pools."
    )
    captions: CaptionsStatus | None = Field(None, description="Captions slots, when captions are enabled.")
    transcription: TranscriptionStatus | None = Field(None, description="Transcription, when it is enabled.")
    signals: Annotated[list[SignalStatus], Field(max_length=16), Unique("name")] = Field(
        default=[], description="The signals of load that sizes follow."
    )
    embedded: Annotated[list[Name], Field(max_length=8), Unique()] = Field(
        default=[], description="Services that run inside the platform and are for evaluation only."
    )
    plan: ProposedPlan | None = Field(None, description="Changes of node pools that wait for approval, if any.")
    approved_plan: Digest = Field("", description="Digest of the plan that was last taken up on approval.")
    plan_digest: Annotated[str, StringConstraints(max_length=128)] = Field("", description="Digest of the last plan.")
    trace: Annotated[
        list[Annotated[str, StringConstraints(max_length=TRACE_LENGTH)]], Field(max_length=TRACE_LINES)
    ] = Field(default=[], description="The plan in words, one line for each choice.")
    memory: Annotated[dict[Annotated[str, StringConstraints(max_length=128)], float], Field(max_length=400)] = Field(
        default={}, description="Small facts that the next decision needs, such as since when a part could shrink."
    )
