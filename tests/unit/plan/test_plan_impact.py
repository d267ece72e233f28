"""What a change does before it is made: what its name covers, who is touched, how long it takes, what it costs."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest
from plan_world import LADDER, NOW, a_healthy_world, a_spec

from visio_operator.plan.decide import decide
from visio_operator.plan.images import as_release
from visio_operator.plan.impact import (
    Calls,
    calls_at_risk,
    drained_after,
    euros,
    pool_changes,
    restarted_by,
    rung_seconds,
    upgrade_impact,
)
from visio_operator.plan.observed import CaptionsServer, MediaServer, Pool, Recorder, TranscriptionWorker
from visio_operator.plan.plan import Plan, PoolPlan, Release


def release(version: str) -> Release:
    return as_release(next(entry for entry in LADDER if entry.version == version), ())


def a_server(pod: str, rooms: int | None, participants: int | None) -> MediaServer:
    return MediaServer(pod=pod, node="n", ready=True, created=0.0, rooms=rooms, participants=participants)


def test_a_release_restarts_the_parts_whose_images_differ() -> None:
    old = release("1.26.0")
    new = replace(old, version="1.27.0", images={**old.images, "backend": "x", "livekit": "y"})
    parts = ("migrate", "backend", "celery-backend", "clean-pending-files", "frontend", "sfu", "egress")
    assert restarted_by(old, new, parts) == ("backend", "celery-backend", "sfu")


def test_only_what_restarts_is_at_risk() -> None:
    spec = a_spec(sfu={"drainDeadline": "2h"})
    world = replace(
        a_healthy_world(spec),
        media=(a_server("a", 3, 20), a_server("b", 2, 11)),
        recorders=(Recorder("e", ready=True, created=0.0, busy=True), Recorder("f", ready=True, created=0.0)),
        captions=(CaptionsServer("c", "n", True, True, 7, 64, 0.0, 0.0),),
        transcribers=(TranscriptionWorker("t", "n", True, True, 0.0),),
    )
    assert calls_at_risk(spec, world, {"backend"}) == Calls(deadline=7200.0)
    assert calls_at_risk(spec, world, {"sfu", "egress", "captions", "transcription"}) == Calls(
        rooms=5, participants=31, streams=7, recordings=1, transcriptions=1, deadline=7200.0
    )


def test_a_forced_drain_ends_when_its_deadline_says() -> None:
    spec = a_spec(drain={"policy": "Force", "deadline": "10m"})
    assert calls_at_risk(spec, a_healthy_world(spec), {"sfu"}).deadline == 600.0


def test_what_could_not_be_read_is_not_called_zero() -> None:
    spec = a_spec()
    world = replace(a_healthy_world(spec), media=(a_server("a", 3, 20), a_server("b", None, None)))
    calls = calls_at_risk(spec, world, {"sfu"})
    assert (calls.rooms, calls.participants) == (None, None)
    assert drained_after(calls) == 18_000.0


@pytest.mark.parametrize(
    ("rooms", "deadline", "minutes"), [(0, 18_000, 0), (1, 18_000, 30), (4, 18_000, 62.5), (8, 3600, 60)]
)
def test_a_drain_is_expected_to_last_until_the_last_room_has_ended(rooms: int, deadline: float, minutes: float) -> None:
    assert drained_after(Calls(rooms=rooms, deadline=deadline)) == pytest.approx(60 * minutes)


def test_a_rung_without_new_media_servers_neither_drains_nor_tries_a_canary() -> None:
    spec = a_spec()
    world = replace(a_healthy_world(spec), media=(a_server("a", 2, 9),))
    short, long = rung_seconds(spec, world, {"backend"}), rung_seconds(spec, world, {"backend", "sfu"})
    assert long - short == pytest.approx(600 + 60 + 60 + 45 * 60)
    assert rung_seconds(a_spec(upgrade={"canary": False}), world, {"backend", "sfu"}) == pytest.approx(long - 660)


def test_pools_are_counted_against_what_the_provider_is_asked_for_now() -> None:
    pools = [
        {"name": "a", "provider": "oks", "max": 4, "pricePerHour": "2.50"},
        {"name": "b", "provider": "oks", "max": 4},
        {"name": "c", "provider": "oks", "max": 4, "pricePerHour": "1"},
    ]
    spec = a_spec(gpuPools=pools)
    seen = {"a": Pool("a", found=True, desired=1), "b": Pool("b", found=True, desired=0), "c": Pool("c", True, 2)}
    world = replace(a_healthy_world(spec), pools=seen)

    def planned(**sizes: int) -> tuple[PoolPlan, ...]:
        return tuple(PoolPlan(name, "oks", size, 0, 4) for name, size in sizes.items())

    priced = pool_changes(spec, world, Plan(release=None, parts={}, pools=planned(a=3, c=2)))
    assert [(c.pool, c.before, c.after, c.euros_per_day) for c in priced] == [("a", 1, 3, Decimal("120.00"))]
    assert euros(priced) == Decimal("120.00")
    assert euros(pool_changes(spec, world, Plan(release=None, parts={}, pools=planned(a=3, b=1)))) is None


def test_an_upgrade_that_waits_names_its_rungs_and_what_they_restart() -> None:
    spec = a_spec(version="1.27.0", upgrade={"mode": "Approve", "soak": "30m"})
    world = replace(a_healthy_world(a_spec(version="1.25.0")), media=(a_server("a", 2, 9),))
    plan = decide(spec, world, NOW, LADDER)
    found = upgrade_impact(spec, world, plan, LADDER)
    assert found is not None
    assert [rung.version for rung in found.rungs] == ["1.26.0", "1.27.0"]
    held = next(one.message for one in plan.conditions if one.type == "UpgradeHeld")
    assert found.digest in held, "it is the digest that is asked to be approved"
    assert found.rungs[1].restarts == {"backend": 2, "celery-backend": 1, "frontend": 2}
    assert found.seconds == pytest.approx(sum(rung.seconds for rung in found.rungs) + 1800)
    assert upgrade_impact(spec, world, replace(plan, upgrade=None), LADDER) is None


def test_parts_that_have_followed_are_not_counted_again() -> None:
    spec = a_spec(version="1.27.0")
    world = a_healthy_world(a_spec(version="1.26.0"))
    plan = decide(spec, world, NOW, LADDER)
    followed = replace(world.workloads["backend"], release="1.27.0")
    later = replace(world, workloads={**world.workloads, "backend": followed})
    before, after = (upgrade_impact(spec, seen, plan, LADDER) for seen in (world, later))
    assert before is not None and after is not None
    assert set(before.rungs[0].restarts) - set(after.rungs[0].restarts) == {"backend"}
    assert before.digest == after.digest
