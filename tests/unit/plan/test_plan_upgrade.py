"""Versions: which steps are allowed, and what waits for what."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from plan_world import LADDER, NOW, a_healthy_world, a_spec, condition

from visio_operator.plan.decide import decide
from visio_operator.plan.observed import Observed


def decided(spec: Any, observed: Observed) -> Any:
    return decide(spec, observed, NOW, LADDER)


def changed(world: Observed, part: str, **changes: Any) -> Observed:
    return replace(world, workloads={**world.workloads, part: replace(world.workloads[part], **changes)})


def written(plan: Any) -> set[str]:
    return {name for name, part in plan.parts.items() if part.write}


@dataclass(frozen=True)
class Step:
    name: str
    running: str
    wanted: str
    want_release: str
    want_migrate: str = ""
    want_refusal: str = ""
    migrate: dict[str, Any] = field(default_factory=dict)
    upgrade: dict[str, Any] = field(default_factory=dict)
    want_held: str = "NotHeld"


CLOSED = {"windows": [{"days": ["Sun"], "start": "02:00", "duration": "1h", "timeZone": "Europe/Paris"}]}
OPEN = {"windows": [{"days": ["Fri"], "start": "08:00", "duration": "2h", "timeZone": "Europe/Paris"}]}
NEW_JOB = {"images": ("docker.io/lasuite/meet-backend:v1.27.0",)}
STEPS = [
    Step("same version", "1.27.0", "1.27.0", "1.27.0"),
    Step("next minor, nothing migrated", "1.26.0", "1.27.0", "1.26.0", want_migrate="1.27.0"),
    Step("next minor, migration runs", "1.26.0", "1.27.0", "1.26.0", "1.27.0", migrate={**NEW_JOB, "succeeded": False}),
    Step("next minor, migration done", "1.26.0", "1.27.0", "1.27.0", migrate=NEW_JOB),
    Step(
        "next minor, migration failed",
        "1.26.0",
        "1.27.0",
        "1.26.0",
        "1.27.0",
        want_held="MigrationFailed",
        migrate={**NEW_JOB, "succeeded": False, "failed": "BackoffLimitExceeded"},
    ),
    Step("approval asked for", "1.26.0", "1.27.0", "1.26.0", upgrade={"mode": "Approve"}, want_held="ApprovalNeeded"),
    Step("outside its window", "1.26.0", "1.27.0", "1.26.0", upgrade=CLOSED, want_held="OutsideWindow"),
    Step("inside its window", "1.26.0", "1.27.0", "1.26.0", "1.27.0", upgrade=OPEN),
    Step(
        "window closed after the start",
        "1.26.0",
        "1.27.0",
        "1.26.0",
        "1.27.0",
        upgrade=CLOSED,
        migrate={**NEW_JOB, "succeeded": False},
    ),
    Step(
        "a minor skipped",
        "1.25.0",
        "1.27.0",
        "1.25.0",
        want_refusal="go to 1.26.0 first",
        want_held="VersionStepNotAllowed",
    ),
    Step(
        "downgrade",
        "1.27.0",
        "1.26.0",
        "1.27.0",
        want_refusal="set it to 1.27.0 or newer",
        want_held="VersionStepNotAllowed",
    ),
]


@pytest.mark.parametrize("case", STEPS, ids=lambda case: case.name)
def test_versions_change_one_minor_at_a_time_and_only_after_their_migrations(case: Step) -> None:
    spec = a_spec(version=case.wanted, upgrade=case.upgrade)
    world = changed(a_healthy_world(a_spec(version=case.running)), "migrate", **case.migrate)
    plan = decided(spec, world)
    assert plan.release.version == case.want_release
    assert (plan.migrate_release.version if plan.migrate_release else "") == case.want_migrate
    assert condition(plan, "UpgradeHeld")[1] == case.want_held
    if case.want_refusal:
        assert plan.invalid[0].endswith(case.want_refusal)
    else:
        assert plan.invalid == ()
        assert written(plan) == set(plan.parts)
        assert condition(plan, "Ready")[0] == "True", "an upgrade does not end readiness while the older release serves"


def test_the_version_that_runs_is_known_when_the_registry_changes() -> None:
    spec = a_spec(version="1.27.0", sovereignty={"registries": ["registry.example.fr"]})
    plan = decided(spec, a_healthy_world(a_spec(version="1.25.0")))
    assert plan.invalid[0].endswith("go to 1.26.0 first")
