"""What a canary is stopped by: losses that people notice, and no noise."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from math import comb

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import live
from visio_operator.plan.media_counts import NAMES, Counts, read, total, written
from visio_operator.plan.stop_rules import binomial_tail, fisher, rules_out_loss, stop_reasons

HEALTHY = Counts(
    seconds=600, joins=400, starts=396, start_seconds=120, signals=400, person_seconds=60_000, packets=1e6, lost=5_000,
    reconnects=4,
)  # fmt: skip
"""One server in ten minutes: one join in a hundred is given up by its own user."""


def servers(number: int, **changes: float) -> Counts:
    """So many servers like the healthy one, together."""
    return replace(total([HEALTHY] * number), **changes)


@pytest.mark.parametrize(
    ("changes", "want"),
    [
        ({"starts": 376}, "joins without media: 24 of 400 (5.9 %), the old servers 12 of 1200 (1.0 %)"),
        ({"joins": 420, "unanswered": 20}, "joins without media: 2"),
        ({"failed_signals": 20}, "signalling connections that failed: 20 of 420 (4.8 %), the old servers 0 of 1200"),
        ({"refused_signals": 500}, "refused tokens: 500 of 900 (55.6 %), the old servers 0 of 1200 (0.0 %)"),
        ({"reconnects": 40}, "reconnects: 40, 2.4 in an hour of one person, the old servers 0.2"),
        ({"lost": 40_000}, "packets lost: 4.0 % of 1000000, the old servers 0.5 %"),
        ({"restarts": 1}, "restarts: 1, the old servers 0"),
    ],
)
def test_each_rule_stops_with_its_numbers(changes: dict[str, float], want: str) -> None:
    (line,) = stop_reasons(servers(3), replace(HEALTHY, **changes))
    assert line.startswith(want)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"starts": 390},
        {"failed_signals": 4},
        {"refused_signals": 300},
        {"reconnects": 9},
        {"lost": 24_000},
        # The same on both sides is no fault of the release.
        {"starts": 350, "old.starts": 1_050},
        {"failed_signals": 40, "old.failed_signals": 120},
        {"reconnects": 100, "old.reconnects": 300},
        {"lost": 80_000, "old.lost": 240_000},
        {"restarts": 1, "old.restarts": 2},
        {"refused_signals": 500, "old.refused_signals": 1_500},
        # Few packets of few people say nothing.
        {"packets": 40_000, "lost": 4_000},
        {"person_seconds": 300, "packets": 60_000, "lost": 6_000, "reconnects": 0},
    ],
)
def test_noise_stops_nothing(changes: dict[str, float]) -> None:
    old = {name.removeprefix("old."): value for name, value in changes.items() if name.startswith("old.")}
    new = {name: value for name, value in changes.items() if not name.startswith("old.")}
    assert stop_reasons(servers(3, **old), replace(HEALTHY, **new)) == ()


def test_with_nothing_to_compare_with_only_a_blatant_loss_stops() -> None:
    none = Counts()
    assert stop_reasons(none, Counts(joins=100, starts=80)) == ()
    assert stop_reasons(none, Counts(joins=20, starts=15)) == (
        "joins without media: 5 of 20 (25.0 %), the old servers 0 of 0, too few to compare with",
    )
    assert stop_reasons(none, Counts(joins=4)) == ()


def test_joins_that_are_about_to_have_media_are_no_failures() -> None:
    """In a rush of ten joins a second that take a second each, ten are always on their way."""
    rush = Counts(seconds=20, joins=200, starts=190, start_seconds=190)
    assert rush.failed_joins(fresh=True) == 0
    assert rush.failed_joins() == 10


def test_fisher_is_the_sum_of_the_tables_that_are_as_bad_or_worse() -> None:
    """Against whole numbers, and Fisher's own example of eight cups of tea."""
    assert fisher(3, 4, 1, 4) == pytest.approx(17 / 70)
    for bad, tried, before, tried_before in [(5, 100, 0, 100), (0, 10, 3, 7), (7, 7, 2, 9), (30, 200, 10, 600)]:
        failures, everything = bad + before, tried + tried_before
        tables = sum(
            comb(failures, k) * comb(everything - failures, tried - k)
            for k in range(bad, min(failures, tried) + 1)
            if tried - k >= 0
        )
        assert fisher(bad, tried, before, tried_before) == pytest.approx(tables / comb(everything, tried))
    assert binomial_tail(3, 5, 0.5) == pytest.approx(0.5)


