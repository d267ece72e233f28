"""Recordings after their start: LiveKit's webhooks, the summary service's answer, and who may download."""

import json
import re
import uuid
from typing import Any
from urllib.parse import unquote, urlsplit

from aiohttp import web
from livekit import api

from visio_lab.standins.backend import livekit_calls as livekit
from visio_lab.standins.backend.http import API, Backend, Json, RefusalError, backend, body, not_found, refusal
from visio_lab.standins.backend.notify import notify
from visio_lab.standins.backend.rooms import Row, set_status

UUID = "[a-fA-F0-9]{8}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{4}-[a-fA-F0-9]{12}"
EVENTS = frozenset(
    f"{subject}_{what}"
    for subject, events in {
        "room": ("started", "finished"),
        "participant": ("joined", "left"),
        "track": ("published", "unpublished"),
        "egress": ("started", "updated", "ended"),
        "ingress": ("started", "ended"),
    }.items()
    for what in events
)
"""What 1.27 knows; any other event is 422, which LiveKit counts as a failed delivery."""
SAVED = ("notification_succeeded", "saved", "external_process_successful", "external_process_failed")
SAVABLE = ("active", "stopped")
TEST_ROOM_PREFIX = "connection-test"


class EventError(Exception):
    """The event cannot be handled: 500."""


def add_routes(application: web.Application) -> None:
    """The recordings' paths."""
    router = application.router
    router.add_post(f"{API}/rooms/webhooks-livekit/", webhook)
    router.add_get(f"{API}/recordings/", list_recordings)
    router.add_post(f"{API}/recordings/external-process-hook/", external_process)
    router.add_get(f"{API}/recordings/media-auth/", recording_media)
    router.add_get(f"{API}/recordings/{{recording}}/", show)
    router.add_get(f"{API}/files/media-auth/", file_media)


async def webhook(request: web.Request) -> web.Response:
    """An event of LiveKit's, whose token has to be signed with our own key pair."""
    server, token = backend(request), request.headers.get("Authorization", "")
    if not token:
        return web.json_response({"status": "error"}, status=401)
    verifier = api.TokenVerifier(server.settings.livekit_key, server.settings.livekit_secret)
    try:
        event = api.WebhookReceiver(verifier).receive(await request.text(), token)
    except Exception as error:
        print(f"webhook refused: {type(error).__name__}: {error}", flush=True)
        return web.json_response({"status": "error"}, status=400)
    room = event.room.name or event.egress_info.room_name
    if room.startswith(TEST_ROOM_PREFIX):
        return web.json_response({"status": "success"})
    if event.event not in EVENTS:
        return web.json_response({"status": "error"}, status=422)
    try:
        await _handle(server, event)
    except EventError as error:
        print(f"webhook {event.event}: {error}", flush=True)
        return web.Response(status=500, text="<h1>Server Error (500)</h1>", content_type="text/html")
    return web.json_response({"status": "success"})


async def _handle(server: Backend, event: Any) -> None:
    if event.event in ("room_started", "room_finished"):
        await _check_room(server, event.event, event.room.name)
        return
    if event.event not in ("egress_updated", "egress_ended"):
        return
    async with server.database() as connection:
        recording = await connection.fetchrow(
            "SELECT * FROM meet_recording WHERE worker_id = $1", event.egress_info.egress_id
        )
        if recording is None:
            raise EventError(f"no recording has the worker {event.egress_info.egress_id}")
        if event.event == "egress_updated":
            await _updated(server, recording, event.egress_info.status)
        else:
            await _ended(server, connection, recording, event.egress_info.status)


async def _check_room(server: Backend, event: str, name: str) -> None:
    try:
        identity = uuid.UUID(name)
    except ValueError:
        raise EventError(f"room {name} is not named by an id") from None
    if event == "room_started":
        async with server.database() as connection:
            if await connection.fetchval("SELECT 1 FROM meet_room WHERE id = $1", identity) is None:
                raise EventError(f"there is no room {name}")


async def _updated(server: Backend, recording: Row, status: Any) -> None:
    shown = {
        api.EgressStatus.EGRESS_ACTIVE: "started",
        api.EgressStatus.EGRESS_ENDING: "saving",
        api.EgressStatus.EGRESS_ABORTED: "aborted",
    }.get(status)
    if shown:
        await livekit.update_metadata(server.settings, str(recording["room_id"]), {"recording_status": shown})


async def _ended(server: Backend, connection: Any, recording: Row, egress_status: int) -> None:
    """The end of a recording; aborted and failed ones are ignored, which blocks the room (facts/visio.md 8)."""
    room, status = str(recording["room_id"]), recording["status"]
    await livekit.update_metadata(server.settings, room, {}, ("recording_mode", "recording_status"))
    dispatched = json.loads(recording["options"]).get("metadata_collector_dispatch_id")
    if dispatched:
        try:
            await livekit.withdraw(server.settings, dispatched, room)
        except livekit.LIVEKIT_ERRORS as error:
            print(f"metadata collector of room {room} not called back: {type(error).__name__}", flush=True)
    limit = egress_status == api.EgressStatus.EGRESS_LIMIT_REACHED
    if limit and status == "active":
        status = "stopped"
        await set_status(connection, recording["id"], status)
    complete = limit or egress_status == api.EgressStatus.EGRESS_COMPLETE
    if server.settings.recording.storage_event or not complete or status not in SAVABLE:
        return
    told = await notify(server, connection, recording)
    await set_status(connection, recording["id"], "notification_succeeded" if told else "saved")


