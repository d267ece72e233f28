"""A small speech-to-text server over loopback with fixed slots, for the proxy's tests.

It hears a number as the first sample of a frame, in thousandths, and says it as a word after its delay.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import msgpack
from aiohttp import web

from visio_captions.proxy import Endpoint, Proxy, Settings

KEY = "test-key"
STREAM = "/api/asr-streaming"


class SlotServer:
    """Slots as Kyutai's server has them; the attributes switch on its ways of failing."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.sockets: list[web.WebSocketResponse] = []
        self.hidden = 0  # streams of other proxies that modules_info does not show yet
        self.accepted = 0
        self.refused = 0
        self.ready = asyncio.Event()
        self.ready.set()
        self.reads = True
        self.info_status = 200
        self.delay = 6
        self.steps = True  # whether it tells its steps
        self.stalled = False
        self.drift = 0.0  # by how much it places words later than others do
        self.frames = 0
        self.step_s = 0.0  # how long a step takes
        self.said = 0
        self.chatter = 0  # words that it says to every frame
        self.first: bytes = msgpack.packb({"type": "Ready"})

    @property
    def used(self) -> int:
        return len(self.sockets)

    async def start(self, port: int = 0) -> None:
        application = web.Application()
        application.router.add_get("/api/modules_info", self._info)
        application.router.add_get(STREAM, self._stream)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", port).start()
        self.address = f"127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def end_streams(self) -> None:
        for socket in list(self.sockets):
            await socket.close()

    async def _info(self, _: web.Request) -> web.Response:
        text = {"path": STREAM, "used_slots": str(self.used), "total_slots": str(self.slots)}
        return web.json_response([{"type": "py", "path": "/api/tts"}, text], status=self.info_status)

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        if request.headers.get("kyutai-api-key") != KEY:
            return web.Response(status=401)
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        if self.used + self.hidden >= self.slots:
            self.refused += 1
            await socket.send_bytes(msgpack.packb({"type": "Error", "message": "no free channels"}))
            await socket.close()
            return socket
        self.sockets.append(socket)
        try:
            await self.ready.wait()
            self.accepted += 1
            await socket.send_bytes(self.first)
            while not self.reads:
                await asyncio.sleep(0.05)
            await self._transcribe(socket)
        finally:
            self.sockets.remove(socket)
        return socket

    async def _transcribe(self, socket: web.WebSocketResponse) -> None:
        step, due = 0, []
        async for message in socket:
            while self.stalled:
                await asyncio.sleep(0.02)
            content = msgpack.unpackb(message.data)
            if content["type"] == "Marker":
                await socket.send_bytes(message.data)
                continue
            assert content["type"] == "Audio" and len(content["pcm"]) == 1920, "a proxy that splits frames"
            if number := round(content["pcm"][0] * 1000):
                word = {"type": "Word", "text": str(number), "start_time": step * 0.08 + self.drift}
                due.append((step + self.delay, word))
            await asyncio.sleep(self.step_s)
            for _ in range(self.chatter):
                await socket.send_bytes(msgpack.packb({"type": "Word", "text": "x" * 1000, "start_time": step * 0.08}))
                self.said += 1
            step += 1
            self.frames += 1
            if self.steps:
                await socket.send_bytes(msgpack.packb({"type": "Step", "step_idx": 9000 + step, "prs": [0.0] * 4}))
            while due and due[0][0] < step:
                await socket.send_bytes(msgpack.packb(due.pop(0)[1]))
                await socket.send_bytes(msgpack.packb({"type": "EndWord", "stop_time": step * 0.08}))


def frame(number: int = 0, loud: bool = False) -> bytes:
    """80 ms of the client's audio: silence, or noise, and a number to be heard."""
    pcm = [number / 1000] + [0.1 if loud else 0.0] * 1919
    return msgpack.packb({"type": "Audio", "pcm": pcm}, use_single_float=True)


@asynccontextmanager
async def servers(*slots: int) -> AsyncIterator[list[SlotServer]]:
    """Started servers with these slots, in the order in which a proxy prefers idle ones."""
    started = [SlotServer(count) for count in slots]
    for server in started:
        await server.start()
    # Equal addresses but for the port: the proxy's order among idle servers is that of their text.
    started.sort(key=lambda server: server.address)
    for server, count in zip(started, slots, strict=True):
        server.slots = count
    try:
        yield started
    finally:
        for server in started:
            await server.stop()


@asynccontextmanager
async def a_proxy(
    *to: SlotServer,
    key: str = KEY,
    wait_limit_s: float = 20.0,
    service: Endpoint | None = None,
    **settings: Any,
) -> AsyncIterator[Proxy]:
    """A started proxy that knows the slots of these servers, or follows a Service."""
    anywhere = Endpoint("127.0.0.1", 0)
    fixed = tuple(server.address for server in to)
    proxy = Proxy(
        Settings(anywhere, anywhere, key, service=service, servers=fixed, wait_limit_s=wait_limit_s, **settings)
    )
    await proxy.start()
    try:
        answering = [server.address for server in to if server.info_status == 200]
        await until(lambda: all(proxy.placement.servers[address].asked_at > 0 for address in answering))
        yield proxy
    finally:
        await proxy.close()


@asynccontextmanager
async def a_client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield session


async def speak(
    session: aiohttp.ClientSession, proxy: Proxy, headers: dict[str, str] | None = None
) -> aiohttp.ClientWebSocketResponse:
    """Open a stream through the proxy, as the agent does."""
    return await session.ws_connect(f"http://127.0.0.1:{proxy.port}{STREAM}", headers=headers)


async def word(stream: aiohttp.ClientWebSocketResponse) -> tuple[str, float]:
    """The next word of a stream, and its time."""
    async with asyncio.timeout(8):
        while True:
            content = msgpack.unpackb(await stream.receive_bytes())
            if content["type"] == "Word":
                return content["text"], content["start_time"]


async def is_heard(stream: aiohttp.ClientWebSocketResponse, number: int) -> bool:
    """Whether a stream lives: a number said now comes back as the next word."""
    await stream.send_bytes(frame(number))
    for _ in range(6):
        await stream.send_bytes(frame())
    return (await word(stream))[0] == str(number)


async def until(condition: Callable[[], bool], seconds: float = 8.0) -> None:
    """Wait for something that will be true soon."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


def value(proxy: Proxy, name: str) -> float:
    found = proxy.metrics.registry.get_sample_value(name)
    assert found is not None, name
    return found
