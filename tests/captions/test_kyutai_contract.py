"""What the proxy and the operator rely on in Kyutai's server: one suite for the stand-in and for the real program."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import msgpack
import pytest
from kyutai_servers import KEY, STREAM, Server, Start

from visio_captions.proxy import Endpoint, Proxy, Settings

DELAY = 6
HEADERS = {"kyutai-api-key": KEY}


def audio(frames: float = 1) -> bytes:
    return msgpack.packb({"type": "Audio", "pcm": [0.0] * round(1920 * frames)}, use_single_float=True)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as opened:
        yield opened


@pytest.fixture
async def server(shared_server: Server) -> Server:
    """The shared server, with all its slots free again."""
    await until(lambda: shared_server.slots()[0] == 0)
    return shared_server


async def until(condition: Any, seconds: float = 15.0) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.02)


async def receive(socket: aiohttp.ClientWebSocketResponse) -> dict[str, Any]:
    message = await socket.receive(timeout=15)
    assert message.type is aiohttp.WSMsgType.BINARY, message
    content: dict[str, Any] = msgpack.unpackb(message.data)
    return content


async def opened(session: aiohttp.ClientSession, url: str) -> aiohttp.ClientWebSocketResponse:
    socket = await session.ws_connect(url, headers=HEADERS)
    assert await receive(socket) == {"type": "Ready"}
    return socket


async def test_it_tells_its_build_and_its_metrics_to_anyone(server: Server, session: aiohttp.ClientSession) -> None:
    async with session.get(f"http://{server.address}/api/build_info") as response:
        assert response.status == 200 and isinstance(await response.json(), dict)
    async with await opened(session, server.url) as socket:
        await socket.send_bytes(audio())
        await receive(socket)
        async with session.get(f"http://{server.address}/metrics") as response:
            text = await response.text()
        assert '\nasr_open_channels{handler="all"} 1\n' in text
        for name in ('asr_connect{handler="all"} ', 'asr_model_step_duration_bucket{le="0.08"} '):
            assert f"\n{name}" in text


async def test_it_tells_its_slots_as_text_to_anyone(server: Server, session: aiohttp.ClientSession) -> None:
    async with await opened(session, server.url), session.get(f"http://{server.address}/api/modules_info") as response:
        (module,) = await response.json()
    assert (module["path"], module["used_slots"], module["total_slots"]) == (STREAM, "1", "2")
    assert {"type", "lm", "audio_tokenizer"} <= module.keys()


@pytest.mark.parametrize("headers", [{}, {"kyutai-api-key": "another"}])
async def test_a_stream_needs_a_known_key(
    server: Server, session: aiohttp.ClientSession, headers: dict[str, str]
) -> None:
    with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
        await session.ws_connect(server.url, headers=headers)
    assert refusal.value.status == 401


async def test_a_key_may_come_in_the_query(server: Server, session: aiohttp.ClientSession) -> None:
    async with session.ws_connect(server.url, params={"auth_id": KEY}) as socket:
        assert await receive(socket) == {"type": "Ready"}


@pytest.mark.parametrize("frames", [[1, 1, 1], [3], [0.5, 1, 1.5], [5, 0.1]])
async def test_every_80_ms_of_audio_is_one_step_however_it_comes(
    server: Server, session: aiohttp.ClientSession, frames: list[float]
) -> None:
    async with await opened(session, server.url) as socket:
        for each in frames:
            await socket.send_bytes(audio(each))
        steps = [await receive(socket) for _ in range(int(sum(frames)))]
        for step in steps:
            assert step["type"] == "Step" and len(step["prs"]) == 4 and step["buffered_pcm"] >= 0
        with pytest.raises(TimeoutError):
            await socket.receive(timeout=0.3)


async def test_steps_are_numbered_by_the_model_and_not_by_the_stream(
    server: Server, session: aiohttp.ClientSession
) -> None:
    numbers = []
    for _ in range(2):
        async with await opened(session, server.url) as socket:
            await socket.send_bytes(audio())
            numbers.append((await receive(socket))["step_idx"])
    assert numbers[1] > numbers[0]


async def test_the_stream_over_the_slots_is_told_so_and_closed_and_an_ended_one_frees_its_slot(
    server: Server, session: aiohttp.ClientSession
) -> None:
    first, second = [await opened(session, server.url) for _ in range(2)]
    assert server.slots() == (2, 2)
    third = await session.ws_connect(server.url, headers=HEADERS)
    assert await receive(third) == {"type": "Error", "message": "no free channels"}
    assert (await third.receive(timeout=5)).type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED)
    await first.close()
    await until(lambda: server.slots()[0] == 1)
    async with await opened(session, server.url):
        assert server.slots() == (2, 2)
    await second.close()


async def test_a_marker_comes_back_after_the_delay_of_the_model(server: Server, session: aiohttp.ClientSession) -> None:
    async with await opened(session, server.url) as socket:
        await socket.send_bytes(audio(2))
        for _ in range(2):
            await receive(socket)
        await socket.send_bytes(msgpack.packb({"type": "Marker", "id": 77}))
        await asyncio.sleep(0.3)
        for _ in range(DELAY):
            await socket.send_bytes(audio())
        said = [(await receive(socket)) for _ in range(DELAY + 1)]
        assert said[-1] == {"type": "Marker", "id": 77}


async def test_a_message_that_is_none_ends_the_stream(server: Server, session: aiohttp.ClientSession) -> None:
    async with await opened(session, server.url) as socket:
        await socket.send_bytes(b"\xc1")
        async with asyncio.timeout(15):
            while (await socket.receive()).type is aiohttp.WSMsgType.BINARY:
                pass
    await until(lambda: server.slots()[0] == 0)


async def test_a_proxy_fills_servers_holds_what_is_too_much_and_carries_streams_away_from_a_dead_one(
    start: Start, session: aiohttp.ClientSession
) -> None:
    both = sorted((start(2), start(2)), key=lambda server: server.address)
    anywhere = Endpoint("127.0.0.1", 0)
    proxy = Proxy(Settings(anywhere, anywhere, KEY, servers=tuple(server.address for server in both)))
    await proxy.start()
    await until(lambda: all(server.asked_at > 0 for server in proxy.placement.servers.values()))
    url = f"ws://127.0.0.1:{proxy.port}{STREAM}"
    try:
        streams = [await opened(session, url) for _ in range(3)]
        assert [server.slots()[0] for server in both] == [2, 1]
        streams.append(await opened(session, url))
        waiting = asyncio.create_task(opened(session, url))
        await until(lambda: proxy.placement.waiting == 1)
        await streams.pop().close()
        streams.append(await waiting)
        assert [server.slots()[0] for server in both] == [2, 2]
        await streams.pop(2).close()
        await streams.pop(2).close()
        await until(lambda: both[1].slots()[0] == 0)
        both[0].kill()
        await until(lambda: both[1].slots()[0] == 2)
        for stream in streams:
            await stream.send_bytes(audio(2))
            await stream.send_bytes(msgpack.packb({"type": "Marker", "id": 5}))
            for _ in range(DELAY + 2):
                await stream.send_bytes(audio())
            assert await receive(stream) == {"type": "Marker", "id": 5}
        assert proxy.metrics.registry.get_sample_value("visio_captions_moves_total", {"cause": "closed"}) == 2
        assert proxy.metrics.registry.get_sample_value("visio_captions_lost_total") == 0
    finally:
        await proxy.close()