SOME = st.integers(0, 400)


@given(SOME, SOME, SOME, SOME)
def test_one_failure_more_is_never_less_suspicious(bad: int, good: int, before: int, well: int) -> None:
    """And one failure more of the old servers is never more so."""
    tried, tried_before = bad + good + 1, before + well + 1
    chance = fisher(bad, tried, before, tried_before)
    assert 0 < chance <= 1
    assert fisher(bad + 1, tried, before, tried_before) <= chance + 1e-9
    assert fisher(bad, tried, before + 1, tried_before) >= chance - 1e-9


counts = st.builds(
    Counts,
    **{name: st.integers(0, 5_000).map(float) for name in NAMES},
)


@given(counts, counts)
def test_any_counts_can_be_judged_kept_and_read_again(old: Counts, new: Counts) -> None:
    assert read(written(new, "x."), "x.") == new
    assert total([old, new]).joins == old.joins + new.joins
    assert all("\n" not in line and len(line) < 200 for line in stop_reasons(old, new))
    rules_out_loss(old, new)


@given(counts, st.integers(1, 5))
def test_a_server_that_does_as_the_old_ones_do_is_never_stopped(each: Counts, number: int) -> None:
    if each.joins >= 20 and each.signals >= 20:
        assert stop_reasons(total([each] * number), each) == ()


def outcome(random_: random.Random, joins: int, usual: float, loss: float, old_servers: int) -> tuple[str, int]:
    """A canary in forty looks, with its joins evenly over them: stopped, passed or out of time, and at which join."""
    new = old = Counts()
    for look in range(1, 41):
        came = joins * look // 40 - round(new.joins)
        failed = sum(random_.random() < usual + loss for _ in range(came))
        theirs = came * old_servers
        failed_there = sum(random_.random() < usual for _ in range(theirs))
        new = total([new, Counts(joins=came, starts=came - failed)])
        old = total([old, Counts(joins=theirs, starts=theirs - failed_there)])
        if stop_reasons(old, new, last=look == 40):
            return "stopped", round(new.joins)
        if look >= 8 and rules_out_loss(old, new):
            return "passed", round(new.joins)
    return "out of time", joins


def share(what: str, runs: list[tuple[str, int]]) -> float:
    return sum(verdict == what for verdict, _ in runs) / len(runs)


@pytest.fixture(scope="module")
def played() -> Callable[..., list[tuple[str, int]]]:
    def play(loss: float, number: int, **changes: int | float) -> list[tuple[str, int]]:
        random_ = random.Random(7)
        case = {"joins": 600, "usual": 0.01, "old_servers": 3, **changes}
        return [outcome(random_, loss=loss, **case) for _ in range(number)]  # type: ignore[arg-type]

    return play


def test_a_loss_of_five_percent_is_caught_and_noise_is_not(played: Callable[..., list[tuple[str, int]]]) -> None:
    """Canaries with 600 joins within their time beside three old servers, where one join in a hundred fails anyway."""
    bad, well = played(0.05, 300), played(0.0, 600)
    caught = sorted(joins for verdict, joins in bad if verdict == "stopped")
    missed, false = 1 - len(caught) / len(bad), share("stopped", well)
    half = caught[len(caught) // 2]
    print(f"missed {missed:.3f}, half of them caught within {half} joins; false alarms {false:.4f}")
    assert missed <= live.limit("canaryMissed")
    assert half <= live.limit("canaryCaughtJoins")
    assert false <= live.limit("canaryFalseAlarms")


@settings(max_examples=5)
@given(usual=st.sampled_from([0.0, 0.02, 0.05]), old_servers=st.integers(1, 4), joins=st.integers(20, 400))
def test_false_alarms_stay_rare_whatever_is_usual(usual: float, old_servers: int, joins: int) -> None:
    random_ = random.Random(3)
    runs = [outcome(random_, joins, usual, 0.0, old_servers) for _ in range(100)]
    assert share("stopped", runs) <= 0.08
