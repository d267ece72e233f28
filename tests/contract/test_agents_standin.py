"""The agents, with the real libraries on both sides: LiveKit's server, its agent framework and Kyutai's plugin."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit import api, rtc
from visio_stack import Programs, eventually, free_port

from livekit_loopback import BUCKET, KEY, RATE, S3_KEY, S3_SECRET, SECRET, Platform, fetch, platform, until
from visio_lab.standins.tone import encode_words

KYUTAI_KEY = "kyutai-key"
CONFIG = f"""
static_dir = "/tmp/static"
log_dir = "/tmp/log"
instance_name = "asr"
authorized_ids = ["{KYUTAI_KEY}"]

[modules.asr]
path = "/api/asr-streaming"
type = "BatchedAsr"
lm_model_file = "hf://kyutai/stt-1b-en_fr-candle/model.safetensors"
text_tokenizer_file = "hf://kyutai/stt-1b-en_fr-candle/tokenizer.model"
audio_tokenizer_file = "hf://kyutai/stt-1b-en_fr-candle/mimi.safetensors"
asr_delay_in_tokens = 6
batch_size = 4
"""
WORDS = [f"w{number}" for number in range(40, 60)]
SWALLOWED = 2
"""Words that jitter buffers may lose on a machine that has other things to do."""
READY_S = 60.0
"""An agent starts a process ahead of its first room, which takes seconds on a busy machine."""


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    from visio_lab.debian import ensure_programs
    from visio_lab.progress import SilentProgress
    from visio_lab.tools import ensure_tools

    built = ensure_tools(SilentProgress(), real_pods=True) | ensure_programs(SilentProgress())
    with platform(built, tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture
def programs(tmp_path: Path) -> Iterator[Programs]:
    run = Programs(tmp_path)
    try:
        yield run
    finally:
        run.stop()


def agent(programs: Programs, servers: Platform, script: str, **variables: str) -> subprocess.Popen[bytes]:
    """An agent that has registered with LiveKit."""
    port = free_port()
    livekit = {"LIVEKIT_URL": servers.url, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}
    process = programs.start("meet-agents", ["python", script, "start"], livekit | variables, port)
    until("the agent", lambda: "registered worker" in log_of(programs), READY_S)
    assert fetch(f"http://127.0.0.1:{port}/") == "OK"
    return process


def log_of(programs: Programs) -> str:
    return "".join(file.read_text() for file in programs.folder.glob("meet-agents-*.log"))


@contextlib.asynccontextmanager
async def listener(servers: Platform, room: str, said: list[str]) -> AsyncIterator[rtc.Room]:
    """Somebody who reads the captions."""
    grants = api.VideoGrants(room_join=True, room=room)
    token = api.AccessToken(KEY, SECRET).with_identity("reader").with_grants(grants).to_jwt()
    joined, tasks = rtc.Room(), set[asyncio.Task[None]]()

    async def read(reader: rtc.TextStreamReader) -> None:
        said.extend([piece async for piece in reader])

    def heard(reader: rtc.TextStreamReader, _: str) -> None:
        tasks.add(asyncio.ensure_future(read(reader)))

    joined.register_text_stream_handler("lk.transcription", heard)
    await joined.connect(servers.url.replace("http", "ws"), token)
    try:
        yield joined
    finally:
        await joined.disconnect()


async def speak(room: rtc.Room, words: list[str]) -> None:
    """Say words of the code, as fast as they last."""
    source = rtc.AudioSource(RATE, 1)
    await room.local_participant.publish_track(
        rtc.LocalAudioTrack.create_audio_track("microphone", source),
        rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE),
    )
    pcm = np.concatenate([encode_words(words, RATE, lead=1.0), np.zeros(2 * RATE, np.float32)])
    samples = (pcm * 32767).astype(np.int16)
    for start in range(0, len(samples) - 479, 480):
        await source.capture_frame(rtc.AudioFrame(samples[start : start + 480].tobytes(), RATE, 1, 480))
    await source.wait_for_playout()


async def test_what_is_said_in_a_captioned_room_is_read_there(servers: Platform, programs: Programs) -> None:
    config = programs.folder / "config.toml"
    config.write_text(CONFIG)
    port = free_port()
    programs.start("kyutai", ["worker", "--config", str(config), "--addr", "127.0.0.1", "--port", str(port)], {})
    until("the speech-to-text server", lambda: fetch(f"http://127.0.0.1:{port}/api/build_info"))
    agent(
        programs,
        servers,
        "multi_user_transcriber.py",
        STT_PROVIDER="kyutai",
        KYUTAI_STT_BASE_URL=f"ws://127.0.0.1:{port}/api/asr-streaming",
        KYUTAI_API_KEY=KYUTAI_KEY,
    )
    said: list[str] = []
    async with servers.client() as client, listener(servers, "captioned", said) as room:
        dispatch = api.CreateAgentDispatchRequest(agent_name="multi-user-transcriber", room="captioned")
        await client.agent_dispatch.create_dispatch(dispatch)
        modules = f"http://127.0.0.1:{port}/api/modules_info"

        async def listens() -> bool:
            return '"used_slots": "1"' in await asyncio.to_thread(fetch, modules)

        await eventually(listens, "a stream of the reader's own", READY_S)
        assert not room.remote_participants, "the agent shows itself"
        await speak(room, WORDS)

        async def complete() -> bool:
            return len(set(WORDS) & set(" ".join(said).split())) >= len(WORDS) - SWALLOWED

        await eventually(complete, f"all words, of which came {said}")


async def test_who_spoke_when_is_saved_when_the_collector_is_called_back(servers: Platform, programs: Programs) -> None:
    agent(
        programs,
        servers,
        "metadata_collector.py",
        AWS_S3_ENDPOINT_URL=f"127.0.0.1:{servers.s3}",
        AWS_S3_ACCESS_KEY_ID=S3_KEY,
        AWS_S3_SECRET_ACCESS_KEY=S3_SECRET,
        AWS_S3_SECURE_ACCESS="False",
        AWS_STORAGE_BUCKET_NAME=BUCKET,
        AWS_S3_OUTPUT_FOLDER="metadata",
    )
    async with servers.client() as client, listener(servers, "recorded", []) as room:
        request = api.CreateAgentDispatchRequest(agent_name="metadata-collector", room="recorded", metadata="rec-1")
        dispatched = await client.agent_dispatch.create_dispatch(request)

        async def present() -> bool:
            inside = await client.room.list_participants(api.ListParticipantsRequest(room="recorded"))
            return any(each.identity == "metadata-collector-recorded" for each in inside.participants)

        await eventually(present, "the collector in the room", READY_S)
        await speak(room, WORDS[:4])
        await client.agent_dispatch.delete_dispatch(dispatched.id, "recorded")

        async def saved() -> Any:
            names = [each.object_name for each in servers.bucket.list_objects(BUCKET, "metadata/")]
            return "metadata/rec-1-metadata.json" in names

        await eventually(saved, "the metadata in the store")
    content = json.loads(servers.bucket.get_object(BUCKET, "metadata/rec-1-metadata.json").read())
    kinds = [(each["participant_id"], each["type"]) for each in content["events"]]
    assert content["participants"] == [{"participantId": "reader", "name": ""}]
    assert kinds[:3] == [("reader", "participant_connected"), ("reader", "speech_start"), ("reader", "speech_end")]
