"""Gates within whole upgrades: what happens between rungs, inside them, and under an emergency stop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plan_world import LADDER, NOW, a_spec, an_empty_world, condition
from upgrade_world import UpgradeWorld, an_upgrade

from visio_operator.plan.decide import decide
from visio_operator.plan.observed import RingPeer
from visio_operator.plan.plan import Plan
from visio_operator.plan.steps import CHECK_JOB, VERIFY_JOB

NO_SOAK = {"soak": "0s"}


def spec_of(world: UpgradeWorld, **fields: Any) -> None:
    """Change the spec in the middle of an upgrade."""
    world.spec = a_spec(version=world.spec.version, **fields)


def settled(world: UpgradeWorld, turns: int = 200) -> Plan:
    """Turn until nothing is written any more, with the memory that status carries."""
    for _ in range(turns):
        plan = world.decide()
        if not list(world._writes(plan)):
            world.world = replace(world.world, memory=dict(plan.memory))
            return plan
        turned(world)
    raise AssertionError(f"no end: {plan.trace[1]}")


def turned(world: UpgradeWorld) -> Plan:
    plan = world.turn()
    world.world = replace(world.world, memory=dict(plan.memory))
    return plan


def test_the_soak_is_between_rungs_and_says_when_it_ends() -> None:
    world = an_upgrade("1.25.0", "1.27.0", upgrade={"soak": "20m"})
    plan = settled(world)
    assert world.migrations == {"1.26.0": 1}
    assert condition(plan, "UpgradeHeld")[1] == "Soaking"
    finished = world.workload(VERIFY_JOB).finished_at
    assert plan.upgrade.next_start == finished + 1200
    world.now = finished + 1195
    assert world.decide().recheck_after == 5.0, "looked at again when the soak ends"
    world.now = finished + 1200
    assert settled(world).upgrade is None
    assert world.migrations == {"1.26.0": 1, "1.27.0": 1}


def test_a_rung_that_was_verified_a_moment_ago_soaks_although_its_job_does_not_say_when_it_ended() -> None:
    world = an_upgrade("1.25.0", "1.27.0", upgrade={"soak": "20m"})
    settled(world)
    verified = replace(world.workload(VERIFY_JOB), finished_at=0.0)
    world.world = replace(world.world, workloads={**world.world.workloads, VERIFY_JOB: verified})
    assert condition(world.decide(), "UpgradeHeld")[1] == "Soaking"


@pytest.mark.parametrize("paused_after", range(1, 8))
def test_a_pause_waits_for_the_end_of_the_rung_that_runs(paused_after: int) -> None:
    world = an_upgrade("1.25.0", "1.27.0", upgrade=NO_SOAK)
    for _ in range(paused_after):
        turned(world)
    spec_of(world, upgrade={**NO_SOAK, "paused": True})
    plan = settled(world)
    assert condition(plan, "UpgradeHeld")[1] == "Paused"
    [release] = world.releases()
    assert release in ("1.25.0", "1.26.0"), "no further rung"
    spec_of(world, upgrade=NO_SOAK)
    assert settled(world).upgrade is None
    assert world.migrations == {"1.26.0": 1, "1.27.0": 1}


def test_one_approval_is_good_for_the_whole_way() -> None:
    world = an_upgrade("1.25.0", "1.27.0", upgrade={**NO_SOAK, "mode": "Approve"})
    plan = settled(world)
    digest = plan.upgrade.approval
    assert condition(plan, "UpgradeHeld")[1] == "ApprovalNeeded"
    assert condition(plan, "ApprovalPending") == (
        "True", "ApprovalNeeded",
        "the upgrade 1.25.0 -> 1.26.0 -> 1.27.0; approve it with"
        f" `visio-operator approve main -n visio --digest {digest}`",
    )  # fmt: skip
    world.world = replace(world.world, approved_upgrade=digest)
    taken = turned(world)
    assert (taken.approved_upgrade, taken.upgrade.step) == (digest, "check")
    assert condition(taken, "ApprovalPending")[0] == "False"
    assert settled(world).upgrade is None
    assert world.releases() == {"1.27.0"}


def test_a_stale_approval_is_refused_and_named() -> None:
    world = an_upgrade("1.25.0", "1.26.0", upgrade={**NO_SOAK, "mode": "Approve"})
    old = settled(world).upgrade.approval
    world.spec = a_spec(version="1.27.0", upgrade={**NO_SOAK, "mode": "Approve"})
    world.world = replace(world.world, approved_upgrade=old)
    plan = settled(world)
    assert f"the approval of {old} is of another plan and is ignored" in condition(plan, "UpgradeHeld")[2]
    assert world.migrations == {}
    world.world = replace(world.world, approved_upgrade=plan.upgrade.approval)
    assert settled(world).upgrade is None


def test_a_deployment_waits_for_the_rings_before_it_and_follows() -> None:
    world = an_upgrade("1.26.0", "1.27.0", upgrade=NO_SOAK)
    pilot = RingPeer("visio", "pilot", "pilot", "1.27.0", running="1.26.0", since=NOW)
    world.world = replace(world.world, ring_peers=(pilot,))
    plan = settled(world)
    assert (condition(plan, "UpgradeHeld")[1], plan.upgrade.blockers) == (
        "WaitingForRing", ("pilot visio/pilot runs 1.26.0",)
    )  # fmt: skip
    world.world = replace(world.world, ring_peers=(replace(pilot, running="1.27.0"),))
    assert settled(world).upgrade is None


@pytest.mark.parametrize("stopped_after", range(12))
def test_an_emergency_stop_holds_at_any_step_writes_and_remembers_nothing_and_goes_on_after_it(
    stopped_after: int,
) -> None:
    world = an_upgrade("1.25.0", "1.27.0", upgrade=NO_SOAK)
    for _ in range(stopped_after):
        turned(world)
    spec_of(world, upgrade=NO_SOAK, emergencyStop=True)
    before = world.world
    plan = world.decide()
    assert plan.stopped
    assert not any(part.write or part.prepare for part in plan.parts.values())
    assert (plan.pools, plan.pods, plan.nodes, plan.secrets, plan.memory) == ((), (), (), (), before.memory)
    assert plan.upgrade is None or (plan.upgrade.job, plan.upgrade.taken_back) == (None, "")
    assert condition(plan, "EmergencyStop")[:2] == ("True", "EmergencyStop")
    assert condition(plan, "Progressing")[:2] == ("False", "EmergencyStop")
    assert condition(plan, "Ready")[0] == "True", "what runs goes on serving"
    spec_of(world, upgrade=NO_SOAK)
    assert settled(world).upgrade is None
    assert world.migrations == {"1.26.0": 1, "1.27.0": 1}


def test_an_emergency_stop_of_what_does_not_exist_yet_is_not_ready() -> None:
    spec = a_spec(emergencyStop=True)
    plan = decide(spec, an_empty_world(spec), NOW, LADDER)
    assert condition(plan, "Ready")[:2] == ("False", "PartsNotReady")
    assert "spec.emergencyStop is true" in condition(plan, "Ready")[2]


def test_the_length_of_a_rung_is_learned_from_the_one_before() -> None:
    world = an_upgrade("1.25.0", "1.26.0", upgrade=NO_SOAK)
    plan = settled(world)
    took = {key: value for key, value in plan.memory.items() if key.startswith("upgrade.took.")}
    assert {"upgrade.took.check", "upgrade.took.migrate", "upgrade.took.verify"} <= took.keys()
    assert all(0 < value <= 300 for value in took.values())
    assert not [key for key in plan.memory if key.startswith("upgrade.began.")]


def test_a_rung_that_has_begun_goes_on_after_its_window_has_closed() -> None:
    window = {"days": ["Fri"], "start": "08:00", "duration": "2h", "timeZone": "Europe/Paris"}
    world = an_upgrade("1.25.0", "1.27.0", upgrade={**NO_SOAK, "windows": [window]})
    turned(world)
    assert world.workload(CHECK_JOB).release == "1.26.0"
    world.now += 7200
    plan = settled(world)
    assert world.releases() == {"1.26.0"}
    assert condition(plan, "UpgradeHeld")[1] == "OutsideWindow"
    assert plan.upgrade.next_start is not None
