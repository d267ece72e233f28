"""What keeps a rung from starting, in which order, and when it can start next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from plan_world import a_spec, an_empty_world

from visio_operator.plan.gates import CALM_SINCE, Gate, GateInput, calm_memory, gate
from visio_operator.plan.observed import MediaServer, RingPeer
from visio_operator.plan.rung_length import MOST, STEP_SECONDS, expected_seconds, length_memory

NOW = datetime(2026, 6, 5, 20, 30, tzinfo=UTC).timestamp()
"""Friday, 22:30 in Paris."""
MINUTE, HOUR = 60.0, 3600.0
FRIDAY = {"days": ["Fri"], "start": "22:00", "duration": "2h", "timeZone": "Europe/Paris"}
SUNDAY = FRIDAY | {"days": ["Sun"]}
TO_FRIDAY_NEXT_WEEK = datetime(2026, 6, 12, 20, 0, tzinfo=UTC).timestamp()
RUNG = GateInput("1.26.0", "1.27.0", expected_seconds=30 * MINUTE, started=False)
PILOT = RingPeer("visio", "x", "pilot", wanted="1.27.0", running="1.27.0", since=NOW - HOUR, soak=30 * MINUTE)


def a_server(participants: int | None, age: float = 5.0, **changes: Any) -> MediaServer:
    server = MediaServer("sfu-0", "n", ready=True, created=0.0, participants=participants, read_at=NOW - age)
    return replace(server, **changes)


def judged(rung: GateInput = RUNG, *, stop: bool = False, seen: dict[str, Any] | None = None, **upgrade: Any) -> Gate:
    spec = a_spec(upgrade=upgrade, emergencyStop=stop)
    return gate(spec, an_empty_world(spec, **(seen or {})), rung, NOW)


@dataclass(frozen=True)
class Case:
    name: str
    want: str
    """The reason, and words of the message."""
    words: str = ""
    upgrade: dict[str, Any] = field(default_factory=dict)
    seen: dict[str, Any] = field(default_factory=dict)
    rung: dict[str, Any] = field(default_factory=dict)
    stop: bool = False
    starts: float | None = None


QUIET = {"quiet": {"participants": 3, "for": "10m"}}
CASES = [
    Case("nothing keeps it back", "NotHeld"),
    Case("in its window", "NotHeld", upgrade={"windows": [FRIDAY]}),
    Case("paused", "Paused", "set it to false", upgrade={"paused": True}),
    Case("emergency stop", "EmergencyStop", "nothing is written but status", stop=True),
    Case("emergency stop of a rung that has started", "EmergencyStop", stop=True, rung={"started": True}),
    Case(
        "approval",
        "ApprovalNeeded",
        "approve it with `visio-operator approve main -n visio --digest abc`",
        rung={"approval_digest": "abc"},
    ),
    Case(
        "approval, and the window has closed",
        "ApprovalNeeded",
        upgrade={"windows": [SUNDAY]},
        rung={"approval_digest": "abc"},
        starts=NOW + 47.5 * HOUR,
    ),
    Case(
        "approval of another plan",
        "ApprovalNeeded",
        "the approval of old is of another plan and is ignored",
        rung={"approval_digest": "abc", "approval_ignored": "old"},
    ),
    Case(
        "soak",
        "Soaking",
        "1.26.0 soaks until 2026-06-05 20:50 UTC (spec.upgrade.soak 30m)",
        rung={"finished_at": NOW - 10 * MINUTE},
        starts=NOW + 20 * MINUTE,
    ),
    Case(
        "soak that ends too late for the window",
        "Soaking",
        upgrade={"windows": [FRIDAY], "soak": "65m"},
        rung={"finished_at": NOW - MINUTE},
        starts=TO_FRIDAY_NEXT_WEEK,
    ),
    Case("soaked", "NotHeld", rung={"finished_at": NOW - 31 * MINUTE}),
    Case(
        "outside its window",
        "OutsideWindow",
        "the next of spec.upgrade.windows, 2026-06-07 20:00 UTC",
        upgrade={"windows": [SUNDAY]},
        starts=NOW + 47.5 * HOUR,
    ),
    Case(
        "too little is left of the window",
        "OutsideWindow",
        "1h30m1s are expected, and this one closes at 2026-06-05 22:00 UTC",
        upgrade={"windows": [FRIDAY]},
        rung={"expected_seconds": 1.5 * HOUR + 1},
        starts=TO_FRIDAY_NEXT_WEEK,
    ),
    Case("exactly enough is left", "NotHeld", upgrade={"windows": [FRIDAY]}, rung={"expected_seconds": 1.5 * HOUR}),
    Case(
        "no window is long enough",
        "WindowTooShort",
        "spec.upgrade.windows[0].duration: no window is long enough",
        upgrade={"windows": [FRIDAY]},
        rung={"expected_seconds": 2 * HOUR + 1},
    ),
    Case(
        "people are in calls",
        "CallsRunning",
        "at most 3 in calls for 10m, and more are",
        upgrade=QUIET,
        seen={"media": (a_server(4),)},
    ),
    Case(
        "people are in calls, and the window closes before they can have been gone for long enough",
        "CallsRunning",
        upgrade=QUIET | {"windows": [FRIDAY]},
        seen={"media": (a_server(4),)},
        rung={"expected_seconds": 85 * MINUTE},
        starts=TO_FRIDAY_NEXT_WEEK,
    ),
    Case(
        "people on two servers, one of which drains",
        "CallsRunning",
        "and more are",
        upgrade=QUIET,
        seen={"media": (a_server(2), a_server(3, terminating=True))},
    ),
    Case(
        "nobody knows whether people are in calls",
        "CallsRunning",
        "a media server cannot be read",
        upgrade=QUIET,
        seen={"media": (a_server(0), a_server(None))},
    ),
    Case(
        "what is known is old",
        "CallsRunning",
        "a media server cannot be read",
        upgrade=QUIET,
        seen={"media": (a_server(0, age=61),)},
    ),
    Case(
        "not calm for long enough",
        "CallsRunning",
        "it is so since 2026-06-05 20:22 UTC",
        upgrade=QUIET,
        seen={"media": (a_server(3),), "memory": {CALM_SINCE: NOW - 8 * MINUTE}},
        starts=NOW + 2 * MINUTE,
    ),
    Case(
        "calm",
        "NotHeld",
        upgrade=QUIET,
        seen={"media": (a_server(3),), "memory": {CALM_SINCE: NOW - 10 * MINUTE}},
    ),
    Case("a pilot has soaked", "NotHeld", seen={"ring_peers": (PILOT,)}),
    Case("a pilot has gone further", "NotHeld", seen={"ring_peers": (replace(PILOT, running="1.28.0", since=NOW),)}),
    Case(
        "a pilot soaks",
        "WaitingForRing",
        "pilot visio/x runs 1.27.0 and soaks until 2026-06-05 20:50 UTC",
        seen={"ring_peers": (replace(PILOT, since=NOW - 10 * MINUTE),)},
        starts=NOW + 20 * MINUTE,
    ),
    Case(
        "a pilot does not say since when",
        "WaitingForRing",
        seen={"ring_peers": (replace(PILOT, since=0.0),)},
    ),
    Case("a pilot without soak", "NotHeld", seen={"ring_peers": (replace(PILOT, soak=0.0, since=NOW),)}),
    Case(
        "a pilot is not Ready",
        "WaitingForRing",
        "pilot visio/x runs 1.27.0 and is not Ready",
        seen={"ring_peers": (replace(PILOT, ready=False),)},
    ),
    Case(
        "a pilot is on its way",
        "WaitingForRing",
        "pilot visio/x runs 1.26.0",
        seen={"ring_peers": (replace(PILOT, running="1.26.0"),)},
    ),
    Case(
        "a pilot waits for its window",
        "WaitingForRing",
        "pilot visio/x runs 1.26.0 and is held: OutsideWindow",
        seen={"ring_peers": (replace(PILOT, running="1.26.0", held="OutsideWindow"),)},
    ),
    Case(
        "a pilot has failed",
        "RingStalled",
        "is held: MigrationFailed; pilot visio/x does not come by itself",
        seen={"ring_peers": (replace(PILOT, running="1.26.0", held="MigrationFailed", stuck=True),)},
    ),
    Case(
        "a pilot asks for less",
        "RingStalled",
        "pilot visio/x asks for 1.26.0 only; pilot visio/x does not come by itself",
        seen={"ring_peers": (replace(PILOT, running="1.26.0", wanted="1.26.0"),)},
    ),
    Case(
        "a pilot is paused",
        "RingStalled",
        "pilot visio/x runs 1.26.0 and has spec.upgrade.paused",
        seen={"ring_peers": (replace(PILOT, running="1.26.0", stopped="spec.upgrade.paused"),)},
    ),
    Case("a paused pilot has gone before", "NotHeld", seen={"ring_peers": (replace(PILOT, stopped="x"),)}),
    Case(
        "a broad one waits for early ones too",
        "WaitingForRing",
        "early visio/y runs 1.26.0",
        seen={"ring_peers": (PILOT, replace(PILOT, name="y", ring="early", running="1.26.0"))},
    ),
    Case(
        "an early one does not wait for early ones",
        "NotHeld",
        upgrade={"ring": "early"},
        seen={"ring_peers": (PILOT, replace(PILOT, name="y", ring="early", running="1.26.0"))},
    ),
    Case(
        "a pilot waits for nobody",
        "NotHeld",
        upgrade={"ring": "pilot"},
        seen={"ring_peers": (replace(PILOT, running="1.26.0"),)},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_keeps_a_rung_from_starting_is_named_with_its_next_start(case: Case) -> None:
    found = judged(replace(RUNG, **case.rung), stop=case.stop, seen=case.seen, **case.upgrade)
    assert (found.reason.value, found.open) == (case.want, case.want == "NotHeld")
    assert case.words in found.message
    assert bool(found.message) is not found.open
    assert found.next_start == case.starts


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_nothing_of_it_moves_with_the_clock_so_that_status_is_not_written_for_it(case: Case) -> None:
    spec = a_spec(upgrade=case.upgrade, emergencyStop=case.stop)
    seen = an_empty_world(spec, **case.seen)
    rung = replace(RUNG, **case.rung)
    first, later = (gate(spec, seen, rung, NOW + passed) for passed in (0, 15))
    if first.reason is later.reason and "a media server cannot be read" not in later.message:
        assert first == later


ORDER = ["EmergencyStop", "Paused", "ApprovalNeeded", "WaitingForRing", "Soaking", "WindowTooShort", "CallsRunning"]


@pytest.mark.parametrize("first", range(len(ORDER)), ids=ORDER)
def test_gates_are_asked_in_the_order_of_how_much_a_person_has_to_do(first: int) -> None:
    """Everything from one gate on is closed: that one is named."""
    closed = ORDER[first:]
    upgrade: dict[str, Any] = {"quiet": {"for": "5m"}}
    seen: dict[str, Any] = {"media": (a_server(None),)}
    rung = RUNG
    if "WindowTooShort" in closed:
        upgrade["windows"], rung = [FRIDAY], replace(rung, expected_seconds=9 * HOUR)
    if "Soaking" in closed:
        rung = replace(rung, finished_at=NOW - 1)
    if "WaitingForRing" in closed:
        seen["ring_peers"] = (replace(PILOT, running="1.26.0"),)
    if "ApprovalNeeded" in closed:
        rung = replace(rung, approval_digest="abc")
    upgrade["paused"] = "Paused" in closed
    assert judged(rung, stop="EmergencyStop" in closed, seen=seen, **upgrade).reason.value == ORDER[first]
    # A rung that has started goes on, whatever is closed by now; only the emergency stop holds it.
    going = judged(replace(rung, started=True), stop="EmergencyStop" in closed, seen=seen, **upgrade)
    assert going.open is (first > 0)


def test_many_blockers_are_counted_and_those_that_never_come_are_named_first() -> None:
    waiting = [replace(PILOT, name=f"p{number}", running="1.26.0") for number in range(6)]
    stalled = replace(PILOT, namespace="zoo", running="1.26.0", stopped="spec.emergencyStop")
    found = judged(seen={"ring_peers": (*waiting, stalled)})
    assert found.message.startswith(
        "the rung to 1.27.0 waits for earlier rings: pilot zoo/x runs 1.26.0 and has spec.emergencyStop; pilot visio/p0"
    )
    assert "; and 3 more; pilot zoo/x does not come by itself" in found.message
    assert len(found.blockers) == 7


def test_it_is_calm_since_the_first_look_at_which_it_was() -> None:
    spec = a_spec(upgrade={"quiet": {"participants": 3, "for": "10m"}})
    calm, loud = an_empty_world(spec, media=(a_server(3),)), an_empty_world(spec, media=(a_server(4),))
    first = calm_memory(spec, calm, NOW)
    assert first == {CALM_SINCE: NOW}
    assert calm_memory(spec, replace(calm, memory=first), NOW + 15) == first
    assert calm_memory(spec, replace(loud, memory=first), NOW) == {}
    assert calm_memory(spec, replace(calm, memory=first), NOW + 90) == {}, "what is known is 95 s old"
    assert calm_memory(a_spec(), calm, NOW) == {}, "nobody asks"


def test_a_rung_is_expected_to_take_as_long_as_its_steps_took_the_last_time() -> None:
    spec = a_spec(upgrade={"canary": False})
    usual = sum(STEP_SECONDS.values()) - STEP_SECONDS["canary"]
    assert expected_seconds(spec, {}) == usual
    watched = a_spec(upgrade={"canaryFor": "20m"})
    assert expected_seconds(watched, {}) == usual + STEP_SECONDS["canary"] + 20 * MINUTE
    assert expected_seconds(watched, {"upgrade.took.canary": 0.5}) == expected_seconds(watched, {})
    memory: dict[str, float] = {}
    for step, begins in (("check", 0), ("migrate", 20), ("media", 500), ("verify", 590), ("", 690)):
        memory = length_memory(memory, step, NOW + begins)
        assert length_memory(memory, step, NOW + begins + 7) == memory, "it changes with the step only"
    assert memory == {
        f"upgrade.took.{step}": took
        for step, took in {"check": 20.0, "migrate": 480.0, "media": 90.0, "verify": 100.0}.items()
    }
    learned = {"check": 20.0, "migrate": 480.0, "verify": 100.0}
    assert expected_seconds(spec, memory) == usual + sum(took - STEP_SECONDS[step] for step, took in learned.items())


def test_a_step_in_which_the_operator_was_away_is_believed_up_to_a_bound() -> None:
    memory = length_memory(length_memory({}, "check", NOW), "backup", NOW + 100 * HOUR)
    assert memory["upgrade.took.check"] == MOST * STEP_SECONDS["check"]


def test_a_step_that_was_held_teaches_nothing() -> None:
    memory = length_memory({}, "migrate", NOW)
    memory = length_memory(memory, "migrate", NOW + 60, held=True)
    assert length_memory(memory, "api", NOW + 9_000) == {"upgrade.began.api": NOW + 9_000}
