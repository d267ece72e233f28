"""The bookkeeping of slots: what an answer counts, what it cannot, and when a server takes nothing."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visio_captions.servers import FAILURE_PAUSE_S, LONGEST_PAUSE_S, STREAM_PATH, Server, parse_slots


def a_server(used: int, total: int, asked_at: float = 10.0) -> Server:
    server = Server("a:1")
    server.answered(asked_at, used, total)
    return server


def test_a_server_that_never_answered_has_no_free_slot() -> None:
    assert Server("a:1", total=8).free(0) == 0


def test_a_stream_being_opened_takes_a_slot_before_the_server_shows_it() -> None:
    server = a_server(used=3, total=4)
    server.reserve()
    assert server.free(10.1) == 0


def test_an_accepted_stream_is_counted_until_an_answer_asked_for_after_it() -> None:
    server = a_server(used=0, total=4)
    server.reserve()
    server.accepted(10.5)
    server.answered(10.4, used=0, total=4)  # asked for before the server accepted: it may not know the stream
    assert server.free(10.6) == 3
    server.answered(10.7, used=1, total=4)
    assert server.free(10.8) == 3


def test_a_refusal_closes_a_server_until_an_answer_asked_for_after_it() -> None:
    server = a_server(used=0, total=4)
    server.reserve()
    server.refused(10.5)
    server.answered(10.4, used=0, total=4)
    assert server.free(10.6) == 0
    server.answered(10.6, used=3, total=4)
    assert server.free(10.7) == 1


def test_a_failure_pauses_a_server() -> None:
    server = a_server(used=0, total=4)
    server.reserve()
    server.not_opened(11.0)
    server.answered(12.0, used=0, total=4)
    assert server.free(11.0 + FAILURE_PAUSE_S - 0.1) == 0
    assert server.free(11.0 + FAILURE_PAUSE_S) == 4


def test_failures_in_a_row_pause_a_server_longer_and_those_of_one_moment_count_once() -> None:
    server = a_server(used=0, total=64)
    for _ in range(64):
        server.pause(11.0)
    assert server.free(11.0 + FAILURE_PAUSE_S) == 64
    server.pause(20.0)
    assert server.free(20.0 + FAILURE_PAUSE_S) == 0
    assert server.free(20.0 + 2 * FAILURE_PAUSE_S) == 64
    for failure in range(20):
        server.pause(1000.0 * (failure + 1))
    assert server.free(20_000.0 + LONGEST_PAUSE_S) == 64
    server.reserve()
    server.accepted(30_000.0)
    server.pause(40_000.0)
    assert server.free(40_000.0 + FAILURE_PAUSE_S) > 0


def test_a_server_that_falls_silent_takes_nothing() -> None:
    server = a_server(used=0, total=4)
    server.silent()
    assert server.free(10.1) == 0


@given(
    st.lists(
        st.tuples(st.sampled_from(["reserve", "accept", "abandon", "answer", "end"]), st.floats(0.0, 1.0)), max_size=60
    )
)
def test_reservations_never_exceed_the_slots(steps: list[tuple[str, float]]) -> None:
    """A server whose answers are true and that only this proxy uses is never asked for more than it has."""
    server, now, opening, running, total = a_server(0, 3, asked_at=0.0), 0.0, 0, 0, 3
    for step, pause in steps:
        now += pause + 0.001
        if step == "reserve" and server.free(now) > 0:
            server.reserve()
            opening += 1
        elif step == "accept" and opening:
            server.accepted(now)
            opening, running = opening - 1, running + 1
        elif step == "abandon" and opening:
            server.abandoned()
            opening -= 1
        elif step == "end" and running:
            running -= 1
        elif step == "answer":
            server.answered(now, running, total)
        assert opening + running <= total


@pytest.mark.parametrize("used, total", [("3", "64"), (3, 64)])
def test_slots_are_read_as_text_and_as_numbers(used: object, total: object) -> None:
    other = {"path": "/api/tts", "used_slots": "1", "total_slots": "2"}
    module = {"path": STREAM_PATH, "used_slots": used, "total_slots": total}
    assert parse_slots(json.dumps([other, module])) == (3, 64)


@pytest.mark.parametrize(
    "answer",
    [
        "", "no json", "{}", "[]", "[1]", "[" * 60_000, "null",
        json.dumps([{"path": "/api/tts", "used_slots": "1", "total_slots": "2"}]),
        json.dumps([{"path": STREAM_PATH}]),
        json.dumps([{"path": STREAM_PATH, "used_slots": None, "total_slots": "2"}]),
        json.dumps([{"path": STREAM_PATH, "used_slots": float("inf"), "total_slots": "2"}]),
    ],
)  # fmt: skip
def test_an_answer_without_slots_is_an_error(answer: str) -> None:
    with pytest.raises(ValueError):
        parse_slots(answer)
