"""The server: health, configuration for the front end, and the views of the other modules, on port 8000."""

import os
from typing import Any

from aiohttp import web
from redis.exceptions import RedisError

from visio_lab.standins.backend import files, login, recordings, rooms, schema
from visio_lab.standins.backend.http import API, BACKEND, Backend, backend, errors, security, slots
from visio_lab.standins.backend.livekit_calls import SOURCES
from visio_lab.standins.backend.settings import Server, server

PORT = 8000
GRACEFUL_S = 90


def application(settings: Server) -> web.Application:
    """All of the API that is played."""
    app = web.Application(middlewares=[slots, errors, security])
    app[BACKEND] = Backend(settings)
    app.router.add_get("/__lbheartbeat__", lbheartbeat)
    app.router.add_get("/__heartbeat__", heartbeat)
    app.router.add_get(f"{API}/config/", configuration)
    login.add_routes(app)
    # Before the rooms: its path looks like a room's action.
    recordings.add_routes(app)
    rooms.add_routes(app)
    files.add_routes(app)
    return app


async def lbheartbeat(_: web.Request) -> web.Response:
    """Alive, whatever else is broken."""
    return web.Response()


async def heartbeat(request: web.Request) -> web.Response:
    """Ready: 500 without the database or Redis; migrations that are missing only warn."""
    server = backend(request)
    checks, details = {"check_redis_connected": "ok", "check_database_connected": "ok"}, {}
    try:
        async with server.database() as connection:
            await connection.execute("SELECT 1")
    except schema.FAILURES as error:
        checks["check_database_connected"], details["database"] = "error", type(error).__name__
    try:
        async with server.redis() as client:
            await client.ping()
    except (RedisError, OSError) as error:
        checks["check_redis_connected"], details["redis"] = "error", type(error).__name__
    status = 500 if details else 200
    answer = {"status": "error" if details else "ok", "checks": checks, "details": details}
    return web.json_response(answer, status=status)


async def configuration(request: web.Request) -> web.Response:
    """What the front end asks for first."""
    settings = backend(request).settings
    restrictions: dict[str, Any] = {
        "upload_is_enabled": settings.file_uploads,
        "max_count_by_user": 10,
        "max_size": 2 * 1024**2,
        "allowed_extensions": [".jpeg", ".jpg", ".png"],
        "allowed_mimetypes": ["image/jpeg", "image/png"],
    }
    return web.json_response(
        {
            "LANGUAGE_CODE": settings.language,
            "recording": {
                "is_enabled": settings.recording.enabled,
                "available_modes": list(rooms.MODES),
                "expiration_days": settings.recording.expiration_days or None,
                "max_duration": settings.recording.max_duration or None,
            },
            "background_image": restrictions,
            "telephony": {"enabled": False},
            "resource": {"default_access_level": settings.access_level},
            "subtitle": {"enabled": settings.subtitles},
            "diagnostics": {"connection_test_enabled": False},
            "livekit": {
                "url": settings.livekit_url,
                "force_wss_protocol": False,
                "enable_firefox_proxy_workaround": False,
                "default_sources": list(SOURCES),
            },
            "authenticated_users_can_edit_display_name": True,
            **settings.frontend,
        }
    )


def serve() -> None:
    """Listen until SIGTERM, then finish what runs for up to 90 s."""
    settings = server(os.environ)
    port = int(os.environ.get("LAB_HTTP_PORT") or PORT)
    web.run_app(application(settings), port=port, shutdown_timeout=GRACEFUL_S, print=None)
