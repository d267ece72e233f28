"""Which signals are fresh, what is said of those that are not, and that a steady world says the same for ever."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_world import NOW, a_spec, a_workload, an_empty_world, with_captions

from visio_operator.plan.health import signal_health
from visio_operator.plan.observed import (
    Agent,
    CaptionsServer,
    GpuNode,
    MediaServer,
    Observed,
    Pool,
    Queue,
    Recorder,
    Source,
    TranscriptionWorker,
    WorkerQueue,
)
from visio_operator.plan.pace import Pace

PACE = Pace()
OLD = NOW - PACE.stale_after - 1
LONG_AGO = NOW - 86_400


def a_server(pod: str = "c-1", **changes: Any) -> CaptionsServer:
    server = CaptionsServer(pod, "n", True, True, used=3, total=8, read_at=NOW - 5, created=LONG_AGO)
    return replace(server, **changes)


def a_world(**changes: Any) -> Observed:
    """Every signal fresh."""
    spec = a_spec(**with_captions())
    parts = ("captions", "subtitles", "transcription", "sfu", "egress", "summarize")
    whole = an_empty_world(
        spec,
        workloads={part: a_workload(spec, part) for part in parts},
        captions=(a_server(),),
        agents=(Agent("a-1", True, LONG_AGO, 2, 0.4, NOW - 5),),
        captions_waiting_read_at=NOW,
        queue=Queue(waiting=0, read_at=NOW),
        transcribers=(TranscriptionWorker("t-1", "n", True, False, LONG_AGO, read_at=NOW),),
        media=(MediaServer("m-1", "n", True, LONG_AGO, rooms=1, read_at=NOW - 15),),
        recorders=(Recorder("e-1", True, LONG_AGO, True, False, read_at=NOW),),
        worker_queues={"summarize": WorkerQueue(waiting=0, read_at=NOW), "call-webhook": WorkerQueue()},
        nodes=(GpuNode("n", "l40", True, 1, False, LONG_AGO),),
        pools={"l40": Pool("l40", True, desired=1)},
    )
    return replace(whole, **changes)


def problems(world: Observed, now: float = NOW) -> dict[str, str]:
    return {signal.name: signal.problem for signal in signal_health(world, now, PACE) if signal.problem}


def test_a_healthy_deployment_has_all_its_signals_fresh_with_their_ages() -> None:
    found = {signal.name: (signal.source, NOW - signal.read_at) for signal in signal_health(a_world(), NOW, PACE)}
    assert found == {
        "captionsSlots": ("captions servers", 5), "waitingStreams": ("captions proxies", 0),
        "agentLoad": ("subtitles agents", 5), "transcriptionQueue": ("Redis", 0),
        "busyWorkers": ("WhisperX servers", 0), "mediaServers": ("LiveKit metrics", 15),
        "recorders": ("egress metrics", 0), "workerQueues": ("Redis", 0), "gpuNodes": ("Kubernetes", 0),
        "nodePools": ("node pools of the provider", 0),
    }  # fmt: skip
    assert problems(a_world()) == {}


def test_where_a_prometheus_is_given_each_signal_says_who_was_asked_and_why() -> None:
    sources = {
        "captionsSlots": Source("all"),
        "waitingStreams": Source("some", "Prometheus lacks one"),
        "mediaServers": Source("none", "Prometheus cannot be reached"),
        "captionsHistory": Source("none", "it is being asked for"),
    }
    found = {one.name: (one.source, one.source_reason) for one in signal_health(a_world(sources=sources), NOW, PACE)}
    assert found["captionsSlots"] == ("Prometheus", "")
    assert found["waitingStreams"] == ("Prometheus and captions proxies", "Prometheus lacks one")
    assert found["mediaServers"] == ("LiveKit metrics", "Prometheus cannot be reached")
    assert found["captionsHistory"] == ("readings of this operator", "it is being asked for")
    assert found["recorders"] == ("egress metrics", "")
    assert problems(a_world(sources=sources)) == {}, "a signal that is read otherwise is no problem"


def test_signals_of_parts_that_do_not_exist_are_left_out() -> None:
    assert signal_health(an_empty_world(a_spec()), NOW, PACE) == ()


@pytest.mark.parametrize(
    ("signal", "changes", "words"),
    [
        ("captionsSlots", {"captions": (a_server(read_at=OLD),)}, "c-1 do not say how many slots"),
        ("waitingStreams", {"captions_waiting": None, "captions_waiting_read_at": OLD}, "captions grow by the slots"),
        ("agentLoad", {"agents": (Agent("a-1", True, LONG_AGO),)}, "a-1 do not say how busy"),
        ("transcriptionQueue", {"queue": Queue(read_at=OLD, error="Redis at r:1 cannot be read")}, "Redis at r:1"),
        ("busyWorkers", {"transcribers": (TranscriptionWorker("t-1", "n", True, None, LONG_AGO),)}, "count as busy"),
        ("mediaServers", {"media": (MediaServer("m-1", "n", True, LONG_AGO),)}, "no media server is taken away"),
        ("recorders", {"recorders": (Recorder("e-1", True, LONG_AGO),)}, "no recorder is taken away"),
        ("workerQueues", {"worker_queues": {"summarize": WorkerQueue(error="no Redis")}}, "no Redis; these workers"),
        ("nodePools", {"pools": {"l40": Pool("l40", False, error="there is no NodePool l40")}}, "there is no NodePool"),
    ],
)
def test_a_missing_signal_says_what_is_wrong_and_what_follows(signal: str, changes: Any, words: str) -> None:
    found = problems(a_world(**changes))
    assert list(found) == [signal]
    assert words in found[signal]


def test_a_reading_that_failed_once_is_no_news() -> None:
    assert problems(a_world(captions_waiting=None, captions_waiting_read_at=NOW - 30)) == {}
    assert problems(a_world(queue=Queue(read_at=NOW - 30, error="x"))) == {}


def test_servers_that_cannot_answer_yet_or_no_more_are_not_waited_for() -> None:
    servers = (a_server("loading", ready=False, read_at=0.0), a_server("going", terminating=True, read_at=OLD))
    assert problems(a_world(captions=servers)) == {}
    assert (
        "was-ready" in problems(a_world(captions=(a_server("was-ready", ready=False, read_at=OLD),)))["captionsSlots"]
    )
    assert problems(a_world(captions=(a_server("young", read_at=0.0, created=NOW - 20),))) == {}


def test_many_silent_servers_are_counted_not_listed() -> None:
    servers = tuple(a_server(f"c-{number:04}", read_at=OLD) for number in range(1000))
    [message] = problems(a_world(captions=servers)).values()
    assert message.startswith("c-0000, c-0001, c-0002 and 997 more do not say")


@given(st.floats(0, 1e6), st.integers(0, 5), st.sampled_from([OLD, NOW - 5, 0.0]), st.booleans())
def test_the_words_of_a_problem_never_change_with_time(later: float, used: int, read_at: float, known: bool) -> None:
    world = a_world(captions=(a_server(used=used, read_at=read_at),), captions_waiting=0 if known else None)
    before, after = problems(world), problems(world, NOW + later)
    assert {name: after[name] for name in before} == before
