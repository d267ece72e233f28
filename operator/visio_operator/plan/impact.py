"""What a change does before it is made: objects by field, pods that restart, calls at risk, minutes, nodes, euros.

`visio-operator diff` prints it, `status.plan` shows it, and an approval of an upgrade is given to its digest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from visio_operator.api.fields import seconds
from visio_operator.api.releases import ReleaseEntry
from visio_operator.api.spec import VisioDeploymentSpec

from .drains import LONGEST_DRAIN, drain_seconds, expected_last
from .images import as_release
from .observed import Observed
from .order import CHECKS, CRON_JOBS, IMAGE_KEYS, JOBS
from .plan import Plan, PoolChange, Release, euros_text
from .rung_length import ENDLESS, STEP_SECONDS, TOOK
from .steps import CANARY, ROLLS
from .upgrade_approval import ROUND, digest_of_upgrade

WORKLOADS = frozenset({"Deployment", "StatefulSet"})
MEETING_SECONDS = 1800.0
"""The mean length of a meeting (facts/scaling.md D10)."""
ROLLOUT_SECONDS = 120.0
"""What it is expected to take until the pods of all parts are replaced that are replaced at the same time."""
CREATION_SECONDS = 300.0
"""The same for parts that do not exist yet: images, migrations, and one part after the other."""
CALL_PARTS = frozenset({"sfu", "turn"})
"""Parts that carry calls: a restart waits until they have ended, at most until the deadline."""


@dataclass(frozen=True)
class FieldChange:
    """One field: where it is, and what it says before and after. Values of Secrets are never in it."""

    path: str
    before: str
    """As compact JSON; empty where the field is not there."""
    after: str


@dataclass(frozen=True)
class Change:
    """One object that would change."""

    kind: str
    name: str
    part: str
    fields: tuple[FieldChange, ...]
    restarts: bool
    """Its pods are replaced."""
    action: Literal["create", "change", "replace", "delete"] = "change"


@dataclass(frozen=True)
class Calls:
    """What goes on in the pods that would restart; None where it could not be read."""

    rooms: int | None = 0
    """Rooms on media servers that restart. They drain: a room that ends before the deadline is not touched."""
    participants: int | None = 0
    streams: int | None = 0
    """Captions streams that move to another server, seconds each."""
    recordings: int = 0
    """Recorders at work; they end their recordings first."""
    transcriptions: int = 0
    """Transcriptions under way; their workers end them first."""
    deadline: float = LONGEST_DRAIN
    """Seconds that rooms have until they are cut."""


@dataclass(frozen=True)
class Impact:
    """What would change, and what that means for those who use it."""

    changes: tuple[Change, ...]
    restarts: Mapping[str, int]
    """Pods that are replaced, by part."""
    calls: Calls
    seconds: float
    """How long it is expected to take, drains included."""
    pools: tuple[PoolChange, ...] = ()
    euros_per_day: Decimal | None = Decimal(0)
    """What the pools add to a day; None as soon as one of them has no price."""

    @property
    def euros_text(self) -> str:
        """The euros a day, signed, or that they are not known."""
        return euros_text(self.euros_per_day)


@dataclass(frozen=True)
class RungImpact:
    """What one rung of an upgrade does."""

    version: str
    restarts: Mapping[str, int]
    """Pods that are replaced, by part; those that have followed already are left out."""
    seconds: float


@dataclass(frozen=True)
class UpgradeImpact:
    """What an upgrade does that waits or runs."""

    digest: str
    rungs: tuple[RungImpact, ...]
    calls: Calls
    seconds: float
    """All rungs and the soak between them."""
    pools: tuple[PoolChange, ...] = ()
    euros_per_day: Decimal | None = Decimal(0)


def upgrade_digest(observed: Observed, wanted: str, path: Sequence[Release], memory: Mapping[str, float]) -> str:
    """The name of an upgrade, to which approval is given; `path` is what is still to be climbed, `memory` that of the
    plan, which counts the approvals.
    """
    return digest_of_upgrade(observed.uid, wanted, path, int(memory.get(ROUND, 0)))


def restarted_by(old: Release, new: Release, parts: Iterable[str]) -> tuple[str, ...]:
    """The parts whose pods are replaced when one release follows another: those with an image that differs."""
    still = JOBS | CHECKS | CRON_JOBS
    return tuple(
        part
        for part in parts
        if part not in still and any(old.images.get(key) != new.images.get(key) for key in IMAGE_KEYS.get(part, ()))
    )


def pods_of(part: str, plan: Plan, observed: Observed) -> int:
    """How many pods a part has: those that its workload asks for, or those that are planned."""
    workload = observed.workloads.get(part)
    if workload is not None:
        return workload.desired
    planned = plan.parts.get(part)
    return planned.replicas if planned is not None else 0


def calls_at_risk(spec: VisioDeploymentSpec, observed: Observed, parts: Iterable[str]) -> Calls:
    """What goes on in the pods of these parts now."""
    restarted = set(parts)
    media = observed.media if restarted & CALL_PARTS else ()
    servers = observed.captions if "captions" in restarted else ()
    return Calls(
        rooms=_sum(server.rooms for server in media),
        participants=_sum(server.participants for server in media),
        streams=_sum(server.used for server in servers if server.ready),
        recordings=sum(bool(one.busy) for one in observed.recorders) if "egress" in restarted else 0,
        transcriptions=sum(bool(w.busy) for w in observed.transcribers) if "transcription" in restarted else 0,
        deadline=float(drain_seconds(spec)),
    )


def _sum(values: Iterable[int | None]) -> int | None:
    """The sum, or None when one of them is not known."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)


