"""The API: it checks the tenant and the job, and puts the job on its queue."""

import asyncio
import datetime as dt
import itertools
import json
import logging
from collections.abc import Sequence

from aiohttp import web
from celery.result import AsyncResult
from pydantic import BaseModel, ValidationError
from redis.exceptions import RedisError

from visio_lab.standins.summary import jobs
from visio_lab.standins.summary.queues import SUMMARIZE, TRANSCRIBE, celery
from visio_lab.standins.summary.settings import Tenant, current

PREFIX = "/api/v2/async-jobs"
KINDS: dict[str, tuple[str, type[BaseModel], str]] = {
    "transcribe": ("transcript", jobs.TranscribeRequest, TRANSCRIBE),
    "summarize": ("summary", jobs.SummarizeRequest, SUMMARIZE),
}
"""Path to kind of the answer, form of the request and name of the task."""


def application() -> web.Application:
    """The API's paths; both heartbeats are static up to 1.31, so they say nothing about the broker."""
    app = web.Application()
    for path in ("/__heartbeat__", "/__lbheartbeat__"):
        app.router.add_get(path, heartbeat)
    app.router.add_post(f"{PREFIX}/{{kind:transcribe|summarize}}", create)
    app.router.add_get(f"{PREFIX}/{{kind:transcribe|summarize}}/{{job}}", show)
    app.router.add_post(f"{PREFIX}/{{kind:transcribe|summarize}}/", without_slash)
    return app


async def heartbeat(_: web.Request) -> web.Response:
    """Alive."""
    return web.json_response(None)


async def without_slash(request: web.Request) -> web.Response:
    """A slash at the end costs a redirect."""
    return web.Response(status=307, headers={"Location": request.path.rstrip("/")})


def _refused(status: int, detail: object) -> web.Response:
    return web.json_response({"detail": detail}, status=status)


def _tenant(request: web.Request) -> Tenant | None:
    scheme, _, key = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    return next((tenant for tenant in current().tenants if tenant.api_key == key), None)


async def create(request: web.Request) -> web.Response:
    """Take a job: 403 for an unknown key, 422 for a malformed job, 400 for one that the tenant may not ask for."""
    tenant = _tenant(request)
    if tenant is None:
        return _refused(403, "Unauthorized" if "Authorization" in request.headers else "Not authenticated")
    kind, form, task = KINDS[request.match_info["kind"]]
    try:
        asked = form.model_validate_json(await request.read())
    except ValidationError as error:
        details = json.loads(error.json(include_url=False, include_context=False))
        return _refused(422, [{**each, "loc": ["body", *each["loc"]]} for each in details])
    if getattr(asked, "push_to_docs_config", None) is not None and not tenant.allowed_push_to_docs:
        return _refused(400, "Push to docs is not allowed for this tenant.")
    job = {
        **asked.model_dump(mode="json"),
        "tenant_id": tenant.id,
        "received_at": dt.datetime.now(dt.UTC).isoformat(),
    }
    try:
        sent = await asyncio.to_thread(celery().tasks[task].apply_async, args=[job])
    except (RedisError, OSError) as error:
        print(f"broker: {type(error).__name__}: {error}", flush=True)
        return web.Response(status=500, text="Internal Server Error")
    return web.json_response(jobs.pending(kind, sent.id))


async def show(request: web.Request) -> web.Response:
    """What became of a job; one that has not begun is unknown, because only the result store is asked."""
    tenant = _tenant(request)
    if tenant is None:
        return _refused(403, "Unauthorized" if "Authorization" in request.headers else "Not authenticated")
    kind, job = KINDS[request.match_info["kind"]][0], request.match_info["job"]
    return await asyncio.to_thread(_status, kind, job, tenant)


def _status(kind: str, job: str, tenant: Tenant) -> web.Response:
    app = celery()
    if not app.backend.client.exists(f"celery-task-meta-{job}"):
        return _refused(404, "Not found")
    result = AsyncResult(job, app=app)
    if result.args[0]["tenant_id"] != tenant.id:
        return _refused(403, "Forbidden")
    if result.status == "SUCCESS":
        if result.result["status"] != "success":
            # A job that ended with an error code counts as done, and the real API stumbles over its result.
            return web.Response(status=500, text="Internal Server Error")
        return web.json_response(result.result)
    return web.json_response(jobs.failure(kind, job) if result.status == "FAILURE" else jobs.pending(kind, job))


def run(argv: Sequence[str]) -> None:
    """`uvicorn summary.main:app [--proxy-headers] --host H --port P`, until SIGTERM."""
    words = list(argv)
    if words[1:2] != ["summary.main:app"]:
        raise SystemExit(f"uvicorn: cannot import {' '.join(words[1:2])}")
    options = dict(itertools.pairwise(words))
    current()
    celery()
    logging.basicConfig(level=logging.INFO)
    host, port = options.get("--host", "127.0.0.1"), int(options.get("--port", "8000"))
    web.run_app(application(), host=host, port=port, shutdown_timeout=30, print=None)
