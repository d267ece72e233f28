"""Rooms: made, shown with a token for LiveKit, recorded and captioned."""

import json
import uuid
from collections.abc import Mapping
from typing import Any

import asyncpg
from aiohttp import web
from livekit.api import TokenVerifier

from visio_lab.standins.backend import livekit_calls as livekit
from visio_lab.standins.backend.http import API, Backend, Json, RefusalError, backend, body, not_found, refusal
from visio_lab.standins.backend.login import describe_user, slug

ADMINISTRATORS = ("owner", "administrator")
MODES = ("screen_recording", "transcript")
OPTIONS: dict[str, type] = {"language": str, "transcribe": bool, "collect_metadata": bool, "original_mode": str}
Row = Mapping[str, Any]


def add_routes(application: web.Application) -> None:
    """The rooms' paths."""
    router = application.router
    router.add_get(f"{API}/rooms/", list_rooms)
    router.add_post(f"{API}/rooms/", create)
    router.add_get(f"{API}/rooms/{{room}}/", show)
    router.add_delete(f"{API}/rooms/{{room}}/", delete)
    router.add_post(f"{API}/rooms/{{room}}/start-recording/", start_recording)
    router.add_post(f"{API}/rooms/{{room}}/stop-recording/", stop_recording)
    router.add_post(f"{API}/rooms/{{room}}/start-subtitle/", start_subtitle)


async def _find(connection: Any, name: str) -> Row | None:
    try:
        query, value = "SELECT * FROM meet_room WHERE id = $1", str(uuid.UUID(name))
    except ValueError:
        query, value = "SELECT * FROM meet_room WHERE slug = $1", slug(name)
    row: Row | None = await connection.fetchrow(query, value)
    return row


async def _role(connection: Any, room: Row, user: Row | None) -> str | None:
    if user is None:
        return None
    role: str | None = await connection.fetchval(
        "SELECT role FROM meet_resource_access WHERE resource_id = $1 AND user_id = $2", room["id"], user["id"]
    )
    return role


def _brief(room: Row) -> Json:
    return {"id": str(room["id"]), "name": room["name"], "slug": room["slug"], "access_level": room["access_level"]}


async def _describe(server: Backend, request: web.Request, room: Row, user: Row | None) -> Json:
    """A room as the API shows it: accesses for its administrators, a token for those who may come in."""
    shown = {**_brief(room), "configuration": json.loads(room["configuration"]), "pin_code": room["pin_code"]}
    async with server.database() as connection:
        role = await _role(connection, room, user)
        if role in ADMINISTRATORS:
            rows = await connection.fetch(
                "SELECT u.*, a.id AS access_id, a.role FROM meet_resource_access a JOIN meet_user u ON u.id = a.user_id"
                " WHERE a.resource_id = $1",
                room["id"],
            )
            shown["accesses"] = [
                {
                    "id": str(row["access_id"]),
                    "user": describe_user(row),
                    "resource": shown["id"],
                    "role": row["role"],
                }
                for row in rows
            ]
    level = room["access_level"]
    if role is None and level != "public" and not (level == "trusted" and user is not None):
        del shown["pin_code"]
        return shown
    sources = shown["configuration"].get("can_publish_sources")
    shown["livekit"] = _entry(server, shown["id"], user, request.query.get("username"), role, sources)
    return shown


def _entry(
    server: Backend, room: str, user: Row | None, username: str | None, role: str | None, sources: list[str] | None
) -> Json:
    token = livekit.token(server.settings, room, user, username, role, sources)
    return {"url": server.settings.livekit_url, "room": room, "token": token}


async def list_rooms(request: web.Request) -> web.Response:
    """The rooms of whoever is logged in; nobody's list is empty."""
    server = backend(request)
    user, rooms = await server.user(request), []
    if user is not None:
        async with server.database() as connection:
            rooms = await connection.fetch(
                "SELECT r.* FROM meet_room r JOIN meet_resource_access a ON a.resource_id = r.id"
                " WHERE a.user_id = $1 ORDER BY r.name",
                user["id"],
            )
    results = [await _describe(server, request, room, user) for room in rooms]
    return web.json_response({"count": len(results), "next": None, "previous": None, "results": results})


