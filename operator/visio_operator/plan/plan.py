"""The plan: a frozen value that says what shall exist, why, and when to look again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from .announce import Announcement
from .drains import Drain
from .planners import Planners
from .reasons import Reason


@dataclass(frozen=True)
class Release:
    """One rung of the release ladder: the images of every part."""

    version: str
    images: Mapping[str, str]
    """Image reference by image key: backend, frontend, summary, agents, whisper, livekit, egress, moshi, operator,
    postgres, redis, garage, coturn. In a Plan the references are final: the registry of `sovereignty` is applied."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """What differs by version, such as the heartbeat paths; data of the ladder, never an `if version` in a builder."""


@dataclass(frozen=True)
class PartPlan:
    """What one part shall be."""

    part: str
    replicas: int = 1
    write: bool = True
    """Render it now; False while what it needs is not up and it does not exist yet."""
    prepare: bool = False
    """It does not exist and its turn has not come; only what its pods will find is written: accounts, policies,
    services."""
    waiting_for: str = ""
    """The reason while `write` is False."""
    faulty: bool = False
    """It is not written because something outside is at fault, which `waiting_for` names."""
    stopped: str = ""
    """Why none of its pods may run now; empty when they may."""


@dataclass(frozen=True)
class Ref:
    """A place in a composed secret value that is filled with a generated value."""

    key: str
    secret: str | None = None
    """Another Secret that holds the key, generated or the user's, by its full name; None means the same Secret."""
    form: Literal["plain", "url", "json"] = "plain"
    """How the value is written, so that it may hold any character: percent-encoded, or as the inside of a JSON string,
    which TOML and YAML read alike."""


@dataclass(frozen=True)
class SecretNeed:
    """A Secret of ours that must exist: `random` keys are filled once with hexadecimal text of that many characters,
    `composed` ones are joined from literals and references, `fixed` ones are literals that are no secret (user names).

    A `derived` Secret holds nothing of its own: it is corrected, loses keys that nobody asks for, and ends with the
    deployment whatever its deletion policy is.
    """

    name: str
    part: str
    random: Mapping[str, int] = field(default_factory=dict)
    composed: Mapping[str, tuple[str | Ref, ...]] = field(default_factory=dict)
    fixed: Mapping[str, str] = field(default_factory=dict)
    derived: bool = False
    kept: frozenset[str] = frozenset()
    """Keys whose value stays as it is where there is one, while the connection that they name is in doubt."""


@dataclass(frozen=True)
class LivekitKeys:
    """Which key pairs LiveKit's servers accept and which one everybody signs with, by the names of their Secrets."""

    accepted: tuple[str, ...]
    """The pair that the spec asks for first; servers sign their webhooks with it."""
    signing: str

    @property
    def overlap(self) -> bool:
        """Whether servers accept more than one pair, so that webhooks may have to be signed anew on their way."""
        return len(self.accepted) > 1


@dataclass(frozen=True)
class PoolPlan:
    """What one provider pool shall be; written in a single patch when it differs."""

    name: str
    provider: str
    desired: int
    minimum: int
    maximum: int
    victims: tuple[str, ...] = ()
    """Nodes whose machines shall carry the delete mark; the machines of all others lose ours."""
    placeholders: int | None = None
    """Placeholder pods to run; None where the provider is told a size."""
    aim: int | None = field(default=None, compare=False)
    """The size that follows once the nodes are closed that this plan closes; None where none is or it would not."""


@dataclass(frozen=True)
class PodMark:
    """A change to one pod: serving label on or off, deletion cost, its load balancer, the address to announce."""

    pod: str
    serving: bool | None = None
    deletion_cost: int | None = None
    slot: int | None = None
    address: str | None = None


@dataclass(frozen=True)
class NodeMark:
    """Cordon or un-cordon one node."""

    node: str
    cordon: bool


@dataclass(frozen=True)
class PoolChange:
    """A pool that would get another size."""

    pool: str
    before: int
    """Nodes that the provider is asked for now."""
    after: int
    reason: str
    euros_per_day: Decimal | None = None
    """What it adds to a day in which all these nodes run; None while the pool has no price."""

    @property
    def euros_text(self) -> str:
        """The euros a day, signed, or that they are not known."""
        return euros_text(self.euros_per_day)


@dataclass(frozen=True)
class Proposal:
    """Changes of pools that are planned and not made."""

    digest: str
    changes: tuple[PoolChange, ...]
    approvable: bool
    """False where the mode only shows plans."""
    ignored: str = ""
    """An approval on the object that is of another plan."""

    @property
    def euros_text(self) -> str:
        """The euros a day of all changes together; not known as soon as one of them is not."""
        known = [change.euros_per_day for change in self.changes if change.euros_per_day is not None]
        return euros_text(sum(known, Decimal(0)) if len(known) == len(self.changes) else None)


def euros_text(euros: Decimal | None) -> str:
    """An amount that is added or saved, with its sign."""
    return "unknown" if euros is None else f"{euros:+.2f}"


@dataclass(frozen=True)
class CanaryPlan:
    """A media server of the new release beside those of the old one; it takes its share of the new rooms."""

    release: Release
    replicas: int = 1


@dataclass(frozen=True)
class Condition:
    """One condition in the Kubernetes convention; the transition time is added when it is reported."""

    type: str
    status: str
    reason: str
    message: str


