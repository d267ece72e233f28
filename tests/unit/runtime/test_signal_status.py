"""The health of signals in status and metrics: what moves, and when."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from builders import UID
from visio_operator.api.status import VisioDeploymentStatus
from visio_operator.plan.observed import Observed, Queue, Workload
from visio_operator.plan.pace import Pace
from visio_operator.runtime import agent_signals, metrics
from visio_operator.runtime.agent_signals import parse_worker
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.report import instant
from visio_operator.runtime.signal_status import publish_ages, signal_status

NOW = 1_800_000_000.0
WORLD = Observed(
    uid=UID,
    namespace="visio",
    name="main",
    workloads={"transcription": Workload("Deployment", "main-transcription", "transcription")},
    queue=Queue(waiting=0, read_at=NOW),
)
DEAD = replace(WORLD, queue=Queue(read_at=NOW - 100, error="Redis at r:6379 cannot be read"))


def status(previous: list[dict[str, Any]], world: Observed, now: float) -> list[dict[str, Any]]:
    return signal_status(previous, world, now, instant(now), Pace())


def test_since_moves_when_a_signal_goes_and_comes_back_and_never_with_a_reading() -> None:
    first = status([], WORLD, NOW)
    assert [(one["name"], one["state"], one["since"]) for one in first] == [
        ("transcriptionQueue", "Fresh", instant(NOW)), ("busyWorkers", "Fresh", instant(NOW)),
    ]  # fmt: skip
    assert status(first, replace(WORLD, queue=Queue(waiting=7, read_at=NOW + 30)), NOW + 30) == first
    gone = status(first, DEAD, NOW + 60)
    assert (gone[0]["state"], gone[0]["since"]) == ("Missing", instant(NOW + 60))
    assert gone[0]["message"].startswith("Redis at r:6379 cannot be read; transcription workers are kept")
    assert gone[1] == first[1]
    assert status(gone, DEAD, NOW + 90) == gone
    back = status(gone, WORLD, NOW + 120)
    assert (back[0]["state"], back[0]["since"], back[0]["message"]) == ("Fresh", instant(NOW + 120), "")


def test_status_fits_its_schema() -> None:
    VisioDeploymentStatus.model_validate({"signals": status([], DEAD, NOW)})


def test_ages_are_metrics_that_grow_by_themselves_and_end_with_their_deployment() -> None:
    now = time.time()
    publish_ages(replace(WORLD, queue=Queue(read_at=now - 100)), now, Pace())
    publish_ages(replace(WORLD, name="other"), now, Pace())
    labels = {"deployment": "visio/main", "signal": "transcriptionQueue"}
    age = metrics.REGISTRY.get_sample_value("visio_operator_signal_age_seconds", labels)
    assert age is not None
    assert 100 <= age < 110
    metrics.set_signals("visio/main", {})
    text = metrics.text().decode()
    assert "visio/main" not in text
    assert 'deployment="visio/other"' in text
    metrics.set_signals("visio/other", {})


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ('{"agent_name":"a","worker_type":"JT_ROOM","active_jobs":3,"worker_load":0.42}', (3, 0.42)),
        ('{"worker_type":"JT_ROOM","sdk_version":"1.6.7","protocol_version":1}', (0, 0.0)),
        ('{"worker_type":"JT_ROOM","active_jobs":-1}', None),
        ('{"worker_type":"JT_ROOM","active_jobs":"3"}', None),
        ('{"worker_type":"JT_ROOM","worker_load":NaN}', None),
        ('{"status":"ok"}', None),
        ("[]", None),
        ("OK", None),
        ("[" * 100_000, None),
    ],
)
def test_the_load_of_an_agent_is_read(text: str, read: tuple[int, float] | None) -> None:
    assert parse_worker(text) == read


@given(st.text(max_size=80))
def test_no_answer_of_an_agent_breaks_a_pass(text: str) -> None:
    parse_worker(text)


async def test_an_agent_that_falls_silent_keeps_its_last_reading_with_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"worker_type": "JT_ROOM", "active_jobs": 2, "worker_load": 0.5})

    app = web.Application()
    app.router.add_get("/worker", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(agent_signals, "HEALTH_PORT", int(runner.addresses[0][1]))
    ready = {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    pods = {"a": {"metadata": {"name": "a", "creationTimestamp": "2026-01-01T00:00:00Z"}, "status": ready}}
    memory = Memory()
    async with aiohttp.ClientSession() as session:
        [agent] = await agent_signals.agents(session, pods, memory, NOW)
        assert (agent.ready, agent.jobs, agent.load, agent.read_at) == (True, 2, 0.5, NOW)
        await runner.cleanup()
        [agent] = await agent_signals.agents(session, pods, memory, NOW + 30)
        assert (agent.jobs, agent.read_at) == (2, NOW)
        assert await agent_signals.agents(session, {}, memory, NOW + 60) == ()
    assert memory.agents == {}
