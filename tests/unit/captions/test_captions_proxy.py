"""The proxy over loopback, against small servers with slots."""

import asyncio
import time
from collections.abc import Callable

import aiohttp
import msgpack
import pytest
from slot_server import SlotServer, a_client, a_proxy, frame, is_heard, servers, speak, until, value, word

from visio_captions.messages import SAMPLE_RATE
from visio_captions.proxy import Proxy
from visio_captions.stream import BACKLOG_S


async def test_words_pass_after_the_servers_own_ready_and_steps_do_not() -> None:
    async with servers(2) as [server], a_proxy(server) as proxy, a_client() as client:
        stream = await speak(client, proxy)
        assert msgpack.unpackb(await stream.receive_bytes()) == {"type": "Ready"}
        await stream.send_bytes(msgpack.packb({"type": "Marker", "id": 3}))
        assert msgpack.unpackb(await stream.receive_bytes()) == {"type": "Marker", "id": 3}
        for number in (0, 0, 7, *[0] * 6):
            await stream.send_bytes(frame(number))
        heard = [msgpack.unpackb(await stream.receive_bytes()) for _ in range(2)]
        assert heard[0] == {"type": "Word", "text": "7", "start_time": 0.16}
        assert heard[1]["type"] == "EndWord"
        assert value(proxy, "visio_captions_streams") == 1
        assert value(proxy, "visio_captions_wait_seconds_count") == 1
        assert value(proxy, "visio_captions_lag_seconds") == 0
        await stream.close()
        await until(lambda: server.used == 0 and value(proxy, "visio_captions_streams") == 0)
        assert value(proxy, "visio_captions_lost_total") == 0


async def test_streams_fill_one_server_before_the_next() -> None:
    async with servers(3, 3, 3) as [first, second, third], a_proxy(first, second, third) as proxy, a_client() as client:
        streams = []
        for expected in [(1, 0, 0), (2, 0, 0), (3, 0, 0), (3, 1, 0), (3, 2, 0)]:
            streams.append(await speak(client, proxy))
            assert (first.used, second.used, third.used) == expected
        await streams[0].close()
        await until(lambda: first.used == 2)
        await asyncio.sleep(0.5)  # both have one free slot now; the lower address wins, and the third stays empty
        streams.append(await speak(client, proxy))
        streams.append(await speak(client, proxy))
        assert (first.used, second.used, third.used) == (3, 3, 0)


async def test_a_burst_never_asks_a_server_for_more_than_its_slots() -> None:
    async with servers(8, 8) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        await asyncio.gather(*(speak(client, proxy) for _ in range(16)))
        assert (first.used, second.used) == (8, 8)
        assert first.refused == second.refused == 0


async def test_waiting_streams_are_served_in_their_order_of_arrival() -> None:
    async with servers(1) as [server], a_proxy(server) as proxy, a_client() as client:
        talking = await speak(client, proxy)
        served: list[int] = []

        async def wait_and_speak(number: int) -> None:
            stream = await speak(client, proxy)
            served.append(number)
            await stream.close()

        waiting = []
        for number in range(4):
            waiting.append(asyncio.create_task(wait_and_speak(number)))
            await until(lambda expected=number + 1: value(proxy, "visio_captions_waiting_streams") == expected)
        assert served == []
        longest = value(proxy, "visio_captions_longest_wait_seconds")
        await asyncio.sleep(0.2)
        assert value(proxy, "visio_captions_longest_wait_seconds") >= longest + 0.2 > 0.2, "it grows by itself"
        await talking.close()
        await asyncio.gather(*waiting)
        assert value(proxy, "visio_captions_longest_wait_seconds") == 0
        assert served == [0, 1, 2, 3]
        assert value(proxy, "visio_captions_waiting_streams") == 0


async def test_a_refused_stream_goes_to_the_next_server() -> None:
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        first.hidden = 4  # another proxy took them since the last answer
        stream = await speak(client, proxy)
        assert msgpack.unpackb(await stream.receive_bytes()) == {"type": "Ready"}
        assert (first.refused, second.used) == (1, 1)


async def test_a_stream_refused_by_all_keeps_its_place_in_the_line() -> None:
    async with servers(1) as [server], a_proxy(server) as proxy, a_client() as client:
        server.hidden = 1
        served: list[str] = []

        async def wait_and_speak(name: str) -> None:
            stream = await speak(client, proxy)
            served.append(name)
            await stream.close()

        first = asyncio.create_task(wait_and_speak("first"))
        await until(lambda: server.refused > 0)
        second = asyncio.create_task(wait_and_speak("second"))
        await until(lambda: value(proxy, "visio_captions_waiting_streams") == 2)
        refusals = server.refused
        await until(lambda: server.refused > refusals)
        await until(lambda: value(proxy, "visio_captions_longest_wait_seconds") > 0.3)
        server.hidden = 0
        await asyncio.gather(first, second)
        assert served == ["first", "second"]


