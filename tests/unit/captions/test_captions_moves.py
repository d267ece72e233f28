"""Streams that move: what makes them, and that the client's words stay whole, in order and on their time line."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import aiohttp
import msgpack
import pytest
from slot_server import SlotServer, a_client, a_proxy, frame, is_heard, servers, speak, until, value, word

from visio_captions.proxy import Endpoint, Proxy

Addresses = dict[str, set[str] | None]
SPEED = 40
"""How much faster than real time these clients speak."""


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visio_captions.proxy.STREAM_CHECK_S", 0.02)
    monkeypatch.setattr("visio_captions.servers.FAILURE_PAUSE_S", 0.3)
    monkeypatch.setattr("visio_captions.stream.STALL_S", 0.3)
    monkeypatch.setattr("visio_captions.stream.PAUSE_WAIT_S", 0.4)


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Addresses:
    """The addresses that DNS answers for a Service."""
    answer: Addresses = {"now": set()}

    async def resolve(name: str, port: int) -> set[str] | None:
        assert (name, port) == ("captions", 8080)
        return answer["now"]

    monkeypatch.setattr("visio_captions.discovery.resolve", resolve)
    monkeypatch.setattr("visio_captions.discovery.RESOLVE_EVERY_S", 0.02)
    return answer


class Speaker:
    """A client that says 1, 2, 3 ... one number every five frames, and keeps the words that come back."""

    def __init__(self, stream: aiohttp.ClientWebSocketResponse) -> None:
        self.stream = stream
        self.heard: list[tuple[str, float]] = []
        self.loud = True

    async def say(self, words: int, first: int = 1) -> None:
        for number in range(first, first + words):
            for index in range(5):
                await self.stream.send_bytes(frame(number if index == 0 else 0, loud=self.loud))
                await asyncio.sleep(0.08 / SPEED)

    async def listen(self) -> None:
        async for message in self.stream:
            content = msgpack.unpackb(message.data)
            if content["type"] == "Word":
                self.heard.append((content["text"], content["start_time"]))

    def whole(self, words: int) -> list[tuple[str, float]]:
        return [(str(number), pytest.approx((number - 1) * 0.4, abs=0.001)) for number in range(1, words + 1)]


async def moved(
    proxy: Proxy, client: aiohttp.ClientSession, disturb: Callable[[], Awaitable[None]], words: int = 30
) -> Speaker:
    """A speaker whose server is disturbed in the middle of his words."""
    speaker = Speaker(await speak(client, proxy))
    listening = asyncio.create_task(speaker.listen())
    await speaker.say(words // 2)
    await disturb()
    await speaker.say(words - words // 2, first=words // 2 + 1)
    for _ in range(8):
        await speaker.stream.send_bytes(frame())
    await until(lambda: len(speaker.heard) >= words)
    await asyncio.sleep(0.1)
    listening.cancel()
    return speaker


def moves(proxy: Proxy, cause: str) -> float:
    return proxy.metrics.registry.get_sample_value("visio_captions_moves_total", {"cause": cause}) or 0.0


async def test_a_dead_servers_stream_goes_on_elsewhere_without_a_word_lost_doubled_or_mistimed() -> None:
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        speaker = await moved(proxy, client, first.stop)
        assert speaker.heard == speaker.whole(30)
        assert (second.used, moves(proxy, "closed"), value(proxy, "visio_captions_lost_total")) == (1, 1, 0)
        assert value(proxy, "visio_captions_repeated_words_total") > 5


@pytest.mark.parametrize("drift", [-0.16, 0.08, 0.24])
async def test_a_server_that_places_words_a_little_otherwise_doubles_none(drift: float) -> None:
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        second.drift = drift
        speaker = await moved(proxy, client, first.stop)
        assert [text for text, _ in speaker.heard] == [str(number) for number in range(1, 31)]


async def test_a_stalled_server_is_left_at_once() -> None:
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:

        async def stall() -> None:
            first.stalled = True

        speaker = await moved(proxy, client, stall)
        assert speaker.heard == speaker.whole(30)
        assert (second.used, moves(proxy, "stall")) == (1, 1)
        first.stalled = False


async def test_a_silent_server_that_answers_no_ping_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a node that vanished: its model tells no steps, so that it works is only known by its answers."""
    monkeypatch.setattr("visio_captions.stream.HEARTBEAT_S", 0.3)
    monkeypatch.setattr("visio_captions.stream.PONG_S", 0.2)
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        first.steps, first.stalled = False, True
        stream = await speak(client, proxy)
        await stream.send_bytes(frame())
        await until(lambda: moves(proxy, "closed") == 1)
        assert await is_heard(stream, 7)
        assert second.used == 1
        first.stalled = False


