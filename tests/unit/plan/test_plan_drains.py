"""What drains: how much is left, until when, and what it holds up."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plan_world import LADDER, NOW, a_healthy_world, a_spec, with_captions

from visio_operator.plan.decide import decide
from visio_operator.plan.drains import drain_memory, drains, expected_last
from visio_operator.plan.observed import (
    Agent,
    CaptionsServer,
    GpuNode,
    Leaving,
    MediaServer,
    Observed,
    Recorder,
    RoomTimes,
    TranscriptionWorker,
)  # fmt: skip


def leaving(pod: str, part: str = "sfu", since: float = NOW - 60, grace: float = 18_000, **more: Any) -> Leaving:
    return Leaving(pod=pod, part=part, node="n1", since=since, deadline=since + grace, **more)


def server(pod: str, rooms: int | None, people: int | None) -> MediaServer:
    return MediaServer(
        pod=pod, node="n1", ready=True, created=NOW - 9e4, rooms=rooms, participants=people, terminating=True
    )


def a_world(*going: Leaving, **seen: Any) -> Observed:
    return Observed(uid="u", namespace="visio", name="main", leaving=going, **seen)


def test_a_server_that_was_told_to_end_shows_its_rooms_people_and_times() -> None:
    rooms = RoomTimes(began={"sfu-a": (NOW - 3600, NOW - 7200)}, mean_age=1800.0, read_at=NOW)
    [found] = drains(a_spec(), a_world(leaving("sfu-a"), media=(server("sfu-a", 2, 9),), rooms=rooms), NOW)
    assert (found.part, found.pod, found.node, found.rooms, found.participants) == ("sfu", "sfu-a", "n1", 2, 9)
    assert (found.since, found.deadline, found.oldest) == (NOW - 60, NOW - 60 + 18_000, NOW - 7200)
    assert found.expected_end == NOW + 1800 * (1 + 1 / 2)
    assert (found.policy, found.message, found.empty) == ("Wait", "", False)


def test_the_next_to_be_killed_comes_first_and_then_the_fullest() -> None:
    going = (leaving("sfu-late", since=NOW), leaving("sfu-few"), leaving("sfu-many"))
    media = (server("sfu-late", 1, 99), server("sfu-few", 1, 2), server("sfu-many", 1, 5))
    assert [one.pod for one in drains(a_spec(), a_world(*going, media=media), NOW)] == [
        "sfu-many",
        "sfu-few",
        "sfu-late",
    ]


def test_an_estimate_never_goes_beyond_the_kill_and_is_missing_without_ages() -> None:
    media = (server("sfu-a", 3, 9),)
    soon = leaving("sfu-a", grace=600)
    [bounded] = drains(a_spec(), a_world(soon, media=media, rooms=RoomTimes(mean_age=9000.0)), NOW)
    assert bounded.expected_end == soon.deadline
    [unknown] = drains(a_spec(), a_world(soon, media=media, rooms=RoomTimes(error="no Redis")), NOW)
    assert unknown.expected_end is None and unknown.oldest is None


@pytest.mark.parametrize("rooms, factor", [(1, 1.0), (2, 1.5), (4, 25 / 12)])
def test_the_last_of_several_rooms_ends_after_the_mean_times_the_harmonic_number(rooms: int, factor: float) -> None:
    assert expected_last(rooms, 600.0) == pytest.approx(600 * factor)


def test_what_could_not_be_read_is_unknown_and_said() -> None:
    [found] = drains(a_spec(), a_world(leaving("sfu-a"), media=(server("sfu-a", None, None),)), NOW)
    assert (found.rooms, found.participants) == (None, None) and "could not be read" in found.message


def test_recordings_agents_and_gpu_pods_are_seen_and_always_wait() -> None:
    forced = a_spec(drain={"policy": "Force", "deadline": "1h"})
    going = [leaving(f"{part}-1", part) for part in ("egress", "subtitles", "metadata", "captions", "transcription")]
    seen = {
        "recorders": (Recorder("egress-1", True, NOW, recordings=1),),
        "agents": (Agent("subtitles-1", True, NOW, jobs=3),),
        "collectors": (Agent("metadata-1", True, NOW, jobs=2),),
        "captions": (CaptionsServer("captions-1", "n1", True, True, 7, 64, NOW, NOW, terminating=True),),
        "transcribers": (TranscriptionWorker("transcription-1", "n1", True, True, NOW, busy_since=NOW - 99),),
    }
    found = {one.part: one for one in drains(forced, a_world(*going, **seen), NOW)}
    assert {part: (one.rooms, one.participants) for part, one in found.items()} == {
        "egress": (1, None), "subtitles": (3, None), "metadata": (2, None), "captions": (None, 7),
        "transcription": (1, None),
    }  # fmt: skip
    assert {one.policy for one in found.values()} == {"Wait"} and found["transcription"].oldest == NOW - 99


def test_a_pod_that_started_before_the_deadline_was_set_keeps_its_own_grace() -> None:
    forced = a_spec(drain={"policy": "Force", "deadline": "1h"})
    [found] = drains(forced, a_world(leaving("sfu-a"), media=(server("sfu-a", 1, 2),)), NOW)
    assert found.policy == "Force" and found.deadline == NOW - 60 + 18_000
    assert "its own grace of 18000 s holds" in found.message
    [newer] = drains(forced, a_world(leaving("sfu-a", grace=3600), media=(server("sfu-a", 1, 2),)), NOW)
    assert newer.message == ""


def test_a_drain_says_which_node_it_holds_up() -> None:
    [found] = drains(a_spec(), a_world(leaving("sfu-a", node_closed=True), media=(server("sfu-a", 1, 2),)), NOW)
    assert found.message.startswith("node n1 is closed and cannot be emptied before this pod has ended")


def test_a_closed_captions_server_drains_until_its_streams_have_moved() -> None:
    closed = CaptionsServer("captions-1", "gpu-1", True, False, 5, 64, NOW, NOW)
    node = GpuNode("gpu-1", "l40", True, 1, True, NOW)
    world = a_world(captions=(closed,), nodes=(node,), memory={"drain.captions-1": NOW - 30})
    [found] = drains(a_spec(), world, NOW)
    assert (found.participants, found.since, found.deadline) == (5, NOW - 30, None)
    assert "node gpu-1 is closed" in found.message
    assert drains(a_spec(), a_world(captions=(replace(closed, used=0),), nodes=(node,)), NOW) == ()


def test_since_when_a_worker_on_a_closed_node_drains_is_remembered() -> None:
    worker = TranscriptionWorker("transcription-1", "gpu-1", True, True, NOW)
    node = GpuNode("gpu-1", "l40", True, 1, True, NOW)
    first = drains(a_spec(), a_world(transcribers=(worker,), nodes=(node,)), NOW)
    memory = drain_memory(first)
    assert memory == {"closed.transcription-1": NOW}
    [later] = drains(a_spec(), a_world(transcribers=(worker,), nodes=(node,), memory=memory), NOW + 500)
    assert later.since == NOW


def test_a_plan_carries_what_drains_also_while_the_spec_is_refused() -> None:
    spec = a_spec()
    world = a_healthy_world(spec, leaving=(leaving("sfu-a"),), media=(server("sfu-a", 1, 2),))
    plan = decide(spec, world, NOW, LADDER)
    assert [one.pod for one in plan.drains] == ["sfu-a"] and any("drains: sfu 1; 2 people" in x for x in plan.trace)
    refused = decide(spec, replace(world, secret_keys={}), NOW, LADDER)
    assert refused.invalid and [one.pod for one in refused.drains] == ["sfu-a"]
    assert decide(a_spec(**with_captions()), a_healthy_world(spec), NOW, LADDER).drains == ()