async def test_a_stream_that_finds_no_slot_in_time_is_refused() -> None:
    async with servers(0) as [server], a_proxy(server, wait_limit_s=0.3) as proxy, a_client() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await speak(client, proxy)
        assert refusal.value.status == 503
        assert value(proxy, "visio_captions_refused_total") == 1
        assert value(proxy, "visio_captions_waiting_streams") == 0


async def test_a_client_that_leaves_the_line_takes_no_slot() -> None:
    async with servers(1) as [server], a_proxy(server) as proxy, a_client() as client:
        talking = await speak(client, proxy)
        impatient = asyncio.create_task(speak(client, proxy))
        await until(lambda: value(proxy, "visio_captions_waiting_streams") == 1)
        impatient.cancel()
        await until(lambda: value(proxy, "visio_captions_waiting_streams") == 0)
        await talking.close()
        await speak(client, proxy)
        assert server.accepted == 2


async def test_a_client_that_leaves_while_its_stream_is_opened_takes_no_slot() -> None:
    async with servers(1) as [server], a_proxy(server) as proxy, a_client() as client:
        server.ready.clear()
        impatient = asyncio.create_task(speak(client, proxy))
        await until(lambda: server.used == 1)
        impatient.cancel()
        await until(lambda: server.used == 0)
        server.ready.set()
        await speak(client, proxy)


async def test_a_server_that_never_says_ready_is_left_for_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visio_captions.upstream.OPEN_TIMEOUT_S", 0.3)
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        first.ready.clear()
        await speak(client, proxy)
        assert second.used == 1
        await until(lambda: first.used == 0)


@pytest.mark.parametrize("first", [b"\xc1", msgpack.packb({"type": "Error", "message": "out of memory"})])
async def test_a_server_that_starts_with_nonsense_is_left_for_another(first: bytes) -> None:
    async with servers(4, 4) as [wrong, right], a_proxy(wrong, right) as proxy, a_client() as client:
        wrong.first = first
        await speak(client, proxy)
        assert right.used == 1


async def test_a_server_without_slot_figures_gets_no_stream() -> None:
    async with servers(4, 4) as [broken, right]:
        broken.info_status = 500
        async with a_proxy(broken, right) as proxy, a_client() as client:
            await speak(client, proxy)
            assert (broken.used, right.used) == (0, 1)


async def test_a_wrong_key_is_reported_without_the_key(caplog: pytest.LogCaptureFixture) -> None:
    wrong = "a-wrong-and-secret-key"
    async with servers(1) as [server], a_proxy(server, key=wrong, wait_limit_s=0.5) as proxy, a_client() as client:
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await speak(client, proxy)
    assert "check KYUTAI_API_KEY" in caplog.text
    assert wrong not in caplog.text


async def test_memory_stays_bounded_and_the_end_quick_when_a_server_does_not_read() -> None:
    async with servers(1) as [server], a_client() as client:
        async with a_proxy(server) as proxy:
            server.reads = False
            stream = await speak(client, proxy)
            sent, message = 0, frame(1)
            with pytest.raises(TimeoutError):
                while sent < 200_000_000:
                    async with asyncio.timeout(0.5):
                        await stream.send_bytes(message)
                    sent += len(message)
            # Only the sockets' own buffers filled up; they may have several megabytes each.
            assert sent < 64_000_000
            ending = time.monotonic()
        assert time.monotonic() - ending < 8
        server.reads = True


async def test_a_server_slower_than_speech_is_not_flooded_and_loses_no_word() -> None:
    async with servers(1) as [server], a_proxy(server, replay_s=1.0) as proxy, a_client() as client:
        server.step_s = 0.006
        stream = await speak(client, proxy)
        most, sent = 0, 200
        for number in range(1, sent + 1):
            await stream.send_bytes(frame(number))
            await asyncio.sleep(0.001)
            [held] = proxy._streams
            most = max(most, held._tape.end - held._tape.start)
        assert value(proxy, "visio_captions_lag_seconds") > 0.5
        assert most <= (1.0 + BACKLOG_S + 0.1) * SAMPLE_RATE
        for _ in range(6):
            await stream.send_bytes(frame())
        assert [(await word(stream))[0] for _ in range(sent)] == [str(number) for number in range(1, sent + 1)]
        assert value(proxy, "visio_captions_lost_total") == 0


