"""The stand-ins speak the real servers' protocols, with the real servers' flaws, over loopback."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import aiohttp
import msgpack
import numpy as np
import pytest
from aiohttp import web

from visio_lab.load import celery_message
from visio_lab.standins import agent, kyutai, tone, transcribe_worker, whisperx

STREAM = "/api/asr-streaming"
KEY = {"kyutai-api-key": "key-1"}
CONFIG = """
static_dir = "/tmp/static"
log_dir = "/tmp/log"
instance_name = "asr"
authorized_ids = ["key-1"]

[modules.asr]
path = "/api/asr-streaming"
type = "BatchedAsr"
lm_model_file = "hf://kyutai/stt-1b-en_fr-candle/model.safetensors"
text_tokenizer_file = "hf://kyutai/stt-1b-en_fr-candle/tokenizer.model"
audio_tokenizer_file = "hf://kyutai/stt-1b-en_fr-candle/mimi.safetensors"
asr_delay_in_tokens = 6
batch_size = 2
"""


@asynccontextmanager
async def serving(application: web.Application) -> AsyncIterator[str]:
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(CONFIG)
    return file


def audio(pcm: Sequence[float]) -> bytes:
    return msgpack.packb({"type": "Audio", "pcm": list(pcm)}, use_single_float=True)


async def receive(socket: aiohttp.ClientWebSocketResponse) -> dict[str, object]:
    message = await socket.receive(timeout=5)
    return msgpack.unpackb(message.data)


async def test_kyutai_tells_its_slots_as_strings_and_without_a_key(config: Path) -> None:
    server = kyutai.Server(kyutai.read_config(config))
    async with serving(server.application()) as url, aiohttp.ClientSession() as session:
        async with session.ws_connect(url + STREAM, headers=KEY) as socket:
            assert await receive(socket) == {"type": "Ready"}
            async with session.get(url + "/api/modules_info") as response:
                (module,) = await response.json()
            assert (module["used_slots"], module["total_slots"]) == ("1", "2")
            assert module["path"] == STREAM
            async with session.get(url + "/metrics") as response:
                assert 'asr_open_channels{handler="all"} 1' in await response.text()
        async with session.get(url + "/api/build_info") as response:
            assert response.status == 200


async def test_kyutai_refuses_the_stream_over_its_slots_and_frees_a_slot_at_an_end(config: Path) -> None:
    server = kyutai.Server(kyutai.read_config(config))
    async with serving(server.application()) as url, aiohttp.ClientSession() as session:
        first = await session.ws_connect(url + STREAM, headers=KEY)
        second = await session.ws_connect(url + STREAM, params={"auth_id": "key-1"})
        assert [await receive(each) for each in (first, second)] == [{"type": "Ready"}] * 2
        third = await session.ws_connect(url + STREAM, headers=KEY)
        assert await receive(third) == {"type": "Error", "message": "no free channels"}
        assert (await third.receive(timeout=5)).type is aiohttp.WSMsgType.CLOSE
        await first.close()
        while server.open == 2:
            await asyncio.sleep(0.01)
        fourth = await session.ws_connect(url + STREAM, headers=KEY)
        assert await receive(fourth) == {"type": "Ready"}


@pytest.mark.parametrize("headers", [{}, {"kyutai-api-key": "key-2"}])
async def test_kyutai_refuses_a_stream_without_a_known_key(config: Path, headers: dict[str, str]) -> None:
    server = kyutai.Server(kyutai.read_config(config))
    async with serving(server.application()) as url, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.WSServerHandshakeError) as refusal:
            await session.ws_connect(url + STREAM, headers=headers)
        assert refusal.value.status == 401


async def test_kyutai_says_a_word_after_its_delay_with_the_time_at_which_its_sound_began(config: Path) -> None:
    server = kyutai.Server(kyutai.read_config(config))
    async with serving(server.application()) as url, aiohttp.ClientSession() as session:
        socket = await session.ws_connect(url + STREAM, headers=KEY)
        await receive(socket)
        pcm = tone.encode_words(["w7"], lead=0.8, every=0.96)
        await socket.send_bytes(audio(pcm[: len(pcm) // 2].tolist()))
        await socket.send_bytes(audio(pcm[len(pcm) // 2 :].tolist()))
        said = [await receive(socket) for _ in range(24)]
    words = [(index, each) for index, each in enumerate(said) if each["type"] != "Step"]
    # Ten frames of silence, five with the word's tones, six of delay; then the word and its end.
    assert words == [
        (21, {"type": "Word", "text": "w7", "start_time": 0.8}),
        (22, {"type": "EndWord", "stop_time": 1.2}),
    ]


def test_kyutai_says_nothing_to_silence_noise_and_speech_without_tones() -> None:
    noise = np.random.default_rng(1).normal(0, 0.2, 24_000 * 30).astype(np.float32)
    for pcm in (np.zeros(24_000 * 5, np.float32), noise):
        said = kyutai.Stream(delay_frames=0).hear(pcm)
        assert {each["type"] for each in said} == {"Step"}


async def test_kyutai_returns_a_marker_once_what_came_before_it_has_been_said() -> None:
    stream = kyutai.Stream(delay_frames=2)
    stream.mark(5)
    said = stream.hear(np.zeros(kyutai.FRAME_SAMPLES * 2, np.float32))
    assert said[-1] == {"type": "Marker", "id": 5}


def test_kyutai_ends_with_one_line_on_a_bad_file(tmp_path: Path) -> None:
    file = tmp_path / "config.toml"
    file.write_text("static_dir = 1")
    with pytest.raises(SystemExit, match="log_dir"):
        kyutai.read_config(file)


@contextmanager
def started(module: str, *arguments: str, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
    environment = {**os.environ, "PYTHONPATH": str(Path(kyutai.__file__).parents[2]), **variables}
    argv = [sys.executable, "-m", f"visio_lab.standins.{module}", *arguments]
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_kyutai_ignores_sigterm(config: Path) -> None:
    with started("kyutai", "worker", "--config", str(config), "--addr", "127.0.0.1", "--port", "0") as process:
        assert process.stdout is not None
        assert b"listening" in process.stdout.readline()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)
        assert process.poll() is None


@pytest.mark.parametrize("missing", ["API_KEY", "HF_TOKEN"])
def test_whisperx_does_not_start_without_its_keys(missing: str) -> None:
    variables = {"API_KEY": "k", "HF_TOKEN": "t"} | {missing: ""}
    with started("whisperx", **variables) as process:
        _, error = process.communicate(timeout=20)
    assert process.returncode == 1
    assert error.decode().strip() == f"{missing} is required"


async def test_whisperx_answers_no_health_check_while_it_transcribes() -> None:
    server = whisperx.Server("large-v2", "k", realtime_factor=20)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with started("whisperx", API_KEY="k", HF_TOKEN="t", PORT=str(port), LAB_REALTIME_FACTOR="20"):
        url = f"http://127.0.0.1:{port}"
        async with aiohttp.ClientSession() as session:
            while True:
                try:
                    async with session.get(url + "/health") as response:
                        assert response.status == 200
                        break
                except aiohttp.ClientError:
                    await asyncio.sleep(0.05)
            began = time.monotonic()
            job = asyncio.create_task(transcription(session, url, seconds=30))
            await asyncio.sleep(0.3)
            async with session.get(url + "/health") as response:
                assert response.status == 200
            assert time.monotonic() - began >= 30 / server.realtime_factor
            assert (await job)["segments"][0]["end"] == 30


async def transcription(session: aiohttp.ClientSession, url: str, seconds: int) -> dict[str, object]:
    form = aiohttp.FormData()
    form.add_field("file", whisperx.silence(seconds), filename="a.wav")
    form.add_field("model", "large-v2")
    async with session.post(
        url + "/v1/audio/transcriptions", data=form, headers={"Authorization": "Bearer k"}
    ) as response:
        return await response.json()


@pytest.mark.parametrize(
    ("key", "fields", "status"),
    [
        ("wrong", {"file": whisperx.silence(1)}, 401),
        ("k", {"file": whisperx.silence(1), "model": "whisper-1"}, 404),
        ("k", {"file": whisperx.silence(1), "language": "xx"}, 400),
        ("k", {"file": b"not audio"}, 400),
        ("k", {}, 422),
    ],
)
async def test_whisperx_refuses_as_the_real_one(key: str, fields: dict[str, object], status: int) -> None:
    server = whisperx.Server("large-v2", "k", realtime_factor=1000)
    form = aiohttp.FormData(default_to_multipart=True)
    for name, value in fields.items():
        form.add_field(name, value, filename="a.wav" if name == "file" else None)
    async with serving(server.application()) as url, aiohttp.ClientSession() as session:
        headers = {"Authorization": f"Bearer {key}"}
        async with session.post(url + "/v1/audio/transcriptions", data=form, headers=headers) as response:
            assert response.status == status


async def test_the_agent_hears_every_word_of_its_stream_once(config: Path) -> None:
    server = kyutai.Server(kyutai.read_config(config))
    async with serving(server.application()) as url:
        subtitles = agent.Agent(url.replace("http", "ws") + STREAM, "key-1")
        await subtitles.stream(2.0)
    counters = subtitles.counters
    assert (counters.opened, counters.done, counters.cut, counters.refused) == (1, 1, 0, 0)
    assert (counters.words, counters.missed, counters.repeated) == (2, 0, 0)
    assert counters.open == counters.waiting == 0


async def test_the_agent_loses_a_stream_that_the_server_closes_and_never_tries_again(config: Path) -> None:
    server = kyutai.Server(kyutai.read_config(config))
    server.open = 2
    async with serving(server.application()) as url:
        subtitles = agent.Agent(url.replace("http", "ws") + STREAM, "key-1")
        await subtitles.stream(1.0)
        refused = agent.Agent(url.replace("http", "ws") + STREAM, "unknown")
        await refused.stream(1.0)
    assert (subtitles.counters.cut, server.opened) == (1, 1)
    assert (refused.counters.refused, refused.counters.opened) == (1, 0)


def test_the_worker_reads_what_celery_writes() -> None:
    message = celery_message("id-1", "transcribe-queue-v2", {"audio_seconds": 90})
    assert transcribe_worker.read_message(message) == ("id-1", {"audio_seconds": 90})
    envelope = json.loads(message)
    assert json.loads(base64.b64decode(envelope["body"]))[1] == {"audio_seconds": 90}


@pytest.mark.parametrize("text", ["", "{}", '{"body": "x", "properties": {}, "headers": {"id": "1"}}'])
def test_the_worker_leaves_what_is_no_celery_message(text: str) -> None:
    with pytest.raises(ValueError, match="not a Celery message"):
        transcribe_worker.read_message(text)
