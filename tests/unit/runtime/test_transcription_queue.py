"""Messages of the transcription queue: what is read of a good one, and that no other can do harm."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visio_operator.plan.observed import RunningJob, WaitingJob
from visio_operator.runtime.transcription_queue import LONGEST_AUDIO, TRANSCRIBE_QUEUE, parse_job, parse_taken

AT = 1_772_445_600.0
METADATA = {"started_at": "2026-03-02T09:00:00Z", "ended_at": "2026-03-02T09:30:00+00:00"}


def a_message(job: Any, *, encoding: str = "base64", **headers: Any) -> bytes:
    body = json.dumps([[job], {}, {"callbacks": None}])
    if encoding == "base64":
        body = base64.b64encode(body.encode()).decode()
    envelope = {"body": body, "headers": {"id": "job-1", **headers}, "properties": {"body_encoding": encoding}}
    return json.dumps(envelope).encode()


def test_a_job_has_its_time_and_the_length_of_its_recording() -> None:
    job = {"received_at": "2026-03-02T10:00:00+00:00", "metadata": METADATA}
    assert parse_job(a_message(job)) == WaitingJob("job-1", AT, 1800.0)
    assert parse_job(a_message(job, encoding="none")) == WaitingJob("job-1", AT, 1800.0)
    assert parse_job(a_message(job, eta="2026-03-02T10:03:00+00:00")) == WaitingJob("job-1", AT + 180, 1800.0)


@pytest.mark.parametrize(
    ("received", "since"),
    [
        ({"__type__": "datetime", "__value__": "2026-03-02T10:00:00+00:00"}, AT),
        ("2026-03-02T11:00:00+01:00", AT),
        ("2026-03-02T10:00:00", AT),
        ("yesterday", 0.0),
        ("0001-01-01T00:00:00+14:00", 0.0),
        (AT, 0.0),
        (None, 0.0),
    ],
)
def test_a_time_is_read_however_it_is_written(received: Any, since: float) -> None:
    assert parse_job(a_message({"received_at": received})) == WaitingJob("job-1", since)


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        [],
        {"started_at": "2026-03-02T09:00:00Z"},
        {"started_at": "2026-03-02T09:00:00Z", "ended_at": "2026-03-02T08:00:00Z"},
        {"started_at": "2026-03-02T09:00:00Z", "ended_at": "2026-03-02T09:00:00Z"},
        {"started_at": "2026-03-02T09:00:00Z", "ended_at": "2027-03-02T09:00:00Z"},
        {"started_at": 1, "ended_at": 2},
    ],
)
def test_a_length_that_cannot_be_is_unknown(metadata: Any) -> None:
    assert parse_job(a_message({"metadata": metadata})) == WaitingJob("job-1", 0.0)


@pytest.mark.parametrize(
    "message",
    [
        b"", b"\xff", b"[" * 60_000, b"{}", b"[]", b"7", b'{"headers": []}', b'{"headers": {"id": ""}}',
        b'{"headers": {"id": "%s"}}' % (b"x" * 129), b'{"headers": {"id": "a"}, "body": "%s"}' % (b"x" * 70_000),
    ],
)  # fmt: skip
def test_what_is_no_message_of_celery_is_left_out(message: bytes) -> None:
    assert parse_job(message) is None


def test_a_body_that_cannot_be_read_leaves_the_job_without_time_and_length() -> None:
    for body in ("%%%", base64.b64encode(b"[" * 30_000).decode(), base64.b64encode(b"\xff").decode(), 7, None):
        envelope = {"headers": {"id": "a"}, "body": body, "properties": {"body_encoding": "base64"}}
        assert parse_job(json.dumps(envelope).encode()) == WaitingJob("a", 0.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=40) | st.datetimes().map(str),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["metadata", "started_at", "ended_at", "received_at", "__value__", "id", "x"]), inner
        )
    ),
    max_leaves=12,
)


@given(JSON, JSON, JSON, st.booleans())
def test_no_message_breaks_a_pass(headers: Any, argument: Any, body: Any, packed: bool) -> None:
    wrapped = base64.b64encode(json.dumps([[argument], body]).encode()).decode() if packed else body
    named = {**headers, "id": "job-1"} if isinstance(headers, dict) else headers
    envelope = {"headers": named, "body": wrapped, "properties": {"body_encoding": "base64"}}
    job = parse_job(json.dumps(envelope).encode())
    if job is not None:
        assert job.audio is None or 0 < job.audio <= LONGEST_AUDIO


@given(st.binary(max_size=2000))
def test_no_bytes_break_a_pass(message: bytes) -> None:
    parse_job(message)


def taken(name: str, queue: str = TRANSCRIBE_QUEUE, **headers: Any) -> bytes:
    envelope = json.loads(a_message({"metadata": METADATA}, id=name, **headers))
    return json.dumps([envelope, "", queue]).encode()


def test_what_workers_have_taken_runs_or_waits_for_its_second_try() -> None:
    messages = {
        b"1": taken("young"),
        b"2": taken("old"),
        b"3": taken("again", eta="2026-03-02T10:10:00+00:00"),
        b"4": taken("again-now", eta="2026-03-02T09:59:00+00:00"),
        b"5": taken("other", queue="summarize-queue-v2"),
        b"6": b"[1, 2]",
        b"7": b"no json",
        b"8": json.dumps([{}, "", TRANSCRIBE_QUEUE]).encode(),
    }
    times = [(b"1", AT - 10), (b"2", AT - 500), (b"4", AT + 1000)]
    paused, running = parse_taken(messages, times, AT)
    assert paused == (WaitingJob("again", AT + 600, 1800.0),)
    assert running == (
        RunningJob("old", AT - 500, 1800.0), RunningJob("young", AT - 10, 1800.0), RunningJob("again-now", AT, 1800.0),
    )  # fmt: skip


@given(st.dictionaries(st.binary(max_size=4), st.binary(max_size=200), max_size=5), JSON)
def test_no_hash_of_taken_messages_breaks_a_pass(messages: dict[bytes, bytes], value: Any) -> None:
    messages[b"x"] = json.dumps([value, "", TRANSCRIBE_QUEUE]).encode()
    parse_taken(messages, [], AT)