async def test_memory_stays_bounded_and_others_are_served_when_a_client_does_not_read() -> None:
    async with servers(2) as [server], a_proxy(server) as proxy, a_client() as client:
        server.chatter = 2000
        deaf = await speak(client, proxy)
        paused = deaf.get_extra_info("transport") or deaf._conn.transport  # type: ignore[union-attr]
        paused.pause_reading()
        for _ in range(20):
            await deaf.send_bytes(frame())
        await until(lambda: server.said > 0)
        await until_still(lambda: server.said)
        # 40 MB of words were to come; only the sockets' own buffers took some.
        assert server.said < 30_000
        server.chatter = 0
        other = await speak(client, proxy)
        assert await is_heard(other, 4)
        assert moves(proxy) == 0
        paused.abort()
        await until(lambda: value(proxy, "visio_captions_streams") == 1)


async def until_still(reading: Callable[[], int]) -> None:
    before = -1
    while before != reading():
        before = reading()
        await asyncio.sleep(0.3)


def moves(proxy: Proxy) -> float:
    name = "visio_captions_moves_total"
    causes = ("cordon", "closed", "error", "stall")
    return sum(proxy.metrics.registry.get_sample_value(name, {"cause": cause}) or 0.0 for cause in causes)


async def test_draining_accepts_nothing_new_and_waits_for_the_last_stream() -> None:
    async with servers(2) as [server], a_proxy(server) as proxy, a_client() as client:
        talking = await speak(client, proxy)
        await talking.receive_bytes()
        draining = asyncio.create_task(proxy.drain())
        await asyncio.sleep(0.2)
        with pytest.raises(aiohttp.ClientConnectorError):
            await speak(client, proxy)
        assert await is_heard(talking, 7)
        assert not draining.done()
        await talking.close()
        async with asyncio.timeout(5):
            assert await draining


async def test_streams_that_outlive_the_grace_are_cut() -> None:
    async with servers(2) as [server], a_proxy(server, grace_s=0.3) as proxy, a_client() as client:
        stream = await speak(client, proxy)
        assert not await proxy.drain()
        assert not stream.closed


async def test_an_agent_with_another_key_than_the_servers_is_served_and_the_servers_key_stays_here() -> None:
    async with servers(2) as [server], a_proxy(server, agent_key="agents-key") as proxy, a_client() as client:
        for headers in ({}, {"kyutai-api-key": "wrong"}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
                await speak(client, proxy, headers)
            assert refusal.value.status == 401
        stream = await speak(client, proxy, {"kyutai-api-key": "agents-key"})
        assert await is_heard(stream, 5)
        assert server.used == 1
        # The refusals above keep this frame until the next collection, and with it a stream that is left open.
        await stream.close()


async def test_metrics_and_health_are_served() -> None:
    async with servers(1) as [server], a_proxy(server) as proxy, a_client() as client:
        async with client.get(f"http://127.0.0.1:{proxy.metrics_port}/metrics") as response:
            text = await response.text()
        moves = [f'moves_total{{cause="{cause}"}}' for cause in ("cordon", "closed", "error", "stall")]
        others = ["streams", "waiting_streams", "wait_seconds_count", "refused_total", "lost_total"]
        for name in [*moves, *others, "move_seconds_count", "repeated_words_total"]:
            assert f"\nvisio_captions_{name} 0.0" in text
        # How late its loop is depends on the machine.
        assert "\nvisio_captions_lag_seconds " in text
        async with client.get(f"http://127.0.0.1:{proxy.metrics_port}/healthz") as response:
            assert response.status == 200


async def test_a_plain_request_for_the_stream_is_told_what_it_is() -> None:
    async with servers(1) as [server], a_proxy(server) as proxy, a_client() as client:
        response = await client.get(f"http://127.0.0.1:{proxy.port}/api/asr-streaming")
        assert response.status == 426


async def test_a_server_that_comes_back_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visio_captions.servers.FAILURE_PAUSE_S", 0.3)
    server = SlotServer(1)
    await server.start()
    port = server.address.rpartition(":")[2]
    async with a_proxy(server) as proxy, a_client() as client:
        await server.stop()
        waiting = asyncio.create_task(speak(client, proxy))
        await asyncio.sleep(1.2)
        assert not waiting.done()
        again = SlotServer(1)
        await again.start(int(port))
        try:
            async with asyncio.timeout(10):
                await waiting
            assert again.used == 1
        finally:
            await again.stop()


async def test_two_proxies_that_race_for_the_same_slots_fill_all_of_them() -> None:
    async with servers(4, 4) as both, a_proxy(*both) as one, a_proxy(*both) as other, a_client() as client:
        streams = await asyncio.gather(*(speak(client, proxy) for _ in range(4) for proxy in (one, other)))
        assert [server.used for server in both] == [4, 4]
        for stream in streams:
            assert msgpack.unpackb(await stream.receive_bytes()) == {"type": "Ready"}
        waiting = asyncio.create_task(speak(client, other))
        await until(lambda: value(other, "visio_captions_waiting_streams") == 1)
        await streams[0].close()  # a stream of the other proxy: only the server's answer can tell
        await waiting
