"""Versions: which steps are allowed, what waits for what, and what follows when something fails."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_world import LADDER, NOW, a_healthy_world, a_spec, an_empty_world, condition
from upgrade_world import an_upgrade

from visio_operator.plan.backups import BackupSource
from visio_operator.plan.decide import decide
from visio_operator.plan.steps import CHECK_JOB, ROLLS, VERIFY_JOB

NO_PAUSE: dict[str, Any] = {"upgrade": {"soak": "0s"}}
"""Rungs follow each other without a pause."""
OUTSIDE = {"database": {"host": "db.example.fr", "name": "visio", "user": "visio", "secretRef": {"name": "db"}}}
PLAIN_RUNG, SCHEMA_RUNG = ("1.25.0", "1.26.0"), ("1.24.0", "1.25.0")
"""A rung without migrations, and one with a migration of the schema, both read in the source."""


@dataclass(frozen=True)
class Step:
    name: str
    running: str
    wanted: str
    want_rung: str = ""
    want_step: str = ""
    want_held: str = "NotHeld"
    want_text: str = ""
    fields: dict[str, Any] = field(default_factory=dict)


CLOSED = {"upgrade": {"windows": [{"days": ["Sun"], "start": "02:00", "duration": "1h", "timeZone": "Europe/Paris"}]}}
OPEN = {"upgrade": {"windows": [{"days": ["Fri"], "start": "08:00", "duration": "2h", "timeZone": "Europe/Paris"}]}}
STEPS = [
    Step("same version", "1.27.0", "1.27.0"),
    Step("next minor", "1.26.0", "1.27.0", "1.27.0", "check"),
    Step("several minors", "1.24.0", "1.27.0", "1.25.2", "check"),
    Step("approval asked for", "1.26.0", "1.27.0", want_held="ApprovalNeeded", fields={"upgrade": {"mode": "Approve"}}),
    Step("outside its window", "1.26.0", "1.27.0", want_held="OutsideWindow", fields=CLOSED),
    Step("inside its window", "1.26.0", "1.27.0", "1.27.0", "check", fields=OPEN),
    Step("downgrade", "1.27.0", "1.26.0", want_held="VersionStepNotAllowed", want_text="set it to 1.27.0 or newer"),
    Step("unknown version", "1.27.0", "1.27.9", want_held="UnknownVersion", want_text="the nearest known release"),
]


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_what_is_asked_for_begins_or_is_held_while_the_older_release_serves(case: Step) -> None:
    world = an_upgrade(case.running, case.wanted, **case.fields)
    plan = world.decide()
    assert plan.invalid == ()
    assert plan.release.version == case.running
    assert not plan.part_releases
    assert (plan.upgrade.rung if plan.upgrade else "", plan.upgrade.step if plan.upgrade else "") == (
        case.want_rung,
        case.want_step,
    )
    assert condition(plan, "UpgradeHeld")[1] == case.want_held
    assert case.want_text in condition(plan, "UpgradeHeld")[2]
    assert condition(plan, "Ready")[0] == "True", "an upgrade does not end readiness while the older release serves"


def test_the_version_that_runs_is_known_by_its_image_when_nothing_else_says_it() -> None:
    spec = a_spec(version="1.27.0", sovereignty={"registries": ["registry.example.fr"]})
    plan = decide(spec, a_healthy_world(a_spec(version="1.25.0")), NOW, LADDER)
    assert plan.release.version == "1.25.0"
    assert plan.upgrade.path == ("1.26.0", "1.27.0")


def test_three_rungs_are_climbed_one_after_another_each_in_the_order_of_the_steps() -> None:
    world = an_upgrade("1.24.0", "1.27.0", **NO_PAUSE)
    plan = world.climb()
    assert plan.upgrade is None
    assert plan.release.version == "1.27.0"
    assert world.releases() == {"1.27.0"}
    assert world.migrations == {"1.25.2": 1, "1.26.0": 1, "1.27.0": 1}
    rungs = list(dict.fromkeys(release for _, release in world.followed))
    assert rungs == ["1.25.2", "1.26.0", "1.27.0"]
    for rung in rungs:
        order = [part for part, release in world.followed if release == rung]
        steps = [next(step for step, parts in ROLLS.items() if part in parts) for part in order]
        assert steps == sorted(steps, key=list(ROLLS).index)


@settings(max_examples=25)
@given(kills=st.lists(st.integers(0, 6), max_size=40), wanted=st.sampled_from(["1.25.0", "1.27.0"]))
def test_killed_after_any_write_an_upgrade_ends_in_the_same_state(kills: list[int], wanted: str) -> None:
    undisturbed, world = an_upgrade("1.24.0", wanted, **NO_PAUSE), an_upgrade("1.24.0", wanted, **NO_PAUSE)
    for most in kills:
        world.turn(most)
    undisturbed.climb()
    world.climb()
    state = {part: (one.name, one.release) for part, one in world.world.workloads.items()}
    assert state == {part: (one.name, one.release) for part, one in undisturbed.world.workloads.items()}
    assert set(world.migrations.values()) == {1}


def test_no_part_follows_before_the_migrations_are_done() -> None:
    world = an_upgrade(*PLAIN_RUNG)
    seen = []
    while not world.followed:
        seen.append(world.turn())
    assert [plan.upgrade.step for plan in seen] == ["check", "migrate", "api"]
    assert world.workload("migrate").succeeded


@pytest.mark.parametrize(
    ("failing", "reason", "text"),
    [
        ({CHECK_JOB: "users: 2 e-mail addresses"}, "CheckFailed", "2 e-mail addresses"),
        ({"migrate": "IntegrityError"}, "MigrationFailed", "IntegrityError"),
    ],
)
def test_what_fails_before_or_in_the_migrations_holds_and_everything_goes_on_as_it_was(
    failing: dict[str, str], reason: str, text: str
) -> None:
    world = an_upgrade(*SCHEMA_RUNG, failing=failing)
    plan = world.climb()
    assert condition(plan, "UpgradeHeld")[1] == reason
    assert text in condition(plan, "UpgradeHeld")[2]
    assert world.followed == []
    assert condition(plan, "Ready")[0] == "True"


def test_a_check_that_failed_is_made_again_after_five_minutes() -> None:
    world = an_upgrade(*PLAIN_RUNG, failing={CHECK_JOB: "image is not there"})
    world.climb()
    world.failing = {}
    world.now += 270
    assert world.climb().upgrade.step == "check"
    world.now += 40
    assert world.climb().upgrade is None


def test_a_rung_without_a_change_of_the_schema_goes_back_when_a_part_fails_and_is_not_tried_again() -> None:
    world = an_upgrade(*PLAIN_RUNG, failing={"frontend": "exceeded its progress deadline"})
    plan = world.climb()
    assert condition(plan, "UpgradeHeld")[:2] == ("True", "RolledBack")
    assert "step frontend: frontend: exceeded its progress deadline" in condition(plan, "UpgradeHeld")[2]
    assert world.releases() == {"1.25.0"}
    assert world.migrations == {"1.26.0": 1}
    world.failing = {}
    world.now += 86_400
    assert condition(world.climb(), "UpgradeHeld")[1] == "RolledBack"
    world.drop(CHECK_JOB)
    assert world.climb().upgrade is None
    assert world.releases() == {"1.26.0"}


@settings(max_examples=20)
@given(kills=st.lists(st.integers(0, 4), max_size=40))
def test_killed_after_any_write_a_rung_that_fails_ends_in_the_same_state(kills: list[int]) -> None:
    world = an_upgrade(*PLAIN_RUNG, failing={"sfu": "exceeded its progress deadline"})
    for most in kills:
        world.turn(most)
    assert condition(world.climb(), "UpgradeHeld")[1] == "RolledBack"
    assert world.releases() == {"1.25.0"}


def test_a_rung_with_a_change_of_the_schema_holds_when_a_part_fails_and_what_works_goes_on() -> None:
    world = an_upgrade(*SCHEMA_RUNG, failing={"summary": "x", "frontend": "exceeded its progress deadline"})
    plan = world.climb()
    assert condition(plan, "UpgradeHeld")[1] == "UpgradeFailed"
    assert "the database is at 1.25.0 already" in condition(plan, "UpgradeHeld")[2]
    assert world.workload("backend").release == "1.25.0"
    assert world.workload("sfu").release == "1.24.0"
    world.failing = {}
    world.turn()
    assert world.climb().upgrade is None


def test_a_rung_that_cannot_be_verified_goes_back() -> None:
    world = an_upgrade(*PLAIN_RUNG, failing={VERIFY_JOB: "join: no answer"})
    plan = world.climb()
    assert condition(plan, "UpgradeHeld")[1] == "RolledBack"
    assert world.releases() == {"1.25.0"}


def test_hold_is_kept_to_where_it_is_asked_for() -> None:
    world = an_upgrade(*PLAIN_RUNG, failing={"frontend": "stuck"}, upgrade={"onFailure": "Hold"})
    plan = world.climb()
    assert condition(plan, "UpgradeHeld")[1] == "UpgradeFailed"
    assert world.workload("backend").release == "1.26.0"


def test_asking_for_the_older_release_again_takes_a_rung_back_that_did_not_change_the_schema() -> None:
    world = an_upgrade(*PLAIN_RUNG)
    while len(world.followed) < 4:
        world.turn()
    world.spec = world.spec.model_copy(update={"version": "1.25.0"})
    plan = world.climb()
    assert plan.upgrade is None
    assert world.releases() == {"1.25.0"}


def test_asking_for_the_older_release_again_after_a_migration_is_held_and_nothing_goes_back() -> None:
    world = an_upgrade(*SCHEMA_RUNG)
    while not world.followed:
        world.turn()
    before = world.releases()
    world.spec = world.spec.model_copy(update={"version": "1.24.0"})
    plan = world.climb()
    assert condition(plan, "UpgradeHeld")[1] == "VersionStepNotAllowed"
    assert "set it to 1.25.0 or newer" in condition(plan, "UpgradeHeld")[2]
    assert world.releases() == before


def test_a_newer_release_asked_for_on_the_way_is_climbed_to_after_the_rung_that_has_begun() -> None:
    world = an_upgrade(*SCHEMA_RUNG, **NO_PAUSE)
    while not world.followed:
        world.turn()
    world.spec = world.spec.model_copy(update={"version": "1.27.0"})
    assert world.decide().upgrade.path == ("1.25.0", "1.26.0", "1.27.0")
    assert world.climb().release.version == "1.27.0"


@pytest.mark.parametrize(
    ("backup", "source", "text"),
    [
        (None, None, "spec.upgrade.backup: 1.25.0 changes the database"),
        ({"cronJob": "dump"}, BackupSource(False), "CronJob dump does not exist in namespace visio"),
        ({"cloudNativePG": {"cluster": "db"}}, BackupSource(False), "install CloudNativePG"),
    ],
)
def test_a_database_of_the_users_is_not_migrated_before_it_is_said_how_it_is_saved(
    backup: Any, source: BackupSource | None, text: str
) -> None:
    world = an_upgrade(*SCHEMA_RUNG, **OUTSIDE, upgrade={"backup": backup} if backup else {})
    world.world = replace(world.world, backup_source=source)
    plan = world.climb()
    assert condition(plan, "UpgradeHeld")[0] == "True"
    assert text in condition(plan, "UpgradeHeld")[2]
    assert not world.migrations


@pytest.mark.parametrize(("failed", "ends"), [("", True), ("pg_dump: no space left", False)])
def test_the_database_is_saved_before_its_migration_or_nothing_is_migrated(failed: str, ends: bool) -> None:
    world = an_upgrade(
        *SCHEMA_RUNG, failing={"upgrade-backup": failed}, **OUTSIDE, upgrade={"backup": {"cronJob": "dump"}}
    )
    world.world = replace(world.world, backup_source=BackupSource(True, {"template": {}}))
    plan = world.climb()
    assert (plan.upgrade is None) is ends
    assert bool(world.migrations) is ends
    if failed:
        assert "pg_dump: no space left" in condition(plan, "UpgradeHeld")[2]
        world.failing = {}
        world.drop("upgrade-backup")
        assert world.climb().upgrade is None


def test_a_first_installation_has_no_rungs() -> None:
    spec = a_spec(version="1.27.0")
    plan = decide(spec, an_empty_world(spec), NOW, LADDER)
    assert plan.upgrade is None
    assert plan.release.version == "1.27.0"


def test_a_first_installation_of_an_unknown_release_is_refused_with_the_nearest_one() -> None:
    spec = a_spec(version="1.27.3")
    plan = decide(spec, an_empty_world(spec), NOW, LADDER)
    assert plan.release is None
    assert "the nearest known release is" in plan.invalid[0]


def test_scripts_of_the_last_releases_are_kept_the_newest_first_and_stay_as_they_are_afterwards() -> None:
    spec, world = a_spec(version="1.27.0"), a_healthy_world(a_spec(version="1.27.0"))
    image = "docker.io/lasuite/meet-frontend:v{}".format
    ran = (image("1.26.0"), image("1.25.0"), image("1.24.0"), image("1.23.0"), image("1.26.0"))
    frontend = replace(world.workloads["frontend"], images=ran, release="1.26.0")
    workloads = {**world.workloads, "frontend": frontend}
    plan = decide(spec, replace(world, workloads=workloads), NOW, LADDER)
    assert plan.older_pages == (image("1.25.0"), image("1.24.0"), image("1.23.0")), "its turn has not come"
    now = (*[image(version) for version in ("1.27.0", "1.26.0", "1.25.0")], image("1.27.0"))
    settled = {**world.workloads, "frontend": replace(frontend, images=now, release="1.27.0")}
    plan = decide(spec, replace(world, workloads=settled), NOW, LADDER)
    assert plan.older_pages == (image("1.26.0"), image("1.25.0"))
