"""The way up the release ladder: every minor once, the highest patch of each, and no way where a rung is missing."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from visio_operator.api.releases import ReleaseEntry, load_releases, order
from visio_operator.plan.path import climb, minor
from visio_operator.plan.policy import Refusal
from visio_operator.plan.reasons import Reason


def ladder_of(*versions: str) -> tuple[ReleaseEntry, ...]:
    return tuple(ReleaseEntry(version, None, {}) for version in versions)


def path(ladder: tuple[ReleaseEntry, ...], running: str, wanted: str) -> list[str]:
    found = climb(ladder, running, wanted)
    assert not isinstance(found, Refusal), found
    return [entry.version for entry in found]


def refused(ladder: tuple[ReleaseEntry, ...], running: str, wanted: str) -> Refusal:
    found = climb(ladder, running, wanted)
    assert isinstance(found, Refusal), [entry.version for entry in found]
    assert found.field == "spec.version"
    return found


LADDER = ladder_of("1.25.0", "1.25.1", "1.25.2", "1.26.0", "1.27.0", "1.27.3", "1.28.0", "2.0.0", "2.0.1", "2.2.0")


@pytest.mark.parametrize(
    "running, wanted, versions",
    [
        ("1.27.0", "1.27.0", []),
        ("1.25.0", "1.25.2", ["1.25.2"]),
        ("1.25.0", "1.26.0", ["1.26.0"]),
        ("1.25.1", "1.27.0", ["1.26.0", "1.27.0"]),
        ("1.26.0", "1.28.0", ["1.27.3", "1.28.0"]),
        ("1.27.3", "2.0.1", ["1.28.0", "2.0.1"]),
        ("1.28.0", "2.0.0", ["2.0.0"]),
    ],
    ids=[
        "there-already", "patch", "next-minor", "two-minors", "highest-patch-between", "next-major-after-last-minor",
        "next-major",
    ],
)  # fmt: skip
def test_minors_are_climbed_one_by_one_and_patches_skipped(running: str, wanted: str, versions: list[str]) -> None:
    assert path(LADDER, running, wanted) == versions


@pytest.mark.parametrize(
    "running, wanted, reason, problem, next_step",
    [
        ("1.27.0", "1.26.0", Reason.VERSION_STEP, "going back to 1.26.0", "set it to 1.27.0 or newer"),
        ("1.25.2", "1.25.1", Reason.VERSION_STEP, "going back to 1.25.1", "set it to 1.25.2 or newer"),
        ("1.27.0", "1.12.0", Reason.VERSION_STEP, "going back to 1.12.0", "set it to 1.27.0 or newer"),
        ("2.0.0", "2.2.0", Reason.VERSION_STEP, "lacks 2.1.x", "add a VisioRelease for a release of 2.1"),
        ("1.27.0", "2.2.0", Reason.VERSION_STEP, "lacks 2.1.x", "add a VisioRelease for a release of 2.1"),
        ("1.27.0", "1.31.0", Reason.UNKNOWN_VERSION, "1.31.0 is not in the", "the nearest known release is 1.28.0"),
        ("1.26.4", "1.27.0", Reason.UNKNOWN_VERSION, "running version 1.26.4", "add a VisioRelease named for 1.26.4"),
    ],
    ids=["minor-down", "patch-down", "down-to-unknown", "gap", "gap-further-up", "unknown", "running-unknown"],
)
def test_what_is_no_way_is_refused_with_the_remedy(
    running: str, wanted: str, reason: Reason, problem: str, next_step: str
) -> None:
    found = refused(LADDER, running, wanted)

    assert found.reason == reason
    assert problem in found.problem
    assert next_step in found.next_step


def test_a_gap_below_the_next_major_is_no_way_around_its_minors() -> None:
    found = refused(ladder_of("1.25.0", "1.27.0", "2.0.0"), "1.25.0", "2.0.0")

    assert "lacks 1.26.x" in found.problem


def test_the_built_in_ladder_has_no_gap() -> None:
    ladder = load_releases()
    way = path(ladder, "1.14.0", "1.33.0")

    assert [minor(version) for version in way] == [(1, number) for number in range(15, 34)]
    assert {"1.25.2", "1.32.1"} <= set(way), "the newest patches"


numbers = st.tuples(st.integers(1, 3), st.integers(0, 4), st.integers(0, 2))
ladders = st.sets(numbers, min_size=1, max_size=25).map(
    lambda found: ladder_of(*(".".join(map(str, each)) for each in sorted(found)))
)
GRID = [(major, number, patch) for major in (1, 2) for number in range(4) for patch in (0, 1)]
nearly_whole = st.sets(st.sampled_from(GRID), max_size=5).map(
    lambda missing: ladder_of(*(".".join(map(str, each)) for each in GRID if each not in missing))
)


@given(nearly_whole, st.data())
def test_every_way_goes_up_without_skipping_a_minor(ladder: tuple[ReleaseEntry, ...], data: st.DataObject) -> None:
    running, wanted = sorted((data.draw(st.sampled_from(ladder)).version for _ in range(2)), key=order)
    found = climb(ladder, running, wanted)
    assume(not isinstance(found, Refusal))
    assert not isinstance(found, Refusal)

    versions = [running, *(entry.version for entry in found)]
    assert versions[-1] == wanted
    assert versions == sorted(set(versions), key=order)
    for below, above in itertools.pairwise(versions):
        (major, number), here = minor(below), minor(above)
        assert here in ((major, number), (major, number + 1), (major + 1, 0))
        if here[0] > major:
            assert not [e for e in ladder if (major, number) < minor(e.version) < (major + 1, 0)], "a minor was skipped"
    for entry in found[:-1]:
        same = [known.version for known in ladder if minor(known.version) == minor(entry.version)]
        assert entry.version == max(same, key=order)


@given(ladders, st.data())
def test_a_way_is_refused_only_for_going_down_or_for_a_minor_that_is_missing(
    ladder: tuple[ReleaseEntry, ...], data: st.DataObject
) -> None:
    running, wanted = (data.draw(st.sampled_from(ladder)).version for _ in range(2))
    found = climb(ladder, running, wanted)
    assume(isinstance(found, Refusal))
    assert isinstance(found, Refusal)

    if order(wanted) < order(running):
        assert "going back" in found.problem
        return
    between = sorted({minor(e.version) for e in ladder if minor(running) <= minor(e.version) <= minor(wanted)})
    steps = itertools.pairwise(between)
    assert any(above not in ((a, b + 1), (a + 1, 0)) for (a, b), above in steps)
    missing = found.problem.split(" lacks ")[1].split(".x")[0]
    assert missing not in {".".join(map(str, each)) for each in between}


@given(nearly_whole, st.data())
def test_climbing_in_two_goes_ends_at_the_same_release(ladder: tuple[ReleaseEntry, ...], data: st.DataObject) -> None:
    """An upgrade that is planned again on each rung never leaves its way."""
    running, wanted = sorted((data.draw(st.sampled_from(ladder)).version for _ in range(2)), key=order)
    found = climb(ladder, running, wanted)
    assume(not isinstance(found, Refusal) and len(found) > 1)
    assert not isinstance(found, Refusal)

    assert climb(ladder, found[0].version, wanted) == found[1:]
