"""The way back over a migration: offered while a rung is held, done on approval alone, once, while nothing writes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_world import condition
from upgrade_world import UpgradeWorld, an_upgrade

from visio_operator.plan.backups import BackupSource, RestoreSource
from visio_operator.plan.observed import Workload
from visio_operator.plan.plan import Plan
from visio_operator.plan.restore import IGNORED, WRITERS, restored_cluster
from visio_operator.plan.steps import BACKUP_JOB, CHECK_JOB, RESTORE_JOB

OLD, NEW = "1.24.0", "1.25.0"
"""A rung with a migration of the schema."""
BOTH = {"cronJob": "dump", "restoreCronJob": "load"}
CNPG = {"cloudNativePG": {"cluster": "db"}}
RESTORED = "db-restored-1-25-0"
MIGRATION, ROLL = {"migrate": "IntegrityError"}, {"frontend": "exceeded its progress deadline"}


def _outside(host: str = "db.example.fr") -> dict[str, Any]:
    return {"host": host, "name": "visio", "user": "visio", "secretRef": {"name": "db"}}


def a_failed_rung(failing: dict[str, str], backup: dict[str, Any] = BOTH, **fields: Any) -> UpgradeWorld:
    """A deployment whose rung fails after its migrations have begun; `dump` saves the database and `load` restores."""
    asked = {"database": _outside(), "transcription": {"enabled": False}, **fields}
    world = an_upgrade(OLD, NEW, failing=dict(failing), upgrade={"backup": backup, "soak": "0s"}, **asked)
    sources = {"backup_source": BackupSource(True, {"template": {}}), "restore_source": RestoreSource(True, {"a": 1})}
    world.world = replace(world.world, **sources)
    return world


def held(plan: Plan) -> tuple[str, str]:
    return condition(plan, "UpgradeHeld")[1:]


@pytest.mark.parametrize(("failing", "reason"), [(MIGRATION, "MigrationFailed"), (ROLL, "UpgradeFailed")])
def test_a_rung_that_fails_after_its_migrations_began_holds_and_offers_to_restore_the_backup(
    failing: dict[str, str], reason: str
) -> None:
    world = a_failed_rung(failing)
    plan = world.climb()
    offer = plan.upgrade.restore
    assert held(plan)[0] == reason
    assert f"restore the backup {offer.backup} of" in held(plan)[1]
    assert f"visio-operator approve main -n visio --digest {offer.digest}" in held(plan)[1]
    assert offer.by == "CronJob load"
    assert offer.saved_at == world.workload(BACKUP_JOB).saved_at
    assert set(offer.stops) == set(WRITERS) - {"call-webhook"}, "there is no summary service"
    world.now += 86_400
    assert world.climb().upgrade.restore == offer, "nothing is restored by itself, and the offer stays what it was"
    assert world.restores == 0
    assert RESTORE_JOB not in world.world.workloads


@pytest.mark.parametrize("failing", [MIGRATION, ROLL], ids=["migration", "roll"])
def test_an_approved_restore_stops_the_writers_restores_once_and_goes_back_to_the_older_release(
    failing: dict[str, str],
) -> None:
    world = a_failed_rung(failing)
    world.climb()
    digest = world.approve()
    first = world.turn()
    assert set(first.upgrade.stops) <= set(WRITERS)
    assert {"sfu", "egress", "frontend"}.isdisjoint(first.upgrade.stops)
    assert world.restores == 0, "pods that end may still write"
    waiting = world.turn()
    assert "what writes to the database ends first: backend" in waiting.upgrade.waits_for
    assert condition(waiting, "Ready")[0] == "False"
    assert "backend is stopped while the database is restored" in condition(waiting, "Ready")[2]
    assert waiting.approved_restore == digest
    plan = world.climb()
    assert held(plan)[0] == "RolledBack"
    assert f"everything runs {OLD} again" in held(plan)[1]
    assert world.releases() == {OLD}
    assert (world.restores, world.database) == (1, OLD)
    assert world.migrations[NEW] == 1
    assert world.workload("backend").desired > 0
    assert condition(plan, "Ready")[0] == "True"
    world.now += 86_400
    assert world.climb().upgrade.held == plan.upgrade.held, "it is not tried again by itself"


def test_after_a_restore_the_rung_is_checked_saved_and_migrated_anew_when_the_restore_job_is_deleted() -> None:
    world = a_failed_rung(MIGRATION)
    world.climb()
    world.approve()
    world.climb()
    assert CHECK_JOB not in world.world.workloads
    assert BACKUP_JOB not in world.world.workloads
    world.failing = {}
    world.drop(RESTORE_JOB)
    assert world.climb().upgrade is None
    assert world.releases() == {NEW}
    assert world.migrations[NEW] == 2
    assert world.database == NEW


def test_after_a_restore_the_older_release_can_be_asked_for() -> None:
    world = a_failed_rung(ROLL)
    world.climb()
    world.approve()
    world.climb()
    world.spec = world.spec.model_copy(update={"version": OLD})
    plan = world.climb()
    assert plan.upgrade is None
    assert RESTORE_JOB not in world.world.workloads


def test_a_restore_that_fails_keeps_the_writers_stopped_and_runs_again_when_its_job_is_deleted() -> None:
    world = a_failed_rung({**ROLL, RESTORE_JOB: "pg_restore: no such file"})
    world.climb()
    world.approve()
    plan = world.climb()
    reason, message = held(plan)
    assert reason == "RestoreFailed"
    assert "pg_restore: no such file" in message
    assert "the database may hold a part of the backup only" in message
    assert "nobody can join or start one" in message
    assert world.workload("backend").desired == 0
    assert world.workload("sfu").desired > 0
    world.failing = ROLL
    world.drop(RESTORE_JOB)
    assert held(world.climb())[0] == "RolledBack"
    assert world.restores == 2
    assert world.releases() == {OLD}


def test_nothing_is_restored_for_an_approval_of_another_plan_nor_twice_for_the_same_one() -> None:
    world = a_failed_rung(MIGRATION)
    world.climb()
    before = world.decide().upgrade.restore.digest
    world.world = replace(world.world, approved_restore="000000000000")
    plan = world.climb()
    assert world.turn().memory[IGNORED]
    assert plan.upgrade.restore.digest != before, "an approval that came too late must not fit later"
    assert "the approval of 000000000000 is of another plan" in held(world.decide())[1]
    assert world.restores == 0
    world.approve()
    world.climb()
    world.drop(RESTORE_JOB)
    again = world.climb()
    assert held(again)[0] == "MigrationFailed"
    assert world.restores == 1
    assert again.upgrade.restore is not None


@settings(max_examples=20)
@given(
    kills=st.lists(st.integers(0, 5), max_size=40),
    failing=st.sampled_from([MIGRATION, ROLL, {"backend": "exceeded its progress deadline"}]),
)
def test_killed_after_any_write_a_restore_ends_in_the_same_state(kills: list[int], failing: dict[str, str]) -> None:
    world, undisturbed = a_failed_rung(failing), a_failed_rung(failing)
    for one in (world, undisturbed):
        one.climb()
        one.approve()
    for most in kills:
        world.turn(most)
    undisturbed.climb()
    plan = world.climb()
    assert held(plan)[0] == "RolledBack"
    state = {part: (one.name, one.release, one.desired) for part, one in world.world.workloads.items()}
    assert state == {part: (one.name, one.release, one.desired) for part, one in undisturbed.world.workloads.items()}
    assert (world.restores, world.migrations[NEW], world.database) == (1, 1, OLD)


@settings(max_examples=10)
@given(kills=st.lists(st.integers(0, 5), max_size=30))
def test_killed_after_any_write_a_restore_that_fails_holds_with_the_writers_stopped(kills: list[int]) -> None:
    world = a_failed_rung({**MIGRATION, RESTORE_JOB: "no such file"})
    world.climb()
    world.approve()
    for most in kills:
        world.turn(most)
    assert held(world.climb())[0] == "RestoreFailed"
    assert {world.workload(part).desired for part in WRITERS if part in world.world.workloads} == {0}
    assert world.restores == 1


@pytest.mark.parametrize(
    ("backup", "source", "text"),
    [
        ({"cronJob": "dump"}, None, "name a CronJob in spec.upgrade.backup.restoreCronJob"),
        (BOTH, RestoreSource(False), "restoreCronJob: CronJob load does not exist in namespace visio"),
        ({"none": {}}, None, "or restore what you saved yourself"),
    ],
)
def test_where_nothing_can_be_restored_it_is_said_why(
    backup: dict[str, Any], source: RestoreSource | None, text: str
) -> None:
    world = a_failed_rung(MIGRATION, backup)
    world.world = replace(world.world, restore_source=source)
    plan = world.climb()
    assert held(plan)[0] == "MigrationFailed"
    assert text in held(plan)[1]
    assert plan.upgrade.restore is None


def test_an_embedded_database_has_no_backup_and_says_so() -> None:
    world = an_upgrade(OLD, NEW, failing=dict(MIGRATION))
    plan = world.climb()
    assert "nothing was saved before, so there is nothing to restore" in held(plan)[1]


def test_asking_for_the_older_release_after_a_migration_offers_the_restore() -> None:
    world = a_failed_rung({})
    while not world.followed:
        world.turn()
    world.spec = world.spec.model_copy(update={"version": OLD})
    plan = world.climb()
    assert held(plan)[0] == "VersionStepNotAllowed"
    world.approve()
    assert world.climb().upgrade is None, "the older release is what was asked for"
    assert world.releases() == {OLD}
    assert world.restores == 1


def test_an_emergency_stop_stops_a_restore_too() -> None:
    world = a_failed_rung(MIGRATION)
    world.climb()
    world.approve()
    world.spec = world.spec.model_copy(update={"emergency_stop": True})
    plan = world.decide()
    assert plan.stopped
    assert not plan.upgrade.restores
    assert plan.upgrade.job is None


class Recovering:
    """A rung saved by CloudNativePG that has failed, step by step."""

    def __init__(self) -> None:
        self.world = a_failed_rung(MIGRATION, CNPG)
        self.world.climb()
        saved = self.world.workload(BACKUP_JOB)
        self.put(replace(saved, kind="Backup", name="main-upgrade-backup-1-25-0"))

    def put(self, saved: Workload) -> None:
        workloads = {**self.world.world.workloads, BACKUP_JOB: saved}
        self.world.world = replace(self.world.world, workloads=workloads)

    def look(self, **source: Any) -> Plan:
        seen = RestoreSource(True, {"instances": 3}, **source)
        self.world.world = replace(self.world.world, restore_source=seen)
        return self.world.decide()


def test_a_backup_of_cloudnativepg_recovers_beside_the_old_cluster_and_nothing_stops() -> None:
    here = Recovering()
    offer = here.look().upgrade.restore
    assert (offer.by, offer.stops) == (f"Cluster {RESTORED}", ())
    digest = here.world.approve()
    approved = here.world.decide()
    assert approved.upgrade.restores == f"{digest} Cluster {RESTORED}"
    assert approved.upgrade.job is None
    here.put(replace(here.world.workload(BACKUP_JOB), restore=approved.upgrade.restores))
    job = here.look().upgrade.job
    assert (job.cluster, job.backup) == (RESTORED, "main-upgrade-backup-1-25-0")
    assert job.template == {"instances": 3}
    recovers = here.look(made=True, said="Setting up primary")
    assert recovers.upgrade.job is None, "it is made once"
    assert "Setting up primary" in recovers.upgrade.waits_for
    assert recovers.upgrade.stops == ()
    ready = here.look(made=True, ready=True)
    assert held(ready)[0] == "RestoreReady"
    assert (
        f"set spec.database.host to {RESTORED}-rw.visio.svc and the Secret beside it to {RESTORED}-app"
        in held(ready)[1]
    )
    assert not ready.part_releases.keys() - {"migrate"}


def test_a_deployment_that_is_pointed_at_the_recovered_cluster_runs_the_older_release_again() -> None:
    here = Recovering()
    here.put(replace(here.world.workload(BACKUP_JOB), restore=f"abc Cluster {RESTORED}"))
    here.look(made=True, ready=True)
    database = here.world.spec.database.model_copy(update={"host": f"{RESTORED}-rw.db.svc"})
    here.world.spec = here.world.spec.model_copy(update={"database": database})
    plan = here.look(made=True, ready=True)
    assert held(plan)[0] == "RolledBack"
    assert "spec.upgrade.backup.cloudNativePG.cluster" in held(plan)[1]
    assert not plan.part_releases
    assert plan.release.version == OLD


def test_the_name_of_a_recovered_cluster_is_never_too_long_and_stays_unique() -> None:
    names = {restored_cluster("a" * 49 + end, "1.25.0") for end in "xy"}
    assert len(names) == 2
    assert {len(name) for name in names} == {50}
