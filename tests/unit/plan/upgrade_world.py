"""A cluster that obeys plans, reduced to what an upgrade reads: workloads, their releases, and Jobs that end.

It knows no order of its own: writes are done one after another, and the operator may be killed after any of them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from plan_world import LADDER, NOW, a_healthy_world, a_spec

from visio_operator.api.releases import find_release
from visio_operator.plan.canary import CANARY
from visio_operator.plan.decide import decide
from visio_operator.plan.media_counts import Counts, Stretch
from visio_operator.plan.observed import MediaServer, Observed, Workload
from visio_operator.plan.plan import Plan
from visio_operator.plan.restore import WRITERS
from visio_operator.plan.steps import BACKUP_JOB, CHECK_JOB, RESTORE_JOB


@dataclass
class UpgradeWorld:
    """A deployment that runs `running`, and what became of its upgrade."""

    spec: Any
    world: Observed
    now: float = NOW
    failing: dict[str, str] = field(default_factory=dict)
    """Jobs and parts that fail under the release that is upgraded to, with the reason."""
    migrations: Counter[str] = field(default_factory=Counter)
    """How often the migrate Job of each release was made."""
    followed: list[tuple[str, str]] = field(default_factory=list)
    """Part and release, in the order in which they changed."""
    writes: int = 0
    ladder: Any = LADDER
    lost: int = 0
    """Joins that come to nothing, of a hundred in each look, where a canary runs."""
    database: str = ""
    """The release that the database fits; a migration that failed leaves it between two."""
    restores: int = 0
    """How often a restore Job was made."""
    ending: set[str] = field(default_factory=set)
    """Writers that were told to stop and have not ended."""

    def decide(self) -> Plan:
        return decide(self.spec, self.world, self.now, self.ladder)

    def turn(self, most: int = 1_000) -> Plan:
        """One pass of an operator that is killed after `most` writes; then everything that was started ends."""
        plan, before = self.decide(), self.writes
        lingering, self.ending = self.ending, set()
        for write, _ in zip(self._writes(plan), range(most), strict=False):
            self._put(*write)
            self.writes += 1
        if self.writes - before < most:
            # The status is what is written last.
            self.world = replace(self.world, memory=plan.memory)
        self._settle()
        self.world = replace(self.world, media=self._media(), writers=self._writers(lingering))
        self.now += 15
        return plan

    def climb(self, turns: int = 200) -> Plan:
        """Turn until nothing is written any more."""
        for _ in range(turns):
            plan = self.decide()
            upgrade = plan.upgrade
            trying = upgrade is not None and upgrade.held is None and (plan.canary is not None or bool(upgrade.stops))
            if not trying and not list(self._writes(plan)):
                return plan
            self.turn()
        raise AssertionError(f"no end: {plan.trace[1]}")

    def workload(self, part: str) -> Workload:
        return self.world.workloads[part]

    def releases(self) -> set[str]:
        return {one.release for one in self.world.workloads.values() if one.kind != "Job"}

    def drop(self, part: str) -> None:
        self._put(part, None)

    def approve(self) -> str:
        """Approve the restore that is offered; its digest."""
        upgrade = self.decide().upgrade
        assert upgrade is not None
        assert upgrade.restore is not None
        self.world = replace(self.world, approved_restore=upgrade.restore.digest)
        return upgrade.restore.digest

    def _writers(self, lingering: set[str]) -> tuple[str, ...] | None:
        saved = self.world.workloads.get(BACKUP_JOB)
        if saved is None or not saved.restore or RESTORE_JOB in self.world.workloads:
            return None
        return tuple(sorted(self._running() | self.ending | lingering))

    def _running(self) -> set[str]:
        there = self.world.workloads
        return {part for part in WRITERS if part in there and there[part].desired > 0}

    def _writes(self, plan: Plan) -> Iterator[tuple[str, Workload | None]]:
        if plan.invalid:
            return
        there, upgrade = self.world.workloads, plan.upgrade
        yield from self._notes(plan)
        job = upgrade.job if upgrade else None
        if job and (job.part not in there or there[job.part].release != job.release.version):
            name = f"main-{job.part}-{job.release.version}"
            made = Workload("Job", name, job.part, release=job.release.version, previous=job.running)
            yield job.part, replace(made, saved_at=self.now) if job.part == BACKUP_JOB else made
        yield from self._canary(plan)
        for part, one in [(part, one) for part, one in there.items() if part != CANARY]:
            if part not in plan.parts:
                wanted = job is not None and job.part == part and job.release.version == one.release
                if not wanted and one.name not in plan.kept_jobs:
                    yield part, None
                continue
            release = plan.release_of(part)
            resized = _resized(plan, one)
            if not plan.parts[part].write or (one.release == release.version and resized == one):
                continue
            if part == "migrate":
                images = (release.images["backend"],)
                yield (
                    part,
                    Workload("Job", f"main-migrate-{release.version}", part, images=images, release=release.version),
                )
            else:
                yield part, replace(resized, release=release.version, updated=0, failed="")

    def _notes(self, plan: Plan) -> Iterator[tuple[str, Workload | None]]:
        there, upgrade = self.world.workloads, plan.upgrade
        if upgrade and upgrade.taken_back and not there[CHECK_JOB].note:
            yield CHECK_JOB, replace(there[CHECK_JOB], note=upgrade.taken_back)
        saved = there.get(BACKUP_JOB)
        if upgrade and upgrade.restores and saved is not None and not saved.restore:
            yield BACKUP_JOB, replace(saved, restore=upgrade.restores)

    def _canary(self, plan: Plan) -> Iterator[tuple[str, Workload | None]]:
        if plan.canary is None and CANARY in self.world.workloads:
            yield CANARY, None
        elif plan.canary is not None and CANARY not in self.world.workloads:
            version = plan.canary.release.version
            yield CANARY, Workload("Deployment", "main-sfu-canary", CANARY, current=True, release=version)

    def _put(self, part: str, workload: Workload | None) -> None:
        workloads = {name: one for name, one in self.world.workloads.items() if name != part}
        if workload is not None:
            before = self.world.workloads.get(part)
            if part == "migrate":
                self.migrations[workload.release] += 1
            elif part == RESTORE_JOB:
                assert not self._running() | self.ending, "nothing may write while the database is restored"
                self.restores += 1
            elif workload.kind != "Job" and part != CANARY:
                if before is None or before.release != workload.release:
                    self.followed.append((part, workload.release))
                if part in WRITERS and before is not None and before.desired > workload.desired:
                    self.ending.add(part)
                if part in WRITERS and workload.desired > 0 and self.restores:
                    assert self.database == workload.release, "nothing runs on a database of another release"
            workloads[part] = workload
        self.world = replace(self.world, workloads=workloads)

    def _media(self) -> tuple[MediaServer, ...]:
        """One media server of the release that they run, and the canary; everybody joins them in equal numbers."""

        def server(part: str, lost: int) -> MediaServer:
            entry = find_release(self.ladder, self.world.workloads[part].release)
            counted = Stretch(self.now, Counts(seconds=15, joins=100, starts=100 - lost))
            return MediaServer(
                part, f"node-{part}", True, NOW, rooms=1, participants=2, read_at=self.now, canary=part == CANARY,
                image=entry.images["livekit"] if entry is not None else "", stretches=(counted,),
            )  # fmt: skip

        parts = [part for part in ("sfu", CANARY) if part in self.world.workloads]
        return tuple(server(part, self.lost if part == CANARY else 0) for part in parts)

    def _settle(self) -> None:
        """Jobs end and rollouts are done, or fail, as `failing` says."""
        workloads = dict(self.world.workloads)
        for part, one in workloads.items():
            reason = self.failing.get(part, "") if one.release == self.spec.version else ""
            if one.kind == "Job" and one.finished_at:
                continue
            if one.kind == "Job":
                done = not reason
                workloads[part] = replace(one, succeeded=done, failed=reason, finished_at=self.now)
                if part == "migrate":
                    self.database = one.release if done else "half migrated"
                elif part == RESTORE_JOB:
                    self.database = one.previous if done else "half restored"
            elif reason:
                workloads[part] = replace(one, failed=reason, current=True)
            else:
                workloads[part] = replace(one, updated=one.desired, ready=one.desired, current=True, failed="")
        self.world = replace(self.world, workloads=workloads)


def _resized(plan: Plan, one: Workload) -> Workload:
    """The workload with as many replicas as the plan asks for, as far as it stops or starts it."""
    stopped = bool(plan.parts[one.part].stopped)
    if stopped is (one.desired == 0):
        return one
    return replace(one, desired=0 if stopped else max(1, plan.parts[one.part].replicas), current=False)


def an_upgrade(running: str, wanted: str, failing: dict[str, str] | None = None, **fields: Any) -> UpgradeWorld:
    """A healthy deployment of `running` whose spec now asks for `wanted`."""
    old, new = a_spec(version=running, **fields), a_spec(version=wanted, **fields)
    world = a_healthy_world(old)
    workloads = {part: replace(one, release=running) for part, one in world.workloads.items()}
    return UpgradeWorld(new, replace(world, workloads=workloads), failing=failing or {})