@dataclass(frozen=True)
class UpgradePlan:
    """Where a deployment is on its way from one release to another."""

    running: str
    wanted: str
    path: tuple[str, ...] = ()
    """The releases that are still to be reached, the wanted one last."""
    rung: str = ""
    """The release that is being climbed to; empty while none has begun."""
    step: str = ""
    """The step of the rung that is under way, by the names of `plan.steps.STEPS`."""
    waits_for: str = ""
    """What this step waits for."""
    held: tuple[Reason, str] | None = None
    """Why it does not go on."""
    next_start: float | None = None
    """Unix time from which the next rung may start, where a window or a pause says so."""
    job: UpgradeJob | None = None
    """The Job of the step that is under way."""
    taken_back: str = ""
    """Why the rung that is under way shall be taken back; written on its first Job before anything is."""
    approval: str = ""
    """Digest of the upgrade that waits for approval; empty when none is needed or it is there."""
    blockers: tuple[str, ...] = ()
    """Deployments of earlier rings that have to go first, each with what it lacks."""
    restore: RestorePlan | None = None
    """The way back that is offered; nothing of it is done without approval."""
    restores: str = ""
    """A restore that is approved: its digest and what restores; written on the backup before anything else is done."""
    stops: tuple[str, ...] = ()
    """Parts that stand still: the database is restored."""


@dataclass(frozen=True)
class RestorePlan:
    """The backup that was made before a migration, and what restoring it would mean."""

    digest: str
    backup: str
    """Name of the Job or Backup that saved the database."""
    saved_at: float
    """The time whose state comes back, in unix seconds; what was written later is lost."""
    by: str
    """Kind and name of what restores it."""
    stops: tuple[str, ...]
    """Parts that stand still meanwhile; calls that run go on."""
    seconds: float
    """How long it is expected to take."""


@dataclass(frozen=True)
class UpgradeJob:
    """A Job that a rung needs."""

    part: str
    """upgrade-check, upgrade-backup, upgrade-verify or upgrade-restore."""
    release: Release
    running: str
    """The release that it leaves."""
    preconditions: tuple[str, ...] = ()
    """Of a check: what has to be looked up, by the names of `api.releases.PRECONDITIONS`."""
    template: Mapping[str, Any] = field(default_factory=dict)
    """Of a backup or restore by a CronJob: the spec of its Jobs. Of a restore by CloudNativePG: that of the Cluster."""
    backup: str = ""
    """Of a restore: the name of the backup."""
    saved_at: float = 0.0
    """Of a restore: the time whose state comes back, in unix seconds."""
    cluster: str = ""
    """Of a restore by CloudNativePG: the name of the Cluster that recovers."""


@dataclass(frozen=True)
class Plan:
    """One decision."""

    release: Release | None
    """None when the version is unknown: nothing is written then."""
    parts: Mapping[str, PartPlan]
    """By part name; a part that is not in it shall not exist."""
    secrets: tuple[SecretNeed, ...] = ()
    livekit: LivekitKeys | None = None
    """None in a plan that writes nothing."""
    connections: str = ""
    """Digest of what the deployment is connected to; the Job that checks it carries it."""
    pools: tuple[PoolPlan, ...] = ()
    pods: tuple[PodMark, ...] = ()
    nodes: tuple[NodeMark, ...] = ()
    proposal: Proposal | None = None
    """Changes of pools that wait for approval, or are only shown."""
    approved: str = ""
    """Digest of the proposal whose approval was taken up by this plan."""
    conditions: tuple[Condition, ...] = ()
    invalid: tuple[str, ...] = ()
    """Refusals: field, the value's problem and the next step. While any is there nothing that runs is touched."""
    part_releases: Mapping[str, Release] = field(default_factory=dict)
    """Parts that are rendered from another release than `release`: those that a rung has reached."""
    upgrade: UpgradePlan | None = None
    """None while the release that is asked for runs, or nothing does."""
    kept_jobs: frozenset[str] = frozenset()
    """Jobs of the last rung that stay though no manifest asks for them: they tell how far it has come."""
    older_pages: tuple[str, ...] = ()
    """Images of the front end whose scripts are still offered to pages that are open, the newest first."""
    node_port: int | None = None
    """The first node port for media; None where they come in by another way."""
    media_slots: tuple[int, ...] = ()
    """Numbers of the load balancers that media servers have, where each has one."""
    recheck_after: float = 30.0
    trace: tuple[str, ...] = ()
    """One line per choice, with its numbers."""
    planners: Planners = field(default_factory=Planners, compare=False)
    """What was learned with this decision; the runtime carries it to the next one and keeps it in the cluster."""
    ordered: Mapping[str, float] = field(default_factory=dict)
    """When nodes were ordered, by name, as far as it is known."""
    panic_since: float | None = None
    """Since when captions are in panic (`plan.panic`), in unix seconds; None while they are not."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """What the next decision has to remember; the runtime carries it in status to `Observed.memory`."""
    canary: CanaryPlan | None = None
    """None while no media server tries another release."""

    approved_upgrade: str = ""
    """Digest of the upgrade whose approval was taken up by this plan."""
    approved_restore: str = ""
    """The same for a restore."""
    stopped: bool = False
    """`spec.emergencyStop`: nothing is written but status."""
    drains: tuple[Drain, ...] = ()
    """Pods that take nothing new and end with what they have, the most urgent first."""
    announcements: tuple[Announcement, ...] = ()
    """What is to be announced now."""

    def release_of(self, part: str) -> Release:
        """The release that a part is rendered from. ValueError in a plan without one."""
        found = self.part_releases.get(part, self.release)
        if found is None:
            raise ValueError(f"no release for {part}")
        return found

    def part(self, name: str) -> PartPlan | None:
        """The plan of one part when anything of it shall be written now."""
        found = self.parts.get(name)
        return found if found is not None and (found.write or found.prepare) else None
