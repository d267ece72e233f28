"""Plays the subtitles agent (LiveKit agents 1.6.7, livekit-plugins-kyutai-lasuite 0.0.6) at the load driver's call.

Each participant is one websocket to KYUTAI_STT_BASE_URL, opened once and never again: a refused handshake or a closed
stream means no captions for that person, as with the real plugin. The handshake may take up to 300 s, and audio waits
meanwhile. SIGTERM: no new streams, those that run may end, at most an hour; a second SIGTERM ends it at once.

The audio says a new number every second, in tones (standins/tone.py), so that every word can be checked: one that never
came counts as missed, one that came twice as repeated.
"""

import asyncio
import contextlib
import functools
import os
import signal
import time
from dataclasses import asdict, dataclass

import aiohttp
import msgpack
from aiohttp import WSMsgType, web

from visio_lab.standins.kyutai import FRAME_S, KEY_HEADER
from visio_lab.standins.tone import encode_words

PORT = 8081
HANDSHAKE_S = 300.0
DRAIN_S = 3600.0
MESSAGE_FRAMES = 5
"""Frames in one message. The real plugin sends one; five save four fifths of the messages and change nothing else."""
MESSAGE_S = MESSAGE_FRAMES * FRAME_S
WAITED_S = 1.0
TAIL_S = 2.0
"""How long a stream listens for its last words after its last audio."""


@dataclass
class Counters:
    """What became of the streams: `cut` had begun and were closed by the other side, `refused` never began."""

    open: int = 0
    waiting: int = 0
    opened: int = 0
    done: int = 0
    cut: int = 0
    refused: int = 0
    words: int = 0
    missed: int = 0
    repeated: int = 0
    longest_wait_s: float = 0.0
    waited: int = 0
    """Streams that found no slot within WAITED_S."""


class Agent:
    """The agent and its streams."""

    def __init__(self, url: str, key: str) -> None:
        self.url = url
        self.key = key
        self.counters = Counters()
        self.streams: set[asyncio.Task[None]] = set()
        self.draining = False

    def application(self) -> web.Application:
        """The agent's health server, and beside it the load driver's own path."""
        application = web.Application()
        application.router.add_get("/", self.health)
        application.router.add_get("/worker", self.worker)
        application.router.add_get("/lab/streams", self.report)
        application.router.add_post("/lab/streams", self.begin)
        return application

    async def health(self, _: web.Request) -> web.Response:
        """Alive."""
        return web.Response(text="OK")

    async def worker(self, _: web.Request) -> web.Response:
        """What LiveKit's agents say of themselves."""
        name = os.environ.get("TRANSCRIBER_AGENT_NAME", "multi-user-transcriber")
        active = self.counters.open + self.counters.waiting
        return web.json_response(
            {"agent_name": name, "worker_type": "JT_ROOM", "active_jobs": active, "worker_load": 0.0}
        )

    async def report(self, _: web.Request) -> web.Response:
        """The counters."""
        return web.json_response(asdict(self.counters))

    async def begin(self, request: web.Request) -> web.Response:
        """Open `count` streams of `seconds` seconds; 503 while draining, as an agent takes no new room then."""
        if self.draining:
            return web.json_response({"error": "draining"}, status=503)
        order = await request.json()
        for _ in range(int(order["count"])):
            task = asyncio.create_task(self.stream(float(order["seconds"])))
            self.streams.add(task)
            task.add_done_callback(self.streams.discard)
        return web.json_response(asdict(self.counters))

    async def stream(self, seconds: float) -> None:
        """One participant's captions, from the handshake to the last word."""
        began = time.monotonic()
        self.counters.waiting += 1
        timeout = aiohttp.ClientTimeout(total=HANDSHAKE_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session:
                try:
                    socket = await session.ws_connect(self.url, headers={KEY_HEADER: self.key}, max_msg_size=0)
                except (aiohttp.ClientError, OSError, TimeoutError):
                    self.counters.refused += 1
                    return
                finally:
                    self.counters.waiting -= 1
                self.counters.opened += 1
                wait = time.monotonic() - began
                self.counters.longest_wait_s = max(self.counters.longest_wait_s, round(wait, 3))
                self.counters.waited += wait > WAITED_S
                self.counters.open += 1
                try:
                    await self._talk(socket, began, seconds)
                finally:
                    self.counters.open -= 1
        except (aiohttp.ClientError, OSError):
            self.counters.cut += 1

    async def _talk(self, socket: aiohttp.ClientWebSocketResponse, began: float, seconds: float) -> None:
        heard: list[int] = []
        listening = asyncio.create_task(self._listen(socket, heard))
        messages = round(seconds / MESSAGE_S)
        sent = 0
        # One second of silence at the end pushes the last words out.
        for index in range(messages + round(1 / MESSAGE_S) + 1):
            await asyncio.sleep(max(0.0, began + index * MESSAGE_S - time.monotonic()))
            if listening.done():
                break
            code = 0
            if index < messages and int(index * MESSAGE_S) + 1 > sent:
                code = sent = int(index * MESSAGE_S) + 1
            with contextlib.suppress(ConnectionError):
                await socket.send_bytes(audio(code))
        await asyncio.wait({listening}, timeout=TAIL_S)
        if listening.done():
            self.counters.cut += 1
        else:
            self.counters.done += 1
            listening.cancel()
            await socket.close()
        self.counters.missed += len(set(range(1, sent + 1)) - set(heard))
        self.counters.repeated += len(heard) - len(set(heard))

    async def _listen(self, socket: aiohttp.ClientWebSocketResponse, heard: list[int]) -> None:
        """Count words until the other side closes. Like the plugin it ignores every message but words."""
        async for message in socket:
            if message.type is not WSMsgType.BINARY:
                continue
            content = msgpack.unpackb(message.data)
            if content.get("type") == "Word":
                self.counters.words += 1
                heard.append(int(content["text"].removeprefix("w")))

    async def drain(self) -> None:
        """Wait for the streams that run, at most DRAIN_S."""
        self.draining = True
        if self.streams:
            await asyncio.wait(self.streams, timeout=DRAIN_S)


@functools.lru_cache(maxsize=64)
def audio(code: int) -> bytes:
    """One message of MESSAGE_FRAMES frames that says a number; a code of 0 is silence."""
    words = [f"w{code}"] if code else []
    pcm = encode_words(words, every=0.5, lead=0.0 if code else 0.5)[: round(MESSAGE_S * 24_000)]
    packed: bytes = msgpack.packb({"type": "Audio", "pcm": pcm.tolist()}, use_single_float=True)
    return packed


async def serve() -> None:
    """Run until SIGTERM and the end of the last stream."""
    agent = Agent(os.environ.get("KYUTAI_STT_BASE_URL", ""), os.environ.get("KYUTAI_API_KEY", ""))
    runner = web.AppRunner(agent.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", PORT).start()  # noqa: S104 - the address of its own pod
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def stopping() -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    loop.add_signal_handler(signal.SIGTERM, stopping)
    await stop.wait()
    await agent.drain()
    await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve())
