"""What stands before every view: three request slots, HTTPS, host names, sessions and CSRF, as Django has them."""

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from redis.asyncio import Redis
from redis.exceptions import RedisError

from visio_lab.standins.backend import schema
from visio_lab.standins.backend.settings import Server

API = "/api/v1.0"
SLOTS = 3
"""gunicorn's three synchronous workers: the fourth request waits, health checks included."""
REQUEST_TIMEOUT_S = 90
HEALTH = ("/__lbheartbeat__", "/__heartbeat__")
SESSION_COOKIE, CSRF_COOKIE, CSRF_HEADER = "sessionid", "csrftoken", "X-CSRFToken"
SAFE = ("GET", "HEAD", "OPTIONS")
UNEXPECTED: tuple[type[Exception], ...] = (*schema.FAILURES, RedisError, ValueError, LookupError)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Json = dict[str, Any]


class RefusalError(Exception):
    """An answer in place of the view's own."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> None:
        super().__init__(str(status))
        self.status, self.body, self.headers = status, body, headers or {}

    def response(self) -> web.Response:
        """The answer."""
        return web.json_response(dict(self.body), status=self.status, headers=dict(self.headers))


def refusal(status: int, detail: str, **headers: str) -> RefusalError:
    """A refusal in the REST framework's form."""
    return RefusalError(status, {"detail": detail}, {name.replace("_", "-"): value for name, value in headers.items()})


def not_found() -> RefusalError:
    """404 as for an object that is not there or a feature that is off."""
    return refusal(404, "Not found.")


@dataclass
class Backend:
    """The server's state: settings and the slots. Everything else lies in PostgreSQL and Redis."""

    settings: Server
    slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(SLOTS))

    @contextlib.asynccontextmanager
    async def database(self) -> AsyncIterator[Any]:
        """A connection for this request."""
        connection = await schema.connect(self.settings.base)
        try:
            yield connection
        finally:
            await connection.close()

    @contextlib.asynccontextmanager
    async def redis(self) -> AsyncIterator[Any]:
        """A Redis client for this request."""
        client: Any = Redis.from_url(self.settings.base.redis_url, decode_responses=True)
        try:
            yield client
        finally:
            await client.aclose()

    async def session(self, request: web.Request) -> tuple[str, Json]:
        """Key and content of the request's session, empty where it has none."""
        key = request.cookies.get(SESSION_COOKIE, "")
        if not key:
            return "", {}
        async with self.redis() as client:
            text = await client.get(_session_key(key))
        return (key, json.loads(text)) if text else ("", {})

    async def save_session(self, key: str, content: Json) -> str:
        """Write a session, under a new key where it has none."""
        key = key or secrets.token_hex(16)
        async with self.redis() as client:
            await client.set(_session_key(key), json.dumps(content), ex=self.settings.session_seconds)
        return key

    async def drop_session(self, key: str) -> None:
        """Forget a session."""
        async with self.redis() as client:
            await client.delete(_session_key(key))

    async def user(self, request: web.Request) -> Mapping[str, Any] | None:
        """Who is logged in. Raises RefusalError (403) when an unsafe request lacks the proof against forgery."""
        _, content = await self.session(request)
        identity = content.get("_auth_user_id")
        if identity is None:
            return None
        async with self.database() as connection:
            row: Mapping[str, Any] | None = await connection.fetchrow("SELECT * FROM meet_user WHERE id = $1", identity)
        if row is not None and request.method not in SAFE:
            self._check_forgery(request)
        return row

    async def require_user(self, request: web.Request) -> Mapping[str, Any]:
        """Who is logged in; raises RefusalError (401) when nobody is."""
        user = await self.user(request)
        if user is None:
            raise refusal(401, "Authentication credentials were not provided.", WWW_Authenticate="Session")
        return user

    def _check_forgery(self, request: web.Request) -> None:
        cookie = request.cookies.get(CSRF_COOKIE, "")
        trusted = {urlsplit(origin).netloc for origin in self.settings.base.trusted_origins} | {request.host}
        source = request.headers.get("Origin") or request.headers.get("Referer") or ""
        if urlsplit(source).netloc not in trusted:
            raise refusal(403, "CSRF Failed: Referer checking failed - no trusted origin.")
        if not cookie:
            raise refusal(403, "CSRF Failed: CSRF cookie not set.")
        if not secrets.compare_digest(cookie.encode(), request.headers.get(CSRF_HEADER, "").encode()):
            raise refusal(403, f"CSRF Failed: CSRF token from the '{CSRF_HEADER}' HTTP header incorrect.")


def _session_key(key: str) -> str:
    return f":1:django.contrib.sessions.cache{key}"


BACKEND = web.AppKey("backend", Backend)


def backend(request: web.Request) -> Backend:
    """The server's state, from a view."""
    return request.app[BACKEND]


async def body(request: web.Request) -> Json:
    """The request's JSON object; raises RefusalError (400) when it is none."""
    try:
        content = json.loads(await request.text() or "{}")
    except ValueError:
        raise refusal(400, "JSON parse error") from None
    if not isinstance(content, dict):
        raise refusal(400, "Invalid data. Expected a dictionary.")
    return content


def is_secure(request: web.Request) -> bool:
    """Whether the proxy in front says that the browser came by HTTPS."""
    return request.headers.get("X-Forwarded-Proto", "") == "https"


def _host_allowed(request: web.Request) -> bool:
    name = urlsplit(f"//{request.host}").hostname or ""
    return any(
        pattern in ("*", name) or (pattern.startswith(".") and f".{name}".endswith(pattern))
        for pattern in request.app[BACKEND].settings.base.allowed_hosts
    )


@web.middleware
async def slots(request: web.Request, handler: Handler) -> web.StreamResponse:
    """One of the slots, for at most 90 s; after that gunicorn kills the worker and the connection just ends."""
    async with backend(request).slots:
        try:
            return await asyncio.wait_for(handler(request), REQUEST_TIMEOUT_S)
        except TimeoutError:
            if request.transport is not None:
                request.transport.abort()
            raise


@web.middleware
async def security(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Django's security and common middleware: a bad host is 400, plain HTTP is redirected but for health checks."""
    if not _host_allowed(request):
        return web.Response(status=400, text="<h1>Bad Request (400)</h1>", content_type="text/html")
    if not is_secure(request) and request.path not in HEALTH:
        return web.Response(status=301, headers={"Location": f"https://{request.host}{request.rel_url}"})
    if request.match_info.http_exception is not None and not request.path.endswith("/"):
        # Only what would exist with a slash at the end is redirected.
        with_slash = request.clone(rel_url=request.rel_url.with_path(request.path + "/"))
        if (await request.app.router.resolve(with_slash)).http_exception is None:
            return web.Response(status=301, headers={"Location": f"{request.path}/"})
    return await handler(request)


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Refusals in their form, anything unexpected as 500; every request but those for health in the log."""
    try:
        response = await handler(request)
    except RefusalError as answer:
        response = answer.response()
    except UNEXPECTED as error:
        print(f"Internal Server Error: {request.path}: {type(error).__name__}: {error}", flush=True)
        response = web.Response(status=500, text="<h1>Server Error (500)</h1>", content_type="text/html")
    if request.path not in HEALTH:
        print(f"{request.method} {request.path} {response.status}", flush=True)
    return response