async def test_a_silent_server_that_answers_pings_keeps_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visio_captions.stream.HEARTBEAT_S", 0.1)
    monkeypatch.setattr("visio_captions.stream.PONG_S", 0.2)
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        first.steps = False
        stream = await speak(client, proxy)
        await asyncio.sleep(1.0)
        await first.sockets[0].ping()
        assert await is_heard(stream, 7)
        assert (first.used, second.used, moves(proxy, "closed")) == (1, 0, 0)


async def test_a_server_that_says_error_is_left_at_once() -> None:
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:

        async def fail() -> None:
            await first.sockets[0].send_bytes(msgpack.packb({"type": "Error", "message": "CUDA error"}))

        speaker = await moved(proxy, client, fail)
        assert speaker.heard == speaker.whole(30)
        assert (second.used, moves(proxy, "error")) == (1, 1)


async def test_a_server_without_steps_is_not_taken_for_stalled_and_its_death_loses_nothing() -> None:
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        first.steps = second.steps = False
        speaker = await moved(proxy, client, first.stop)
        assert speaker.heard == speaker.whole(30)
        assert (moves(proxy, "stall"), moves(proxy, "closed")) == (0, 1)


async def test_a_cordoned_server_is_left_in_the_midst_of_speech_after_a_bounded_wait(service: Addresses) -> None:
    async with servers(4, 4) as [first, second], a_client() as client:
        service["now"] = {first.address}
        async with a_proxy(service=Endpoint("captions", 8080)) as proxy:

            async def cordon() -> None:
                service["now"] = {second.address}

            speaker = await moved(proxy, client, cordon, words=60)
            assert speaker.heard == speaker.whole(60)
            await until(lambda: first.used == 0)
            assert (second.used, moves(proxy, "cordon")) == (1, 1)
            assert value(proxy, "visio_captions_lost_total") == 0


