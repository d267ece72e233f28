"""Readings of servers, as those servers write them."""

import asyncio

import aiohttp
import pytest
from aiohttp import web

from visio_operator.runtime import signals
from visio_operator.runtime.memory import Memory, Waits
from visio_operator.runtime.signals import parse_gauge, parse_slots, parse_waits


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ('[{"type":"BatchedAsr","path":"/api/asr-streaming","used_slots":"3","total_slots":"64"}]', (3, 64)),
        ('{"asr":{"used_slots":3,"total_slots":64},"tts":{"used_slots":"1","total_slots":"2"}}', (4, 66)),
        ('{"used_slots":"0","total_slots":"8"}', (0, 8)),
        ('[{"type":"Other"},{"used_slots":"1","total_slots":"8"}]', (1, 8)),
        ("[]", None),
        ("no JSON", None),
        ('[{"total_slots":"8"}]', None),
        ('[{"used_slots":"many","total_slots":"8"}]', None),
        ("3", None),
    ],
)
def test_slots_are_read_as_strings_or_numbers(text: str, slots: tuple[int, int] | None) -> None:
    assert parse_slots(text) == slots


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("# HELP x\nx 3\n", 3),
        ('x{server="a"} 1.0\nx{server="b"} 2.0\n', 3),
        ("x_total 4\n", None),
        ("x nonsense\n", None),
        ("", None),
    ],
)
def test_a_gauge_is_summed_over_its_labels(text: str, value: int | None) -> None:
    assert parse_gauge(text, "x") == value


WAITING = "visio_captions_waiting_streams 2.0\n"
LONGEST = "visio_captions_longest_wait_seconds 12.7\n"


@pytest.mark.parametrize(
    ("text", "read"),
    [
        (WAITING + LONGEST, Waits(2, 12.0, 5.0)),
        (WAITING, Waits(2, None, 5.0)),
        (LONGEST, None),
    ],
)
def test_a_captions_proxy_tells_how_many_wait_and_perhaps_how_long(text: str, read: Waits | None) -> None:
    assert parse_waits(text, 5.0) == read


async def test_the_longest_wait_of_all_proxies_counts_and_one_silent_proxy_hides_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=WAITING + LONGEST)

    app = web.Application()
    app.router.add_get("/metrics", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    monkeypatch.setattr(signals, "PROXY_METRICS_PORT", int(runner.addresses[0][1]))
    memory = Memory()
    async with aiohttp.ClientSession() as session:
        pods = dict.fromkeys(("a", "b"), "127.0.0.1")
        assert await signals.waiting_streams(session, pods, memory, 1000.0) == (4, 12.0)
        assert memory.waiting_read_at == 1000.0
        await runner.cleanup()
        assert await signals.waiting_streams(session, pods, memory, 1030.0) == (None, None)
        assert memory.waiting_read_at == 1000.0
        known = frozenset(pods)
        assert await signals.waiting_streams(session, pods, memory, 1045.0, known) == (4, 12.0)
        assert memory.waiting_read_at == 1000.0, "as old as the oldest reading of a proxy that need not be asked"
        assert await signals.waiting_streams(session, {}, memory, 1060.0) == (0, None)
    assert memory.waits == {}


async def _busy_since(
    monkeypatch: pytest.MonkeyPatch, answers: list[float | None]
) -> list[tuple[bool | None, float | None, float]]:
    """What is known of one worker after each look, ten seconds apart; it answers after so long, or refuses (None)."""
    delays = iter(answers)

    async def answer(_: web.Request) -> web.Response:
        await asyncio.sleep(current[0])
        return web.Response(text="ok")

    current = [0.0]
    app = web.Application()
    app.router.add_get("/health", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    port = int(runner.addresses[0][1])
    monkeypatch.setattr(signals, "BUSY_AFTER", 0.2)
    memory, found = Memory(), []
    async with aiohttp.ClientSession() as session:
        for number, delay in enumerate(delays):
            # Nobody listens at port 1.
            monkeypatch.setattr(signals, "WHISPERX_PORT", 1 if delay is None else port)
            current[0] = delay or 0.0
            busy = await signals.busy_transcribers(session, {"w": "127.0.0.1"}, memory, 1000.0 + 10 * number)
            found.append((busy["w"], memory.busy_since.get("w"), memory.busy_read_at["w"]))
        await signals.busy_transcribers(session, {}, memory, 2000.0)
    await runner.cleanup()
    assert (memory.busy_since, memory.busy_read_at, memory.answered) == ({}, {}, set())
    return found


async def test_a_worker_is_busy_since_it_was_first_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _busy_since(monkeypatch, [0.0, 0.6, 0.6, 0.0, 0.6]) == [
        (False, None, 1000.0), (True, 1010.0, 1010.0), (True, 1010.0, 1020.0), (False, None, 1030.0),
        (True, 1040.0, 1040.0),
    ]  # fmt: skip


async def test_what_is_unknown_for_a_while_does_not_begin_a_job_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    assert await _busy_since(monkeypatch, [0.6, 0.0, 0.6, None, 0.6]) == [
        (None, None, 0.0), (False, None, 1010.0), (True, 1020.0, 1020.0), (None, 1020.0, 1020.0),
        (True, 1020.0, 1040.0),
    ]  # fmt: skip
