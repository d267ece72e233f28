"""The status of a VisioDeployment: what is observed and what was decided, never an input of the user.

Bounds hold here too, so the runtime cuts what is longer before it writes (`LIMITS`).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .drains import MOST_ANNOUNCEMENTS, MOST_DRAINS, AnnouncementStatus, DrainStatus
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
    waiting: Count | None = Field(None, description="Streams that wait for a slot; unset while a proxy did not say.")
    longest_wait: Count | None = Field(
        None, description="Seconds for which the stream that waits longest has waited; unset while none says so."
    )
    panic_since: Instant | None = Field(
        None,
        description="Since when more people come than was foreseen, so that some wait, and nothing is closed or"
        " returned; unset while that is not so.",
    )


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


class PlannedRestart(Model):
    """Pods of one part that would be replaced."""

    name: Name = Field(description="The part.")
    pods: Count = Field(0, description="Its pods.")


Restarts = Annotated[list[PlannedRestart], Field(max_length=40), Unique("name")]


class PlannedRung(Model):
    """One release on the way to the one that is asked for."""

    version: Name = Field(description="The release.")
    minutes: Count = Field(0, description="How long it is expected to take, drains included, the soak after it not.")
    restarts: Restarts = Field(default=[], description="Parts whose pods are replaced.")


class PlannedUpgrade(Model):
    """What an upgrade that waits or runs does."""

    digest: Digest = Field(description="Names this way with its images; approval is given to it.")
    rungs: Annotated[list[PlannedRung], Field(max_length=100), Unique("version")] = Field(
        default=[], description="The releases that are still to be reached, in their order."
    )
    rooms: Count | None = Field(
        None, description="Rooms on media servers that restart: they end or move before the drain's deadline."
    )
    participants: Count | None = Field(None, description="People in these rooms; unset while that cannot be read.")
    streams: Count | None = Field(None, description="Captions streams that move to another server.")
    recordings: Count = Field(0, description="Recorders at work; they end their recordings before they restart.")
    transcriptions: Count = Field(0, description="Transcriptions under way; their workers end them first.")
    minutes: Count = Field(0, description="All rungs together, with the soak between them.")
    nodes: Annotated[int, Field(ge=-10_000, le=10_000)] = Field(
        0, description="GPU nodes that come or go at the same time."
    )
    euros_per_day: Euros = Field("+0.00", description="What these add to a day; unknown without a price.")


class PlannedRendering(Model):
    """Pods that a new version of the operator renders differently, and that it has left as they are."""

    operator: Name = Field(description="The version of the operator.")
    digest: Digest = Field(description="Names this rendering; approval is given to it.")
    objects: Count = Field(0, description="Objects that would change.")
    restarts: Restarts = Field(default=[], description="Parts whose pods would be replaced.")


class PlannedRestore(Model):
    """The way back over a migration, which is offered and not done without approval."""

    digest: Digest = Field(description="Names this restore; approval is given to it.")
    backup: Name = Field(description="The Job or Backup that saved the database.")
    saved_at: Instant = Field(description="The time whose state comes back; all that was written since is lost.")
    by: Name = Field(
        description="What restores it: a CronJob of yours, or the Cluster that recovers beside the old one."
    )
    stops: Annotated[list[Name], Field(max_length=40), Unique()] = Field(
        default=[], description="Parts that stand still meanwhile. Calls that run go on."
    )
    minutes: Count = Field(0, description="How long it is expected to take.")


class ProposedPlan(Model):
    """What is planned and not done yet: changes of node pools, an upgrade, a new rendering, a restore."""

    digest: Digest = Field("", description="Names the changes of pools; approval is given to it. Empty without any.")
    approvable: bool = Field(True, description="Whether approval has an effect; false in mode ForecastOnly.")
    pools: Annotated[list[PlannedPool], Field(max_length=32), Unique("name")] = Field(
        default=[], description="Pools that would change."
    )
    euros_per_day: Euros = Field("unknown", description="All of them together; unknown as soon as one is.")
    upgrade: PlannedUpgrade | None = Field(None, description="The upgrade that waits or runs.")
    rendering: PlannedRendering | None = Field(None, description="What a new version of the operator waits to change.")
    restore: PlannedRestore | None = Field(None, description="The backup that can be restored after a failed rung.")


class UpgradeStatus(Model):
    """Where the deployment is on its way between releases."""

    running: Name = Field("", alias="from", description="Release that all parts run.")
    running_since: Instant | None = Field(
        None, description="Since when they do; unset until all of them have been ready with it once."
    )
    wanted: Name = Field("", alias="to", description="Release that is asked for.")
    path: Annotated[list[Name], Field(max_length=100), Unique()] = Field(
        default=[], description="Releases that are still to be reached, one rung each, the wanted one last."
    )
    rung: Name = Field("", description="Release that is being climbed to; empty while no rung has begun.")
    step: Name = Field("", description="Step of the rung that is under way.")
    since: Instant | None = Field(None, description="When rung, step or what holds it last changed.")
    held: Annotated[str, StringConstraints(max_length=128)] = Field(
        "", description="Why it does not go on, in one word; empty while it does."
    )
    message: Message = Field("", description="What it waits for, with the next step.")
    next_start: Instant | None = Field(
        None,
        description="From when the next rung can start, if whatever needs a person were done now; unset while that is"
        " at once or cannot be told.",
    )
    approval_digest: Digest = Field("", description="Digest of the upgrade that waits for approval.")
    approved: Digest = Field("", description="Digest of the upgrade that was last taken up on approval.")
    approved_restore: Digest = Field("", description="Digest of the restore that was last begun on approval.")
    blockers: Annotated[list[Message], Field(max_length=20)] = Field(
        default=[], description="Deployments of earlier rings that have to go first, each with what it lacks."
    )


class SignalStatus(Model):
    """Whether one signal of load can be read."""

    name: Name = Field(description="The signal, such as captionsSlots.")
    source: Name = Field("", description="Where it is read.")
    source_reason: Message = Field(
        "", description="Why it is not, or not all of it, from the Prometheus of spec.signals; empty without one."
    )
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
        "PolicyCompliant, Degraded, EmergencyStop, RenderingPending.",
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
    upgrade: UpgradeStatus | None = Field(None, description="The way between releases, once a release runs.")
    plan: ProposedPlan | None = Field(
        None, description="What waits: changes of node pools for approval, an upgrade, a new rendering, a restore."
    )
    approved_plan: Digest = Field("", description="Digest of the plan that was last taken up on approval.")
    plan_digest: Annotated[str, StringConstraints(max_length=128)] = Field("", description="Digest of the last plan.")
    trace: Annotated[
        list[Annotated[str, StringConstraints(max_length=TRACE_LENGTH)]], Field(max_length=TRACE_LINES)
    ] = Field(default=[], description="The plan in words, one line for each choice.")
    memory: Annotated[dict[Annotated[str, StringConstraints(max_length=128)], float], Field(max_length=400)] = Field(
        default={}, description="Small facts that the next decision needs, such as since when a part could shrink."
    )
    drains: Annotated[list[DrainStatus], Field(max_length=MOST_DRAINS), Unique("pod")] = Field(
        default=[], description="Pods that take nothing new and end with what they have, the most urgent first."
    )
    announcements: Annotated[list[AnnouncementStatus], Field(max_length=MOST_ANNOUNCEMENTS), Unique("id")] = Field(
        default=[], description="What was announced lately, the newest first."
    )
