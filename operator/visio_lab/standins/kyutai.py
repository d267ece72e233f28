"""Plays Kyutai's moshi-server: streaming speech-to-text with fixed slots, its real paths, messages and flaws.

Taken from moshi-server 0.6.4 (kyutai-labs/moshi, rust/moshi-server): msgpack over a websocket, one step per frame of
80 ms, a stream over the slots is told "no free channels" and closed, only the streaming path asks for a key, and
SIGTERM is ignored, because the real one handles no signal as the first process of its container.

Instead of a model it hears a code of tones (standins/tone.py): a word is said with the time at which its sound began,
to a step of the model, and as late as the real one says it. So a word that was lost, doubled or moved on its way shows.
"""

import argparse
import asyncio
import signal
import tomllib
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import numpy as np
from aiohttp import WSMsgType, web

from visio_lab.standins.tone import WORD_S, Decoder, Samples

FRAME_SAMPLES = 1920
FRAME_S = 0.08
WARM_UP_S = 0.5
SILENCE_S = 120.0
"""Seconds without a message after which the server closes a stream, though its pings are answered."""
PING_S = 10.0
KEY_HEADER = "kyutai-api-key"
NO_SLOT = {"type": "Error", "message": "no free channels"}


@dataclass(frozen=True)
class Config:
    """What the stand-in reads of the server's TOML file."""

    path: str
    slots: int
    keys: frozenset[str]
    delay_frames: int
    lm: str
    audio_tokenizer: str


