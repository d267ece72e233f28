"""A canary media server is tried, followed or taken back, from what is seen and from little memory."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plan_world import LADDER, NOW, a_healthy_world, a_spec, a_workload

from visio_operator.plan.canary import CANARY, CanaryStep, canary_step
from visio_operator.plan.images import as_release
from visio_operator.plan.media_counts import Counts, Stretch
from visio_operator.plan.observed import MediaServer, Observed
from visio_operator.plan.pace import Pace

PACE = Pace()
OLD = as_release(next(entry for entry in LADDER if entry.version == "1.26.0"), [])
NEW = replace(
    as_release(next(entry for entry in LADDER if entry.version == "1.27.0"), []),
    images={**OLD.images, "livekit": "docker.io/livekit/livekit-server:v9.9.9"},
)
IMAGE, USUAL = NEW.images["livekit"], OLD.images["livekit"]
LOOK = 15.0
LIMIT = 600.0


def a_server(name: str, image: str = USUAL, **changes: Any) -> MediaServer:
    server = MediaServer(pod=name, node=f"node-{name}", ready=True, created=NOW - 3600, image=image)
    return replace(server, canary=image == IMAGE, **changes)


def joined(end: float, joins: float = 0.0, failed: float = 0.0, **more: float) -> Stretch:
    return Stretch(end, Counts(seconds=LOOK, joins=joins, starts=joins - failed, **more))


class World:
    """Two old servers and the canary that the last step asked for, look by look."""

    def __init__(self, **upgrade: Any) -> None:
        self.spec = a_spec(version="1.26.0", upgrade=upgrade)
        self.main = a_workload(self.spec, "sfu", desired=2, ready=2, updated=2, images=(USUAL,))
        self.now, self.memory = NOW, {}
        self.step = CanaryStep()

    def look(
        self,
        mine: Stretch | None = None,
        theirs: Stretch | None = None,
        *,
        retry: bool = False,
        servers: tuple[MediaServer, ...] | None = None,
        **canary: Any,
    ) -> CanaryStep:
        """One pass; the stretches end now."""
        there = () if self.step.plan is None else (a_server("canary", IMAGE, **canary),)
        if mine is not None:
            there = tuple(replace(one, stretches=(replace(mine, end=self.now),)) for one in there)
        seen = (replace(theirs, end=self.now),) if theirs is not None else ()
        old = (a_server("a", stretches=seen), a_server("b", stretches=seen))
        workloads: dict[str, Any] = {"sfu": self.main}
        if there:
            workloads[CANARY] = replace(self.main, name="main-sfu-canary", part=CANARY, images=(IMAGE,))
        observed: Observed = a_healthy_world(self.spec, media=(*old, *there) if servers is None else servers)
        observed = replace(observed, workloads={**observed.workloads, **workloads}, memory=self.memory)
        self.step = canary_step(self.spec, observed, OLD, NEW, self.now, PACE, retry=retry)
        self.memory = dict(self.step.memory)
        self.now += LOOK
        return self.step

    def looks(self, number: int, **look: Any) -> CanaryStep:
        for _ in range(number):
            self.look(**look)
        return self.step


def started(**upgrade: Any) -> World:
    """The canary is ready."""
    world = World(**upgrade)
    assert world.look().plan is not None
    world.look()
    return world


def test_nothing_is_tried_where_it_is_not_asked_for_or_livekit_stays_the_same() -> None:
    off = World(canary=False).look()
    assert (off.done, off.plan, off.failed) == (True, None, ())
    same = canary_step(a_spec(), a_healthy_world(a_spec()), OLD, replace(OLD, version="1.27.0"), NOW, PACE)
    assert (same.done, same.plan) == (True, None)


def test_a_canary_without_traffic_passes_when_its_time_is_over_and_says_so() -> None:
    world = started()
    quiet = {"mine": joined(0), "theirs": joined(0, joins=3)}
    before = world.looks(39, **quiet)
    assert (before.done, before.plan is not None) == (False, True)
    step = world.looks(2, **quiet)
    assert (step.done, step.failed, step.trace) == (True, (), ("canary: 1.27.0 passed, no traffic",))
    assert step.plan is not None, "it stays until the others have followed"


def test_many_joins_need_a_fifth_of_the_time() -> None:
    world = started()
    busy = {"mine": joined(0, 60), "theirs": joined(0, 60)}
    assert not world.looks(6, **busy).done
    step = world.looks(3, **busy)
    assert step.done
    assert "passed, 480 joins, 0 of them without media" in step.trace[0]


def test_too_few_joins_pass_with_a_word_about_it() -> None:
    step = started().looks(41, mine=joined(0, 1), theirs=joined(0, 1))
    assert step.done
    assert step.trace[0].endswith("too few to rule out a loss of 5 %")


def test_a_loss_of_joins_stops_it_and_the_evidence_stays() -> None:
    world = started()
    step = world.looks(20, mine=joined(0, 20, failed=1), theirs=joined(0, 20))
    assert (step.done, step.plan) == (False, None)
    (line,) = step.failed
    assert line.startswith("joins without media: ")
    later = world.looks(100)
    assert later.failed == step.failed
    assert len(later.memory) < 30


def test_another_image_or_the_users_word_tries_it_again_once() -> None:
    world = started()
    world.looks(20, mine=joined(0, 20, failed=2), theirs=joined(0, 20))
    assert world.look(retry=True).plan is not None
    world.look(retry=True)
    again = world.looks(20, mine=joined(0, 20, failed=2), theirs=joined(0, 20), retry=True)
    assert again.failed, "the same word counts once"
    assert world.look(retry=False).failed
    assert world.look(retry=True).plan is not None


def test_only_what_both_counted_in_the_same_looks_is_compared() -> None:
    """An hour ago the old servers lost many; while the new one could not be read they lose nothing that counts."""
    world = started()
    world.looks(10, mine=None, theirs=joined(0, 100))
    assert "canary.old.joins" not in world.memory
    world.look(mine=joined(0, 10), theirs=joined(0, 10))
    assert (world.memory["canary.new.joins"], world.memory["canary.old.joins"]) == (10, 20)
    world.now -= LOOK
    world.look(mine=joined(0, 10), theirs=joined(0, 10))
    assert world.memory["canary.new.joins"] == 10, "the same reading counts once"


def test_unreadable_metrics_are_no_success() -> None:
    step = started().looks(41, theirs=joined(0, 10))
    assert step.failed == ("the metrics of the new media server were readable for 0 s of 10m only",)


def test_a_crash_stops_it_at_once() -> None:
    assert started().look(restarts=1).failed == ("restarts: 1, the old servers 0",)


@pytest.mark.parametrize(
    ("canary", "want"),
    [
        ({"ready": False, "problem": "ImagePullBackOff"}, "its pod said ImagePullBackOff"),
        ({"ready": False, "problem": "SomethingNew"}, "did not become ready within 10m"),
    ],
)
def test_one_that_never_gets_ready_fails_when_its_time_is_over(canary: dict[str, Any], want: str) -> None:
    world = World()
    assert world.looks(40, **canary).failed == ()
    assert want in world.looks(2, **canary).failed[0]


def test_one_that_crashes_at_every_start_is_not_waited_for() -> None:
    world = World()
    world.look()
    assert world.look(ready=False, restarts=3, problem="CrashLoopBackOff").failed[0].endswith("said CrashLoopBackOff")


def test_where_no_node_has_room_the_upgrade_goes_on_without_it() -> None:
    world = World()
    step = world.looks(40, ready=False, node="")
    assert step.trace == ("canary: the media server of 1.27.0 waits for a node with room for it",)
    step = world.looks(2, ready=False, node="")
    assert (step.done, step.plan, step.failed) == (True, None, ())
    assert "left out" in step.trace[0]


def test_it_stays_until_the_others_have_followed_and_then_goes() -> None:
    world = started(canaryFor="60s")
    assert world.looks(5, mine=joined(0), theirs=joined(0)).done
    world.main = replace(world.main, images=(IMAGE,), updated=1)
    step = world.look()
    assert (step.done, step.plan is not None) == (True, True)
    world.main = replace(world.main, updated=2)
    step = world.look()
    assert (step.done, step.plan, dict(step.memory)) == (True, None, {})
    assert world.look().plan is None


def test_a_rung_that_went_past_it_is_not_tried_when_the_memory_is_lost() -> None:
    world = World()
    world.main = replace(world.main, images=(IMAGE,), updated=1)
    assert (world.look().done, world.step.plan) == (True, None)


def test_servers_that_drain_count_for_nothing() -> None:
    world = started()
    leaving = replace(a_server("x", IMAGE, terminating=True, restarts=5), stretches=(joined(world.now, 50, failed=50),))
    step = world.look(servers=(a_server("a"), a_server("b"), a_server("canary", IMAGE), leaving))
    assert (step.failed, step.plan is not None) == ((), True)


numbers = st.integers(0, 40).map(float)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(numbers, numbers, numbers, st.booleans(), st.integers(0, 1), st.booleans()), max_size=60),
    st.integers(0, 59),
)
def test_it_ends_and_an_operator_that_starts_anew_decides_the_same(looks: list[Any], crash: int) -> None:
    """Whatever is counted: never passed and failed at once, always over when its time is, and a pass whose result was
    lost is made up for by the next one."""
    world = World()
    for number, (joins, failed, theirs, ready, restarts, retry) in enumerate(looks):
        before = dict(world.memory)
        step = world.look(
            mine=joined(0, joins, min(joins, failed)), theirs=joined(0, theirs), ready=ready, restarts=restarts,
            retry=retry,
        )  # fmt: skip
        assert not (step.done and step.failed)
        assert step.done or step.failed or step.plan is not None
        assert not (step.failed and step.plan)
        if number == crash:
            world.now -= LOOK
            world.memory = before
            again = world.look(
                mine=joined(0, joins, min(joins, failed)), theirs=joined(0, theirs), ready=ready, restarts=restarts,
                retry=retry,
            )  # fmt: skip
            # Where the canary was made and the status not written, it is watched from this look on.
            if again.memory.get("canary.began") == step.memory.get("canary.began"):
                assert (again.plan is None) != (step.plan is None) or again == step
    for _ in range(int(2 * LIMIT / LOOK) + 2):
        world.look()
    assert world.step.done or world.step.failed
