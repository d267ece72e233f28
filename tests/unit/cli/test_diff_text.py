"""How a difference is told: per object and field, in totals, by rung."""

from __future__ import annotations

import json
from dataclasses import replace
from decimal import Decimal

from visio_operator.cli.diff_text import Difference, RungDifference, as_json, as_text
from visio_operator.plan.impact import Calls, Change, FieldChange, Impact
from visio_operator.plan.plan import PoolChange
from visio_operator.workloads.adoption import NOTHING_WAITS, Waiting

IMAGE = FieldChange("spec.template.spec.containers[backend].image", "a", "b")
BACKEND = Change("Deployment", "visio-backend", "backend", (IMAGE,), restarts=True)
NOTHING = Impact((), {}, Calls(), 0.0)
SAME = Difference("ns/visio", True, "1.27.0", "1.27.0", NOTHING, (), "", NOTHING_WAITS, ())


def told(found: Difference, *, every_rung: bool = False, colours: bool = False) -> list[str]:
    return list(as_text(found, every_rung=every_rung, colours=colours))


def test_nothing_changes_in_three_lines() -> None:
    assert told(SAME) == [
        "ns/visio: 1.27.0 runs",
        "  in all: no object changes; no pod restarts",
        "  nodes: none come or go",
    ]


def test_an_object_with_one_field_is_one_line_and_one_with_more_is_a_list() -> None:
    mark = FieldChange("data.redisUrl", "changed", "changed")
    several = Change("Service", "visio-sfu", "sfu", (FieldChange("spec.a", "", "1"), mark), restarts=False)
    gone = Change("ConfigMap", "visio-turn", "turn", (), restarts=False, action="delete")
    impact = replace(NOTHING, changes=(BACKEND, several, gone), restarts={"backend": 3}, seconds=121.0)
    assert told(replace(SAME, impact=impact)) == [
        "ns/visio: 1.27.0 runs",
        "~ Deployment visio-backend  spec.template.spec.containers[backend].image: a -> b  (3 pods restart)",
        "~ Service visio-sfu",
        "    spec.a: (none) -> 1",
        "    data.redisUrl: changed",
        "- ConfigMap visio-turn",
        "  in all: 2 changed, 1 deleted; 3 pods restart (backend 3)",
        "  calls: no room is on a media server that restarts",
        "  time: about 3 min",
        "  nodes: none come or go",
    ]


def test_colours_are_only_there_when_asked_for() -> None:
    impact = replace(NOTHING, changes=(BACKEND,), restarts={"backend": 1})
    assert any(
        "\x1b[33m~ Deployment visio-backend\x1b[0m" in line for line in told(replace(SAME, impact=impact), colours=True)
    )
    assert not any("\x1b" in line for line in told(replace(SAME, impact=impact)))


def test_calls_nodes_and_euros_are_named() -> None:
    calls = Calls(rooms=4, participants=31, streams=7, recordings=1, transcriptions=2, deadline=5400.0)
    pools = (PoolChange("l40", 1, 3, "", Decimal("112.80")),)
    lines = told(replace(SAME, impact=replace(NOTHING, restarts={"sfu": 2}, calls=calls, pools=pools)))
    assert "  calls: 4 rooms with 31 participants are on media servers that restart; they have 1.5 h to end" in lines
    assert "  calls: 7 captions streams move to another server" in lines
    assert "  calls: 1 recordings and 2 transcriptions run on to their end" in lines
    assert "  nodes: pool l40 1 -> 3, +112.80 euros a day" in lines
    unread = told(
        replace(SAME, impact=replace(NOTHING, restarts={"sfu": 2}, calls=Calls(rooms=None, participants=None)))
    )
    assert "  calls: media servers restart, and their rooms cannot be read from here" in unread


def test_the_first_rung_is_told_by_field_and_later_ones_in_a_line() -> None:
    impact = replace(NOTHING, changes=(BACKEND,), restarts={"backend": 3}, seconds=840.0)
    rungs = (RungDifference("1.28.0", impact), RungDifference("1.29.0", impact, ("spec.x: no; change it",)))
    found = replace(SAME, wanted="1.29.0", rungs=rungs, digest="0123456789ab")
    lines = told(found)
    assert sum(line.startswith("~ Deployment") for line in lines) == 1
    assert "upgrade to 1.29.0: 1 changed; 3 pods restart (backend 3); about 14 min" in lines
    assert "  not possible: spec.x: no; change it" in lines
    assert lines[-1] == "upgrade 0123456789ab: 2 rungs, 6 pod restarts, about 28 min besides the soak"
    assert sum(line.startswith("~ Deployment") for line in told(found, every_rung=True)) == 2


def test_a_rendering_that_waits_is_told_apart() -> None:
    waiting = Waiting("0.2.0", (("Deployment", "visio-backend"),), {"backend": 3}, "d")
    assert any("1 objects that version 0.2.0" in line for line in told(replace(SAME, waiting=waiting)))


def test_another_version_of_the_operator_is_named() -> None:
    assert told(replace(SAME, other_version="0.2.0"))[1].startswith("  operator 0.2.0 rendered what runs")


def test_as_data_it_is_the_same() -> None:
    impact = replace(NOTHING, changes=(BACKEND,), restarts={"backend": 3}, seconds=840.0)
    found = json.loads(json.dumps(as_json(replace(SAME, impact=impact, rungs=(RungDifference("1.28.0", impact),)))))
    assert found["changes"] == found["rungs"][0]["changes"]
    assert found["changes"][0]["fields"] == [{"path": IMAGE.path, "before": "a", "after": "b"}]
    assert (found["minutes"], found["restarts"], found["eurosPerDay"]) == (14, {"backend": 3}, "+0.00")