async def test_a_cordoned_server_is_left_at_a_pause_of_speech(
    service: Addresses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("visio_captions.stream.PAUSE_WAIT_S", 30.0)
    async with servers(4, 4) as [first, second], a_client() as client:
        service["now"] = {first.address}
        async with a_proxy(service=Endpoint("captions", 8080)) as proxy:
            speaker = Speaker(await speak(client, proxy))
            await speaker.say(10)
            service["now"] = {second.address}
            await until(lambda: second.used == 1)  # a seat is held for it
            await speaker.say(10, first=11)
            assert first.used == 1
            speaker.loud = False
            await speaker.say(2, first=21)
            await until(lambda: first.used == 0)
            await speaker.say(3, first=23)
            await speaker.say(2, first=900)
            await until_heard(speaker, 25)


async def until_heard(speaker: Speaker, words: int) -> None:
    heard = [await word(speaker.stream) for _ in range(words)]
    assert heard == speaker.whole(words)


async def test_without_room_elsewhere_a_cordoned_server_keeps_its_streams(service: Addresses) -> None:
    async with servers(1, 0) as [first, second], a_client() as client:
        service["now"] = {first.address}
        async with a_proxy(service=Endpoint("captions", 8080)) as proxy:
            stream = await speak(client, proxy)
            for addresses in ({second.address}, set(), None, {first.address}):
                service["now"] = addresses
                await asyncio.sleep(0.15)
                assert await is_heard(stream, 5)
                # It has a server: nobody needs to buy one for it.
                assert value(proxy, "visio_captions_waiting_streams") == 0
                assert value(proxy, "visio_captions_longest_wait_seconds") == 0
            assert (first.used, moves(proxy, "cordon")) == (1, 0)
            second.slots = 1
            service["now"] = {second.address}
            await until(lambda: (first.used, second.used) == (0, 1))
            assert await is_heard(stream, 6)


async def test_a_cut_stream_goes_before_those_that_came_later() -> None:
    async with servers(1, 1) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        dying, living = await speak(client, proxy), await speak(client, proxy)
        assert await is_heard(dying, 1)
        late = asyncio.create_task(speak(client, proxy))
        await until(lambda: value(proxy, "visio_captions_waiting_streams") == 1)
        await first.stop()
        await until(lambda: value(proxy, "visio_captions_waiting_streams") == 2)
        assert value(proxy, "visio_captions_streams") == 1
        await living.close()
        assert await is_heard(dying, 2)
        assert not late.done()
        late.cancel()


async def test_a_stream_that_finds_no_other_server_in_time_is_lost_and_its_client_told() -> None:
    async with servers(1) as [server], a_proxy(server, wait_limit_s=0.4) as proxy, a_client() as client:
        stream = await speak(client, proxy)
        assert await is_heard(stream, 1)
        await server.stop()
        async with asyncio.timeout(5):
            while (await stream.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
        assert stream.close_code == aiohttp.WSCloseCode.INTERNAL_ERROR
        assert value(proxy, "visio_captions_lost_total") == 1


async def test_a_client_that_leaves_while_its_stream_has_no_server_leaves_the_line() -> None:
    async with servers(1) as [server], a_proxy(server) as proxy, a_client() as client:
        stream = await speak(client, proxy)
        await server.stop()
        await until(lambda: value(proxy, "visio_captions_waiting_streams") == 1)
        await stream.close()
        await until(lambda: value(proxy, "visio_captions_waiting_streams") == 0)
        assert value(proxy, "visio_captions_lost_total") == 0


async def test_audio_that_comes_while_no_server_is_there_waits_in_bounded_memory_and_is_heard_later() -> None:
    server = SlotServer(1)
    await server.start()
    port = int(server.address.rpartition(":")[2])
    async with a_proxy(server, replay_s=1.0) as proxy, a_client() as client:
        speaker = Speaker(await speak(client, proxy))
        await speaker.say(5)
        await server.stop()
        saying = asyncio.create_task(speaker.say(45, first=6))
        await asyncio.sleep(0.6)
        [stream] = proxy._streams
        assert stream._tape.end - stream._tape.start <= (1.0 + 2.1) * 24_000
        again = SlotServer(1)
        await again.start(port)
        try:
            await saying
            await speaker.say(2, first=900)
            await until_heard(speaker, 50)
        finally:
            await again.stop()


async def test_markers_that_are_answered_are_not_answered_again_after_a_move() -> None:
    async with servers(4, 4) as [first, second], a_proxy(first, second) as proxy, a_client() as client:
        stream = await speak(client, proxy)
        await stream.send_bytes(frame())
        await stream.send_bytes(msgpack.packb({"type": "Marker", "id": 1}))
        await stream.send_bytes(frame())
        await until(lambda: first.frames == 2)
        await first.stop()
        await until(lambda: second.frames == 2)
        await stream.send_bytes(msgpack.packb({"type": "Marker", "id": 2}))
        said = [msgpack.unpackb(await stream.receive_bytes()) for _ in range(3)]
        assert said == [{"type": "Ready"}, {"type": "Marker", "id": 1}, {"type": "Marker", "id": 2}]


@pytest.mark.parametrize(
    "message",
    [b"\xc1", b"", msgpack.packb({"type": "OggOpus", "data": b"x"}), msgpack.packb({"type": "Audio", "pcm": ["x"]})],
)
async def test_a_client_that_sends_what_no_server_could_go_on_with_is_sent_away(message: bytes) -> None:
    async with servers(4) as [server], a_proxy(server) as proxy, a_client() as client:
        stream = await speak(client, proxy)
        await stream.send_bytes(message)
        await stream.receive_bytes()
        assert (await stream.receive()).type is aiohttp.WSMsgType.CLOSE
        assert stream.close_code == aiohttp.WSCloseCode.UNSUPPORTED_DATA
        await until(lambda: server.used == 0)
        assert value(proxy, "visio_captions_lost_total") == 0