async def create(request: web.Request) -> web.Response:
    """A new room, owned by whoever is logged in."""
    server = backend(request)
    user, asked = await server.require_user(request), await body(request)
    name = asked.get("name")
    if not isinstance(name, str) or not name:
        raise RefusalError(400, {"name": ["This field is required."]})
    level = asked.get("access_level", server.settings.access_level)
    if level not in ("public", "trusted", "restricted"):
        raise RefusalError(400, {"access_level": [f'"{level}" is not a valid choice.']})
    async with server.database() as connection:
        try:
            async with connection.transaction():
                room = await connection.fetchrow(
                    "INSERT INTO meet_room (id, name, slug, access_level, configuration)"
                    " VALUES ($1, $2, $3, $4, $5) RETURNING *",
                    uuid.uuid4(),
                    name,
                    slug(name),
                    level,
                    json.dumps(asked.get("configuration") or {}),
                )
                await connection.execute(
                    "INSERT INTO meet_resource_access (id, resource_id, user_id, role) VALUES ($1, $2, $3, 'owner')",
                    uuid.uuid4(),
                    room["id"],
                    user["id"],
                )
        except asyncpg.UniqueViolationError:
            raise RefusalError(400, {"slug": ["Room with this Slug already exists."]}) from None
    return web.json_response(await _describe(server, request, room, user), status=201)


async def show(request: web.Request) -> web.Response:
    """A room with its token, or an unregistered one where those are allowed."""
    server, name = backend(request), request.match_info["room"]
    user = await server.user(request)
    async with server.database() as connection:
        room = await _find(connection, name)
    if room is not None:
        return web.json_response(await _describe(server, request, room, user))
    if not server.settings.unregistered_rooms:
        raise not_found()
    short = slug(name)
    entry = _entry(server, short, user, request.query.get("username"), None, None)
    return web.json_response(
        {"id": None, "slug": short, "is_administrable": False, "access_level": "public", "livekit": entry}
    )


async def delete(request: web.Request) -> web.Response:
    """Remove a room; only its owner may."""
    server = backend(request)
    user = await server.require_user(request)
    async with server.database() as connection:
        room = await _find(connection, request.match_info["room"])
        if room is None:
            raise not_found()
        if await _role(connection, room, user) != "owner":
            raise refusal(403, "You do not have permission to perform this action.")
        await connection.execute("DELETE FROM meet_room WHERE id = $1", room["id"])
    return web.Response(status=204)


async def _administered(server: Backend, connection: Any, request: web.Request, user: Row) -> Row:
    room = await _find(connection, request.match_info["room"])
    if room is None:
        raise not_found()
    if await _role(connection, room, user) not in ADMINISTRATORS:
        raise refusal(403, "You must have privileges on room to perform this action.")
    return room


def _recording_request(asked: Json) -> tuple[str, Json]:
    mode, options = asked.get("mode"), asked.get("options") or {}
    sound = mode in MODES and isinstance(options, dict)
    if not sound or any(
        key not in OPTIONS or not isinstance(value, (OPTIONS[key], type(None))) for key, value in options.items()
    ):
        raise refusal(400, "Invalid request.")
    return str(mode), {key: value for key, value in options.items() if value is not None}


async def start_recording(request: web.Request) -> web.Response:
    """Ask LiveKit to record: 409 while one runs in the room, 502 when no egress takes it."""
    server = backend(request)
    user = await server.require_user(request)
    settings = server.settings
    if not settings.recording.enabled:
        raise not_found()
    mode, options = _recording_request(await body(request))
    async with server.database() as connection:
        room = await _administered(server, connection, request, user)
        name, recording = str(room["id"]), uuid.uuid4()
        try:
            async with connection.transaction():
                await connection.execute(
                    "INSERT INTO meet_recording (id, room_id, mode, options) VALUES ($1, $2, $3, $4)",
                    recording,
                    room["id"],
                    mode,
                    json.dumps(options),
                )
                await connection.execute(
                    "INSERT INTO meet_recording_access (id, recording_id, user_id, role) VALUES ($1, $2, $3, 'owner')",
                    uuid.uuid4(),
                    recording,
                    user["id"],
                )
        except asyncpg.UniqueViolationError:
            problem = f"A recording is already in progress for room {room['slug']}"
            raise RefusalError(409, {"error": problem}) from None
        try:
            egress = await livekit.start_egress(settings, name, str(recording), mode)
        except livekit.LIVEKIT_ERRORS as error:
            print(f"recording of room {name} not started: {type(error).__name__}: {error}", flush=True)
            await set_status(connection, recording, "failed_to_start")
            raise RefusalError(502, {"error": f"Recording failed to start for room {room['slug']}"}) from None
        await connection.execute(
            "UPDATE meet_recording SET status = 'active', worker_id = $2, updated_at = now() WHERE id = $1",
            recording,
            egress,
        )
        shown = {"recording_mode": options.get("original_mode") or mode, "recording_status": "starting"}
        await livekit.update_metadata(settings, name, shown)
        if settings.recording.metadata and options.get("collect_metadata"):
            await _collect_metadata(server, connection, name, recording, options)
    return web.json_response({"message": f"Recording successfully started for room {room['slug']}"}, status=201)


