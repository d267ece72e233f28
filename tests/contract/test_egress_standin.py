"""The recorder that stands in for LiveKit egress keeps its protocol towards LiveKit, S3, Prometheus and kubelet."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from livekit import api

from livekit_loopback import ANSWER_S, BUCKET, Platform, Recorder, platform, recorder, until

DONE = [
    ("egress_started", "EGRESS_STARTING"),
    ("egress_updated", "EGRESS_ACTIVE"),
    ("egress_updated", "EGRESS_ENDING"),
    ("egress_ended", "EGRESS_COMPLETE"),
]
SPEECH_S = 3.0
PACE = 48_000
"""Positions in an OGG file of Opus audio per second."""


@pytest.fixture(scope="module")
def programs() -> dict[str, Path]:
    from visio_lab.debian import ensure_programs
    from visio_lab.progress import SilentProgress
    from visio_lab.tools import ensure_tools

    return ensure_tools(SilentProgress(), real_pods=True) | ensure_programs(SilentProgress())


@pytest.fixture(scope="module")
def servers(programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    with platform(programs, tmp_path_factory.mktemp("platform")) as running:
        yield running


@pytest.fixture
def egress(servers: Platform, tmp_path: Path) -> Iterator[Recorder]:
    with recorder(servers, tmp_path) as running:
        yield running


@pytest.fixture
def room(request: pytest.FixtureRequest) -> str:
    """A room of its own per test."""
    return str(request.node.name)


def audio(servers: Platform, room: str, upload: api.S3Upload | None = None) -> api.RoomCompositeEgressRequest:
    """What Visio sends for a transcript."""
    file = api.EncodedFileOutput(
        file_type=api.EncodedFileType.OGG, filepath=f"recordings/{room}.ogg", s3=upload or servers.upload()
    )
    return api.RoomCompositeEgressRequest(room_name=room, audio_only=True, file_outputs=[file])


def video(servers: Platform, room: str) -> api.RoomCompositeEgressRequest:
    """What Visio sends for a recording."""
    output = api.EncodedFileOutput(
        file_type=api.EncodedFileType.MP4, filepath=f"recordings/{room}.mp4", s3=servers.upload()
    )
    return api.RoomCompositeEgressRequest(room_name=room, layout="speaker-light", file_outputs=[output])


async def eventually(what: str, condition: Callable[[], object]) -> None:
    await asyncio.to_thread(until, what, condition)


async def active(servers: Platform, egress_id: str) -> None:
    await eventually("recording", lambda: ("egress_updated", "EGRESS_ACTIVE") in servers.states(egress_id))


def seconds(ogg: bytes) -> float:
    """Length of an OGG file by the position in its last page."""
    last = ogg.rindex(b"OggS")
    return float(struct.unpack_from("<q", ogg, last + 6)[0]) / PACE


async def test_a_transcript_is_recorded_uploaded_and_reported(servers: Platform, egress: Recorder, room: str) -> None:
    async with servers.client() as client, servers.speaker(room) as alice:
        started = await client.egress.start_room_composite_egress(audio(servers, room))
        assert started.status == api.EgressStatus.EGRESS_STARTING
        await active(servers, started.egress_id)
        await asyncio.sleep(SPEECH_S)
        # The recorder is hidden: browsers would show it otherwise.
        assert [*alice.remote_participants] == []
        stopped = await client.egress.stop_egress(api.StopEgressRequest(egress_id=started.egress_id))
        assert stopped.status == api.EgressStatus.EGRESS_ENDING
        ended = await asyncio.to_thread(servers.ended, started.egress_id)
        [listed] = (await client.egress.list_egress(api.ListEgressRequest(egress_id=started.egress_id))).items
    assert servers.states(started.egress_id) == DONE
    assert listed.status == api.EgressStatus.EGRESS_COMPLETE
    [file] = ended["fileResults"]
    assert file["filename"] == f"recordings/{room}.ogg"
    stored = servers.bucket.get_object(BUCKET, file["filename"])
    assert len(stored.data) == int(file["size"])
    assert stored.data.startswith(b"OggS")
    assert SPEECH_S - 1 < seconds(stored.data) < SPEECH_S + 3
    names = {each.object_name for each in servers.bucket.list_objects(BUCKET, f"recordings/{room}")}
    assert names == {file["filename"]}
    manifest = servers.bucket.stat_object(BUCKET, f"recordings/{started.egress_id}.json")
    assert manifest.size and manifest.size > 0
    request = listed.room_composite.file_outputs[0].s3
    assert (request.access_key, request.secret) == ("{access_key}", "{secret}")


async def test_a_video_recording_takes_the_whole_pod_and_says_what_it_is(
    servers: Platform, egress: Recorder, room: str
) -> None:
    async with servers.client() as client, servers.speaker(room):
        assert (egress.free(), egress.value("livekit_egress_can_accept_request")) == (4, 1)
        started = await client.egress.start_room_composite_egress(video(servers, room))
        await active(servers, started.egress_id)
        assert egress.value("livekit_egress_available") == 0
        assert egress.value("livekit_egress_can_accept_request") == 0
        assert egress.value("livekit_egress_requests") == 1
        # 0.8 x 4 cores less the 4 that a room costs: not even an audio recording fits.
        assert egress.free() == pytest.approx(-0.8)
        await client.egress.stop_egress(api.StopEgressRequest(egress_id=started.egress_id))
        await asyncio.to_thread(servers.ended, started.egress_id)
        await eventually("an idle recorder", lambda: egress.value("livekit_egress_available") == 1)
    assert servers.states(started.egress_id) == DONE
    stored = servers.bucket.stat_object(BUCKET, f"recordings/{room}.mp4")
    assert stored.content_type == "video/mp4"
    assert stored.metadata is not None
    assert "stand-in" in stored.metadata["x-amz-meta-egress"]


async def test_a_recorder_with_ten_cores_takes_two_rooms(servers: Platform, tmp_path: Path, room: str) -> None:
    with recorder(servers, tmp_path, cores=10) as egress:
        async with servers.client() as client, servers.speaker(room):
            both = [await client.egress.start_room_composite_egress(video(servers, room)) for _ in range(2)]
            assert egress.value("livekit_egress_requests") == len(both)
            assert egress.value("livekit_egress_can_accept_request") == 0
            for each in both:
                await active(servers, each.egress_id)
                await client.egress.stop_egress(api.StopEgressRequest(egress_id=each.egress_id))
            for each in both:
                await asyncio.to_thread(servers.ended, each.egress_id)


async def test_an_upload_that_the_store_refuses_fails_the_recording(
    servers: Platform, egress: Recorder, room: str
) -> None:
    async with servers.client() as client, servers.speaker(room):
        request = audio(servers, room, upload=servers.upload(secret="not-the-secret"))
        started = await client.egress.start_room_composite_egress(request)
        await active(servers, started.egress_id)
        await client.egress.stop_egress(api.StopEgressRequest(egress_id=started.egress_id))
        ended = await asyncio.to_thread(servers.ended, started.egress_id)
    assert ended["status"] == "EGRESS_FAILED"
    assert ended["error"].startswith("S3 upload failed")
    assert "SignatureDoesNotMatch" in ended["error"]


async def test_a_request_without_a_bucket_is_refused(servers: Platform, egress: Recorder, room: str) -> None:
    request = audio(servers, room)
    request.file_outputs[0].s3.bucket = ""
    async with servers.client() as client, servers.speaker(room):
        with pytest.raises(api.TwirpError, match=r"s3\.bucket"):
            await client.egress.start_room_composite_egress(request)
        assert egress.value("livekit_egress_available") == 1


async def test_a_recording_stopped_before_its_start_is_aborted(servers: Platform, egress: Recorder, room: str) -> None:
    async with servers.client() as client:
        await client.room.create_room(api.CreateRoomRequest(name=room))
        started = await client.egress.start_room_composite_egress(audio(servers, room))
        stopped = await client.egress.stop_egress(api.StopEgressRequest(egress_id=started.egress_id))
        assert stopped.status == api.EgressStatus.EGRESS_ABORTED
        ended = await asyncio.to_thread(servers.ended, started.egress_id)
    assert ended["status"] == "EGRESS_ABORTED"


async def test_a_recording_ends_with_its_room(servers: Platform, egress: Recorder, room: str) -> None:
    async with servers.client() as client, servers.speaker(room):
        started = await client.egress.start_room_composite_egress(audio(servers, room))
        await active(servers, started.egress_id)
        await client.room.delete_room(api.DeleteRoomRequest(room=room))
        ended = await asyncio.to_thread(servers.ended, started.egress_id)
    assert servers.states(started.egress_id) == DONE
    assert ended["details"] == "End reason: Source closed"
    assert servers.bucket.stat_object(BUCKET, f"recordings/{room}.ogg").size


async def test_a_recording_ends_at_its_longest_duration(servers: Platform, tmp_path: Path, room: str) -> None:
    limits = {"session_limits": {"file_output_max_duration": "3s"}}
    with recorder(servers, tmp_path, settings=limits):
        async with servers.client() as client, servers.speaker(room):
            started = await client.egress.start_room_composite_egress(audio(servers, room))
            ended = await asyncio.to_thread(servers.ended, started.egress_id)
    assert ended["status"] == "EGRESS_LIMIT_REACHED"
    assert servers.bucket.stat_object(BUCKET, f"recordings/{room}.ogg").size


async def test_sigterm_finishes_what_is_recorded_and_takes_no_more(
    servers: Platform, egress: Recorder, room: str
) -> None:
    async with servers.client() as client, servers.speaker(room):
        started = await client.egress.start_room_composite_egress(audio(servers, room))
        await active(servers, started.egress_id)
        egress.told(signal.SIGTERM)
        await eventually("draining", lambda: egress.value("livekit_egress_is_terminating") == 1)
        assert egress.value("livekit_egress_can_accept_request") == 0
        await asyncio.sleep(1)
        assert egress.process.poll() is None
        await client.egress.stop_egress(api.StopEgressRequest(egress_id=started.egress_id))
        assert await asyncio.to_thread(egress.process.wait, ANSWER_S) == 0
    assert servers.states(started.egress_id) == DONE


async def test_sigint_ends_what_is_recorded(servers: Platform, egress: Recorder, room: str) -> None:
    async with servers.client() as client, servers.speaker(room):
        started = await client.egress.start_room_composite_egress(audio(servers, room))
        await active(servers, started.egress_id)
        egress.told(signal.SIGINT)
        assert await asyncio.to_thread(egress.process.wait, ANSWER_S) == 0
        ended = await asyncio.to_thread(servers.ended, started.egress_id)
    assert ended["details"] == "End reason: Process killed"


@pytest.mark.parametrize(
    "body, missing",
    [
        ("", "missing config"),
        ("redis: [", "could not parse config"),
        ("redis: {address: 'localhost:1'}", "api_key"),
        ("{api_key: k, redis: {address: 'localhost:1'}}", "api_secret"),
        ("{api_key: k, api_secret: s, redis: {address: 'localhost:1'}}", "ws_url"),
        ("{api_key: k, api_secret: s, ws_url: 'ws://sfu:7880'}", "redis"),
        ("{api_key: k, api_secret: s, ws_url: 'http://sfu:7880', redis: {address: 'localhost:1'}}", "ws://"),
        ("{api_key: k, api_secret: s, ws_url: 'ws://sfu:7880', redis: {address: '127.0.0.1:1'}}", "redis"),
    ],
)
def test_a_configuration_that_egress_cannot_work_with_ends_it_at_once(
    programs: dict[str, Path], tmp_path: Path, body: str, missing: str
) -> None:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LIVEKIT_", "EGRESS_"))}
    ended = subprocess.run(
        [str(programs["egress-standin"]), "-home", str(tmp_path)],
        env={**kept, "EGRESS_CONFIG_BODY": body},
        capture_output=True,
        text=True,
        timeout=ANSWER_S,
        check=False,
    )
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last.startswith("egress: ")
    assert missing in last
