"""The canary among the steps of a rung: media servers follow only when it passed, and its failure holds the rung."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plan_world import LADDER, condition
from upgrade_world import UpgradeWorld, an_upgrade

from visio_operator.api.releases import ReleaseEntry
from visio_operator.plan.plan import Plan

TAG = "docker.io/livekit/livekit-server:v9.9.9"


def with_livekit(image: str) -> tuple[ReleaseEntry, ...]:
    """The ladder in which 1.26.0 brings another LiveKit."""
    return tuple(
        replace(one, images={**one.images, "livekit": image}) if one.version == "1.26.0" else one for one in LADDER
    )


def a_world(lost: int = 0, **upgrade: Any) -> UpgradeWorld:
    """Its rung brings another LiveKit."""
    made = an_upgrade("1.25.0", "1.26.0", upgrade={"soak": "0s", **upgrade})
    return replace(made, ladder=with_livekit(TAG), lost=lost)


def until_canary(world: UpgradeWorld) -> Plan:
    for _ in range(50):
        plan = world.turn()
        if plan.canary is not None:
            return plan
    raise AssertionError(f"no canary: {plan.trace[1]}")


def test_all_but_media_servers_have_followed_when_it_starts_and_they_follow_when_it_passed() -> None:
    world = a_world()
    plan = until_canary(world)
    assert plan.canary is not None
    assert (plan.upgrade.step, plan.canary.release.version) == ("canary", "1.26.0")  # type: ignore[union-attr]
    assert {part for part, _ in world.followed} >= {"backend", "frontend"}
    assert ("sfu", "1.26.0") not in world.followed
    plans = [world.turn() for _ in range(40)]
    assert ("sfu", "1.26.0") in world.followed
    assert world.decide().upgrade is None, "the rung has ended"
    assert world.decide().canary is None, "and it is gone"
    first = next(number for number, plan in enumerate(plans) if plan.release_of("sfu").version == "1.26.0")
    assert all(plan.canary is not None for plan in plans[: first + 1]), "it serves until the others do"


def test_a_loss_of_joins_holds_the_rung_and_leaves_the_others_alone() -> None:
    world = a_world(lost=6)
    until_canary(world)
    for _ in range(20):
        plan = world.turn()
    _, reason, message = condition(plan, "UpgradeHeld")
    assert reason == "CanaryFailed"
    assert "joins without media" in message
    assert "visio-operator.dev/retry=1.26.0" in message
    assert plan.canary is None
    assert ("sfu", "1.26.0") not in world.followed
    assert condition(plan, "Ready")[0] == "True"


@pytest.mark.parametrize("way", ["retry", "no canary", "another image"])
def test_each_way_that_the_message_names_leads_on(way: str) -> None:
    world = a_world(lost=6)
    until_canary(world)
    for _ in range(20):
        world.turn()
    world.lost = 0
    if way == "retry":
        world.world = replace(world.world, retry="1.26.0")
    elif way == "no canary":
        upgrade = world.spec.upgrade.model_copy(update={"canary": False})
        world.spec = world.spec.model_copy(update={"upgrade": upgrade})
    else:
        world.ladder = with_livekit(f"{TAG}-mended")
    for _ in range(60):
        world.turn()
    assert world.decide().upgrade is None
    assert world.workload("sfu").release == "1.26.0"


def test_a_part_that_restarts_meanwhile_does_not_end_it() -> None:
    world = a_world(lost=0, canaryFor="10m")
    until_canary(world)
    world.turn()
    counted = dict(world.world.memory)
    frontend = world.world.workloads["frontend"]
    world.world = replace(
        world.world, workloads={**world.world.workloads, "frontend": replace(frontend, ready=0, updated=0)}
    )
    plan = world.decide()
    assert plan.upgrade is not None
    assert plan.upgrade.step == "frontend"
    assert plan.canary is not None
    assert counted["canary.of"] == plan.memory["canary.of"]