async def _collect_metadata(server: Backend, connection: Any, room: str, recording: uuid.UUID, options: Json) -> None:
    try:
        agent = server.settings.recording.metadata_agent
        dispatched = await livekit.dispatch(server.settings, agent, room, str(recording))
    except livekit.LIVEKIT_ERRORS as error:
        print(f"metadata collector not sent to room {room}: {type(error).__name__}", flush=True)
        return
    text = json.dumps({**options, "metadata_collector_dispatch_id": dispatched})
    await connection.execute("UPDATE meet_recording SET options = $2 WHERE id = $1", recording, text)


async def set_status(connection: Any, recording: uuid.UUID, status: str) -> None:
    """Write a recording's status."""
    await connection.execute(
        "UPDATE meet_recording SET status = $2, updated_at = now() WHERE id = $1", recording, status
    )


async def stop_recording(request: web.Request) -> web.Response:
    """Ask LiveKit to stop the room's recording: 404 when none runs."""
    server = backend(request)
    user = await server.require_user(request)
    if not server.settings.recording.enabled:
        raise not_found()
    async with server.database() as connection:
        room = await _administered(server, connection, request, user)
        recording = await connection.fetchrow(
            "SELECT * FROM meet_recording WHERE room_id = $1 AND status = 'active'", room["id"]
        )
        if recording is None:
            raise refusal(404, "No active recording found for this room.")
        try:
            status = await livekit.stop_egress(server.settings, recording["worker_id"])
        except livekit.LIVEKIT_ERRORS as error:
            print(f"recording {recording['id']} not stopped: {type(error).__name__}", flush=True)
            await set_status(connection, recording["id"], "failed_to_stop")
            raise RefusalError(500, {"error": f"Recording failed to stop for room {room['slug']}"}) from None
        await set_status(connection, recording["id"], status)
    return web.json_response({"message": f"Recording stopped for room {room['slug']}."})


async def start_subtitle(request: web.Request) -> web.Response:
    """Send the captions agent into the room; the proof is a token of LiveKit's for that room, not a login."""
    server = backend(request)
    header = request.headers.get("Authorization", "").split()
    granted = ""
    if header:
        if len(header) != 2 or header[0].lower() != "bearer":
            raise refusal(403, "Authorization header must be: Bearer <token>")
        try:
            claims = TokenVerifier(server.settings.livekit_key, server.settings.livekit_secret).verify(header[1])
        except Exception as error:
            raise refusal(403, f"Invalid LiveKit token: {error}") from None
        granted = claims.video.room if claims.video else ""
    if not server.settings.subtitles:
        raise not_found()
    async with server.database() as connection:
        room = await _find(connection, request.match_info["room"])
    if room is None:
        raise not_found()
    if granted != str(room["id"]):
        denied = "You do not have permission to perform this action."
        raise refusal(403, denied if header else "Authentication credentials were not provided.")
    try:
        await livekit.dispatch(server.settings, server.settings.subtitles_agent, str(room["id"]))
    except livekit.LIVEKIT_ERRORS as error:
        print(f"subtitles of room {room['id']} not started: {type(error).__name__}", flush=True)
        raise RefusalError(500, {"error": f"Subtitles failed to start for room {room['slug']}"}) from None
    return web.json_response({"status": "success"})