def drained_after(calls: Calls) -> float:
    """Seconds until the last of the rooms has ended, at most the deadline.

    Where the rooms could not be read it may take all of the deadline.
    """
    return calls.deadline if calls.rooms is None else min(expected_last(calls.rooms, MEETING_SECONDS), calls.deadline)


def rung_seconds(spec: VisioDeploymentSpec, observed: Observed, restarted: Iterable[str]) -> float:
    """How long one rung is expected to take, from its check to its verification; the soak comes after it.

    Steps count as in `rung_length`, without those that replace none of these parts, and with the drain of rooms.
    """
    parts = set(restarted)
    left_out = {step for step, rolled in ROLLS.items() if not parts & set(rolled)}
    if not spec.upgrade.canary or "sfu" not in parts:
        left_out.add(CANARY)
    steps = sum(
        length if step in ENDLESS else observed.memory.get(TOOK + step, length)
        for step, length in STEP_SECONDS.items()
        if step not in left_out
    )
    watched = 0.0 if CANARY in left_out else seconds(spec.upgrade.canary_for)
    return steps + watched + (drained_after(calls_at_risk(spec, observed, parts)) if parts & CALL_PARTS else 0.0)


def pool_changes(spec: VisioDeploymentSpec, observed: Observed, plan: Plan) -> tuple[PoolChange, ...]:
    """Pools that would get another size, those included that wait for approval."""
    found = {change.pool: change for change in (plan.proposal.changes if plan.proposal else ())}
    prices = {pool.name: pool.price_per_hour for pool in spec.gpu_pools}
    for pool in plan.pools:
        seen = observed.pools.get(pool.name)
        before = seen.desired if seen is not None and seen.found else 0
        if pool.name in found or pool.desired == before:
            continue
        price = prices.get(pool.name)
        euros = None if price is None else Decimal(price) * 24 * (pool.desired - before)
        found[pool.name] = PoolChange(pool.name, before, pool.desired, "", euros)
    return tuple(found.values())


def euros(changes: Iterable[PoolChange]) -> Decimal | None:
    """What pools add to a day together; None as soon as one of them has no price."""
    amounts = [change.euros_per_day for change in changes]
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


def impact(spec: VisioDeploymentSpec, observed: Observed, plan: Plan, changes: Sequence[Change]) -> Impact:
    """What these changes mean when they are made now, all at once."""
    parts = tuple(dict.fromkeys(change.part for change in changes if change.restarts))
    calls, pools = calls_at_risk(spec, observed, parts), pool_changes(spec, observed, plan)
    creates = any(change.action == "create" and change.kind in WORKLOADS for change in changes)
    length = CREATION_SECONDS if creates else ROLLOUT_SECONDS if parts else 0.0
    return Impact(
        changes=tuple(changes),
        restarts={part: pods_of(part, plan, observed) for part in parts},
        calls=calls,
        seconds=length + (drained_after(calls) if set(parts) & CALL_PARTS else 0.0),
        pools=pools,
        euros_per_day=euros(pools),
    )


def upgrade_impact(
    spec: VisioDeploymentSpec, observed: Observed, plan: Plan, ladder: Sequence[ReleaseEntry]
) -> UpgradeImpact | None:
    """What the upgrade of a plan still does, by the images of its releases; None when there is none that can go on.

    The same for every pass over the same world: what has followed a release is not counted again.
    """
    upgrade, below = plan.upgrade, plan.release
    if upgrade is None or below is None or not upgrade.path:
        return None
    known = {entry.version: entry for entry in ladder}
    path = [as_release(known[version], spec.sovereignty.registries) for version in upgrade.path if version in known]
    rungs: list[RungImpact] = []
    for release in path:
        parts = [
            part
            for part in restarted_by(below, release, plan.parts)
            if (seen := observed.workloads.get(part)) is None or seen.release != release.version
        ]
        counts = {part: pods_of(part, plan, observed) for part in parts}
        rungs.append(RungImpact(release.version, counts, rung_seconds(spec, observed, parts)))
        below = release
    pools = pool_changes(spec, observed, plan)
    return UpgradeImpact(
        digest=upgrade_digest(observed, upgrade.wanted, path, plan.memory),
        rungs=tuple(rungs),
        calls=calls_at_risk(spec, observed, {part for rung in rungs for part in rung.restarts}),
        seconds=sum(rung.seconds for rung in rungs) + seconds(spec.upgrade.soak) * max(0, len(rungs) - 1),
        pools=pools,
        euros_per_day=euros(pools),
    )