def read_config(file: Path) -> Config:
    """Read the TOML file. Raises SystemExit with the reason, as the real server ends at once on a bad file."""
    try:
        document = tomllib.loads(file.read_text())
        for required in ("static_dir", "log_dir", "instance_name", "authorized_ids"):
            if required not in document:
                raise KeyError(required)
        module = document["modules"]["asr"]
        return Config(
            path=module["path"],
            slots=int(module["batch_size"]),
            keys=frozenset(document["authorized_ids"]),
            delay_frames=int(module["asr_delay_in_tokens"]),
            lm=module["lm_model_file"],
            audio_tokenizer=module["audio_tokenizer_file"],
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise SystemExit(f"Error: {file}: {type(error).__name__}: {error}") from None


@dataclass
class Stream:
    """One stream's place in its audio, and what it has yet to say: (frame at which it is due, message)."""

    delay_frames: int
    step: int = 0
    samples: Samples = field(default_factory=lambda: np.zeros(0, np.float32))
    decoder: Decoder = field(default_factory=Decoder)
    due: deque[tuple[int, dict[str, Any]]] = field(default_factory=deque)

    def hear(self, pcm: Samples, model_step: int = 0) -> list[dict[str, Any]]:
        """Take in samples and return what the server says to them, in order.

        A Step carries the step of the model, which all streams share, so it does not begin with the stream.
        """
        said: list[dict[str, Any]] = []
        self.samples = np.concatenate([self.samples, pcm])
        frames = len(self.samples) // FRAME_SAMPLES
        heard, self.samples = np.split(self.samples, [frames * FRAME_SAMPLES])
        for index in range(frames):
            self._frame(heard[index * FRAME_SAMPLES : (index + 1) * FRAME_SAMPLES])
            buffered = (frames - index - 1) * FRAME_SAMPLES + len(self.samples)
            step = {"type": "Step", "step_idx": model_step + index + 1, "prs": [0.0] * 4, "buffered_pcm": buffered}
            said.append(step)
            while self.due and self.due[0][0] <= self.step:
                said.append(self.due.popleft()[1])
        return said

    def mark(self, identity: int) -> None:
        """A marker comes back once everything heard before it has been said."""
        self.due.append((self.step + self.delay_frames, {"type": "Marker", "id": identity}))

    def _frame(self, frame: Samples) -> None:
        self.step += 1
        for number, second in self.decoder.hear(frame):
            start = int(second / FRAME_S + 0.01) * FRAME_S
            word = {"type": "Word", "text": f"w{number}", "start_time": round(start, 2)}
            self.due.append((self.step + self.delay_frames, word))
            end = {"type": "EndWord", "stop_time": round(start + WORD_S + 0.04, 2)}
            self.due.append((self.step + self.delay_frames, end))


_AUDIO = b"\x82\xa4type\xa5Audio\xa3pcm\xdc"
_FLOATS = np.dtype([("tag", "u1"), ("value", ">f4")])


def read_message(message: bytes) -> Samples | int | None:
    """A client's message: samples, the id of a Marker, or None for one that says nothing.

    Raises ValueError for what the real server ends the stream for.
    """
    body = message[len(_AUDIO) + 2 :]
    if message.startswith(_AUDIO) and len(body) % 5 == 0:
        floats = np.frombuffer(body, _FLOATS)
        if (floats["tag"] == 0xCA).all():
            return floats["value"].astype(np.float32)
    try:
        content = msgpack.unpackb(message)
        match content["type"]:
            case "Audio":
                return np.array(content["pcm"], np.float32)
            case "Marker":
                return int(content["id"])
            case "Init":
                return None
    except (KeyError, TypeError) as error:
        raise ValueError(str(error)) from None
    raise ValueError("unknown type")


class Server:
    """The HTTP side. Its numbers are the server's own: open and ever opened streams, steps taken."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.open = 0
        self.opened = 0
        self.steps = 0
        self.ended = 0

    def application(self) -> web.Application:
        """The routes of the real server."""
        application = web.Application()
        application.router.add_get("/api/build_info", self.build_info)
        application.router.add_get("/api/modules_info", self.modules_info)
        application.router.add_get("/metrics", self.metrics)
        application.router.add_get(self.config.path, self.stream)
        return application

    async def build_info(self, _: web.Request) -> web.Response:
        """Version and build, used as a health check."""
        return web.json_response({"build_timestamp": "", "git_describe": "stand-in", "rustc_version": ""})

    async def modules_info(self, _: web.Request) -> web.Response:
        """The module with its slots; the real server gives every value as a string."""
        module = {
            "type": "batched_asr",
            "path": self.config.path,
            "lm": self.config.lm,
            "audio_tokenizer": self.config.audio_tokenizer,
            "used_slots": str(self.open),
            "total_slots": str(self.config.slots),
        }
        return web.json_response([module])

    async def metrics(self, _: web.Request) -> web.Response:
        """The real server's metric names in Prometheus text format."""
        lines = [
            "# TYPE asr_open_channels gauge",
            f'asr_open_channels{{handler="all"}} {self.open}',
            "# TYPE asr_connect counter",
            f'asr_connect{{handler="all"}} {self.opened}',
            "# TYPE asr_connection_num_steps histogram",
            f'asr_connection_num_steps_bucket{{le="+Inf"}} {self.ended}',
            f"asr_connection_num_steps_sum {self.steps}",
            f"asr_connection_num_steps_count {self.ended}",
            "# TYPE asr_model_step_duration histogram",
            *(f'asr_model_step_duration_bucket{{le="{edge}"}} {self.steps}' for edge in ("0.02", "0.08", "+Inf")),
            f"asr_model_step_duration_sum {self.steps * 0.02:.2f}",
            f"asr_model_step_duration_count {self.steps}",
        ]
        return web.Response(text="\n".join(lines) + "\n", content_type="text/plain")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """One stream: refused without a known key, told so and closed without a free slot, transcribed otherwise."""
        key = request.headers.get(KEY_HEADER) or request.query.get("auth_id")
        if key not in self.config.keys:
            return web.Response(status=401)
        socket = web.WebSocketResponse(max_msg_size=0, heartbeat=PING_S)
        await socket.prepare(request)
        self.opened += 1
        if self.open >= self.config.slots:
            await socket.send_bytes(msgpack.packb(NO_SLOT))
            await socket.close()
            return socket
        self.open += 1
        try:
            await socket.send_bytes(msgpack.packb({"type": "Ready"}))
            await self._transcribe(socket, Stream(self.config.delay_frames))
        except ConnectionError:
            pass  # the client is gone, which ends a stream like any other end
        finally:
            self.open -= 1
            self.ended += 1
        return socket

    async def _transcribe(self, socket: web.WebSocketResponse, stream: Stream) -> None:
        while True:
            try:
                message = await socket.receive(timeout=SILENCE_S)
                content = read_message(message.data) if message.type is WSMsgType.BINARY else None
            except (TimeoutError, ValueError):
                await socket.close()
                return
            if message.type in (WSMsgType.CLOSE, WSMsgType.CLOSING, WSMsgType.CLOSED, WSMsgType.ERROR):
                return
            if isinstance(content, int):
                stream.mark(content)
            elif content is not None:
                answers = stream.hear(content, self.steps)
                self.steps += sum(answer["type"] == "Step" for answer in answers)
                for answer in answers:
                    await socket.send_bytes(msgpack.packb(answer, use_single_float=answer["type"] == "Step"))


def main() -> None:
    """`worker --config F [--addr A] [--port P]`, or `validate F`."""
    parser = argparse.ArgumentParser(prog="moshi-server", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    worker = commands.add_parser("worker", help="serve")
    worker.add_argument("--config", type=Path, required=True)
    worker.add_argument("--addr", "-a", default="0.0.0.0")  # noqa: S104 - the real server's default
    worker.add_argument("--port", "-p", type=int, default=8080)
    worker.add_argument("--log", "-l", default="info")
    worker.add_argument("--cpu", action="store_true")
    worker.add_argument("--silent", action="store_true")
    commands.add_parser("validate", help="check a configuration file").add_argument("config", type=Path)
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    if arguments.command == "worker":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        asyncio.run(_serve(config, arguments.addr, arguments.port))


async def _serve(config: Config, address: str, port: int) -> None:
    await asyncio.sleep(WARM_UP_S)  # the real one listens only once the weights are loaded and warm
    runner = web.AppRunner(Server(config).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, address, port).start()
    print(f"listening on http://{address}:{port}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    main()