async def external_process(request: web.Request) -> web.Response:
    """The summary service's webhook: what became of a transcription."""
    server = backend(request)
    expected = server.settings.recording.webhook_token
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if not expected or scheme.lower() != "bearer" or token.strip() != expected:
        realm = "Bearer realm='External process webhook API'"
        raise refusal(401, "Invalid token" if token else "Authorization header is required", WWW_Authenticate=realm)
    asked = await body(request)
    if not asked.get("job_id"):
        raise RefusalError(400, {"job_id": ["This field is required."]})
    outcome = {"success": "external_process_successful", "failure": "external_process_failed"}.get(
        str(asked.get("status"))
    )
    if asked.get("type") == "transcript" and outcome:
        async with server.database() as connection:
            await connection.execute(
                "UPDATE meet_recording SET status = $2, updated_at = now() WHERE external_process_id = $1",
                str(asked["job_id"]),
                outcome,
            )
    return web.json_response({"message": "Event processed."})


def _describe(server: Backend, row: Row) -> Json:
    folder, mode = server.settings.recording.folder, row["mode"]
    return {
        "id": str(row["id"]),
        "room": {
            "id": str(row["room_id"]),
            "name": row["name"],
            "slug": row["slug"],
            "access_level": row["access_level"],
        },
        "created_at": row["created_at"].isoformat(),
        "updated_at": row["updated_at"].isoformat(),
        "status": row["status"],
        "mode": mode,
        "options": json.loads(row["options"]),
        "key": f"{folder}/{row['id']}.{livekit.extension(mode)}",
        "is_expired": False,
        "expired_at": None,
    }


_MINE = (
    "SELECT r.*, m.name, m.slug, m.access_level FROM meet_recording r JOIN meet_room m ON m.id = r.room_id"
    " JOIN meet_recording_access a ON a.recording_id = r.id WHERE a.user_id = $1"
)


async def list_recordings(request: web.Request) -> web.Response:
    """The recordings of whoever is logged in, the newest first."""
    server = backend(request)
    user = await server.require_user(request)
    async with server.database() as connection:
        rows = await connection.fetch(f"{_MINE} ORDER BY r.created_at DESC", user["id"])
    results = [_describe(server, row) for row in rows]
    return web.json_response({"count": len(results), "next": None, "previous": None, "results": results})


async def show(request: web.Request) -> web.Response:
    """One recording."""
    server = backend(request)
    user = await server.require_user(request)
    try:
        identity = uuid.UUID(request.match_info["recording"])
    except ValueError:
        raise not_found() from None
    async with server.database() as connection:
        row = await connection.fetchrow(f"{_MINE} AND r.id = $2", user["id"], identity)
    if row is None:
        raise not_found()
    return web.json_response(_describe(server, row))


def original_path(request: web.Request) -> str:
    """The path that the ingress asks about. Raises RefusalError (403) when its header is missing."""
    original = request.headers.get(backend(request).settings.original_url_header)
    if not original:
        raise refusal(403, "You do not have permission to perform this action.")
    return unquote(urlsplit(original).path)


async def recording_media(request: web.Request) -> web.Response:
    """Whether this user may read this recording; the answer's headers sign the ingress's request to the store."""
    server = backend(request)
    user = await server.require_user(request)
    folder = re.escape(server.settings.recording.folder)
    match = re.search(f"/media/{folder}/({UUID})\\.([a-zA-Z0-9]{{1,10}})", original_path(request))
    if match is None:
        raise refusal(403, "You do not have permission to perform this action.")
    if match[2] not in ("ogg", "mp4"):
        raise refusal(400, "Unsupported extension.")
    async with server.database() as connection:
        row = await connection.fetchrow(
            "SELECT r.*, a.role FROM meet_recording r LEFT JOIN meet_recording_access a"
            " ON a.recording_id = r.id AND a.user_id = $2 WHERE r.id = $1",
            uuid.UUID(match[1]),
            user["id"],
        )
    if row is None or livekit.extension(row["mode"]) != match[2]:
        raise refusal(404, "No recording found for this event.")
    if row["role"] not in ("owner", "administrator") or row["status"] not in SAVED:
        raise refusal(403, "You do not have permission to perform this action.")
    return _authorized(server, f"{server.settings.recording.folder}/{row['id']}.{match[2]}")


async def file_media(request: web.Request) -> web.Response:
    """The same for files that users uploaded."""
    server = backend(request)
    if not server.settings.file_uploads:
        raise not_found()
    user = await server.require_user(request)
    match = re.search(f"/media/(files/({UUID})\\.[a-zA-Z0-9]{{1,10}})$", original_path(request))
    row = None
    if match is not None:
        async with server.database() as connection:
            row = await connection.fetchrow(
                "SELECT * FROM meet_file WHERE id = $1 AND creator_id = $2 AND upload_state = 'ready'"
                " AND deleted_at IS NULL",
                uuid.UUID(match[2]),
                user["id"],
            )
    if match is None or row is None:
        raise refusal(403, "You do not have permission to perform this action.")
    return _authorized(server, match[1])


def _authorized(server: Backend, key: str) -> web.Response:
    return web.json_response("authorized", headers=server.settings.base.storage.headers(key))
