"""Calls to LiveKit's API with the public URL, as the API makes them, and tokens for participants."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import aiohttp
from livekit import api

from visio_lab.standins.backend.settings import Server

SOURCES = ("camera", "microphone", "screen_share", "screen_share_audio")
LIVEKIT_ERRORS: tuple[type[Exception], ...] = (
    api.TwirpError,
    aiohttp.ClientError,
    OSError,
    TimeoutError,
    ValueError,
)
"""What a call raises: refused by LiveKit, not reached, misread."""


def client(settings: Server) -> api.LiveKitAPI:
    """A client for one call, as the API opens one; use it with `async with`."""
    return api.LiveKitAPI(settings.livekit_url, settings.livekit_key, settings.livekit_secret)


def token(
    settings: Server,
    room: str,
    user: Mapping[str, Any] | None,
    username: str | None,
    role: str | None = None,
    sources: list[str] | None = None,
) -> str:
    """A participant's token for one room."""
    administrator = role in ("owner", "administrator")
    allowed = list(SOURCES) if administrator or sources is None else sources
    grants = api.VideoGrants(
        room=room,
        room_join=True,
        room_admin=administrator,
        can_update_own_metadata=False,
        can_publish=bool(allowed),
        can_publish_sources=allowed,
        can_subscribe=True,
    )
    identity = str(user["sub"]) if user else str(uuid.uuid4())
    name = username or (str(user["full_name"] or user["email"]) if user else "Anonymous")
    return (
        api.AccessToken(settings.livekit_key, settings.livekit_secret)
        .with_grants(grants)
        .with_identity(identity)
        .with_name(name)
        .with_attributes(
            {"color": "hsl(0, 75%, 40%)", "room_role": role or "", "is_authenticated": "true" if user else "false"}
        )
        .to_jwt()
    )


async def start_egress(settings: Server, room: str, recording: str, mode: str) -> str:
    """Ask for a room composite with upload to the bucket; returns the egress id. Raises one of LIVEKIT_ERRORS."""
    store, options = settings.base.storage, settings.recording
    upload = api.S3Upload(
        endpoint=store.url,
        access_key=store.access_key,
        secret=store.secret_key,
        region=store.region,
        bucket=store.bucket,
        force_path_style=True,
    )
    audio = mode == "transcript"
    output = api.EncodedFileOutput(
        file_type=api.EncodedFileType.OGG if audio else api.EncodedFileType.MP4,
        filepath=f"{options.folder}/{recording}.{extension(mode)}",
        s3=upload,
    )
    request = api.RoomCompositeEgressRequest(room_name=room, file_outputs=[output], audio_only=audio)
    if not audio:
        request.layout = "speaker-light"
        if options.encoding:
            request.advanced.CopyFrom(_encoding(options.encoding))
    async with client(settings) as livekit:
        answer = await livekit.egress.start_room_composite_egress(request)
    if not answer.egress_id:
        raise ValueError("LiveKit's answer names no egress")
    return str(answer.egress_id)


def _encoding(options: Mapping[str, int | float]) -> api.EncodingOptions:
    return api.EncodingOptions(
        width=int(options["width"]),
        height=int(options["height"]),
        framerate=int(options["framerate"]),
        video_bitrate=int(options["video_bitrate"]),
        audio_bitrate=int(options["audio_bitrate"]),
        key_frame_interval=float(options["key_frame_interval"]),
        video_codec=api.VideoCodec.H264_MAIN,
        audio_codec=api.AudioCodec.AAC,
        audio_frequency=48000,
    )


def extension(mode: str) -> str:
    """The file name's end of a recording mode."""
    return "ogg" if mode == "transcript" else "mp4"


async def stop_egress(settings: Server, egress: str) -> str:
    """Stop a recording; returns the status that the recording gets. Raises one of LIVEKIT_ERRORS."""
    async with client(settings) as livekit:
        answer = await livekit.egress.stop_egress(api.StopEgressRequest(egress_id=egress))
    names = {api.EgressStatus.EGRESS_ABORTED: "aborted", api.EgressStatus.EGRESS_ENDING: "stopped"}
    return names.get(answer.status, "failed_to_stop")


async def egress_times(settings: Server, egress: str) -> tuple[int, int]:
    """Beginning and end of the recorded file in ns since 1970, 0 where unknown."""
    async with client(settings) as livekit:
        answer = await livekit.egress.list_egress(api.ListEgressRequest(egress_id=egress))
    files = [file for item in answer.items for file in item.file_results]
    return (files[0].started_at, files[0].ended_at) if files else (0, 0)


async def dispatch(settings: Server, agent: str, room: str, metadata: str = "") -> str:
    """Send an agent into a room; returns the dispatch's id. Raises one of LIVEKIT_ERRORS."""
    async with client(settings) as livekit:
        answer = await livekit.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(agent_name=agent, room=room, metadata=metadata)
        )
    return str(answer.id)


async def withdraw(settings: Server, dispatched: str, room: str) -> None:
    """Call an agent back. Raises one of LIVEKIT_ERRORS."""
    async with client(settings) as livekit:
        await livekit.agent_dispatch.delete_dispatch(dispatched, room)


async def update_metadata(settings: Server, room: str, add: Mapping[str, str], remove: tuple[str, ...] = ()) -> None:
    """Merge into a room's metadata, which clients show; a room that is gone or LiveKit away is only said."""
    try:
        async with client(settings) as livekit:
            rooms = (await livekit.room.list_rooms(api.ListRoomsRequest(names=[room]))).rooms
            if not rooms:
                return
            metadata = {key: value for key, value in json.loads(rooms[0].metadata or "{}").items() if key not in remove}
            text = json.dumps({**metadata, **add})
            await livekit.room.update_room_metadata(api.UpdateRoomMetadataRequest(room=room, metadata=text))
    except LIVEKIT_ERRORS as error:
        print(f"room {room}: metadata not updated: {type(error).__name__}", flush=True)
