"""Files that users upload, such as backgrounds: announced here, put straight into the store, then taken over."""

import asyncio
import uuid
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from minio.commonconfig import CopySource
from minio.error import S3Error

from visio_lab.standins.backend.http import API, Backend, Json, RefusalError, backend, body, not_found
from visio_lab.standins.backend.rooms import Row
from visio_lab.standins.storage import Storage

EXTENSIONS = ("jpeg", "jpg", "png")
KINDS = ("background_image",)
MAGIC = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg"}
"""How files of the allowed types begin."""
LARGEST = 2 * 1024**2
UPLOAD_SECONDS = 60


def add_routes(application: web.Application) -> None:
    """The files' paths."""
    router = application.router
    router.add_post(f"{API}/files/", create)
    router.add_post(f"{API}/files/{{file}}/upload-ended/", upload_ended)
    router.add_delete(f"{API}/files/{{file}}/", delete)


def key(row: Row, *, temporary: bool = False) -> str:
    """Where a file lies in the bucket; what is still being uploaded lies apart."""
    return f"{'tmp/files' if temporary else 'files'}/{row['id']}.{row['filename'].rpartition('.')[2]}"


async def _user(request: web.Request) -> tuple[Backend, Row]:
    server = backend(request)
    if not server.settings.file_uploads:
        raise not_found()
    return server, await server.require_user(request)


async def _own(connection: Any, request: web.Request, user: Row) -> Row:
    """The user's file of the request's path. Raises RefusalError (404)."""
    try:
        identity = uuid.UUID(request.match_info["file"])
    except ValueError:
        raise not_found() from None
    row: Row | None = await connection.fetchrow(
        "SELECT * FROM meet_file WHERE id = $1 AND creator_id = $2 AND deleted_at IS NULL", identity, user["id"]
    )
    if row is None:
        raise not_found()
    return row


def _describe(row: Row, mimetype: str | None = None) -> Json:
    return {
        "id": str(row["id"]),
        "filename": row["filename"],
        "title": row["filename"].rpartition(".")[0],
        "type": row["type"],
        "upload_state": row["upload_state"],
        "mimetype": mimetype,
    }


async def create(request: web.Request) -> web.Response:
    """Announce a file; the answer's policy is the signed URL for it, with the host that browsers know."""
    server, user = await _user(request)
    asked = await body(request)
    name, kind = str(asked.get("filename") or ""), asked.get("type")
    if kind not in KINDS:
        raise RefusalError(400, {"type": [f'"{kind}" is not a valid choice.']})
    if name.rpartition(".")[2].lower() not in EXTENSIONS or "." not in name:
        raise RefusalError(400, {"filename": ["This file extension is not allowed."]})
    async with server.database() as connection:
        row = await connection.fetchrow(
            "INSERT INTO meet_file (id, creator_id, filename, type) VALUES ($1, $2, $3, $4) RETURNING *",
            uuid.uuid4(),
            user["id"],
            name,
            kind,
        )
    policy = _public(server).upload_link(key(row, temporary=True), UPLOAD_SECONDS)
    return web.json_response({**_describe(row), "policy": policy}, status=201)


def _public(server: Backend) -> Storage:
    """The store under the name for browsers: signatures cover the host."""
    store, url = server.settings.base.storage, server.settings.upload_url
    if not url:
        return store
    secure = urlsplit(url).scheme == "https"
    return Storage(url, store.bucket, store.access_key, store.secret_key, store.region, secure)


async def upload_ended(request: web.Request) -> web.Response:
    """Take the uploaded file over, if it is what it says; 400 for one that was taken over before."""
    server, user = await _user(request)
    async with server.database() as connection:
        row = await _own(connection, request, user)
        if row["upload_state"] != "pending":
            raise RefusalError(400, {"file": ["This action is only available for files in PENDING state."]})
        mimetype = await asyncio.to_thread(_take_over, server.settings.base.storage, row)
        if mimetype is None:
            await connection.execute("UPDATE meet_file SET deleted_at = now() WHERE id = $1", row["id"])
            raise RefusalError(400, {"detail": "The file type is not allowed."})
        row = await connection.fetchrow(
            "UPDATE meet_file SET upload_state = 'ready' WHERE id = $1 RETURNING *", row["id"]
        )
    return web.json_response(_describe(row, mimetype))


def _take_over(store: Storage, row: Row) -> str | None:
    """Copy the file to its place and look at its beginning. Raises ValueError when nothing was uploaded."""
    client = store.client()
    source = CopySource(bucket_name=store.bucket, object_name=key(row, temporary=True))
    try:
        client.copy_object(bucket_name=store.bucket, object_name=key(row), source=source)
        with client.get_object(bucket_name=store.bucket, object_name=key(row)) as response:
            content = response.read(LARGEST + 1)
    except S3Error as error:
        raise ValueError(f"upload of {row['id']}: {error.code}") from None
    kind = next((kind for start, kind in MAGIC.items() if content.startswith(start)), None)
    return kind if len(content) <= LARGEST else None


async def delete(request: web.Request) -> web.Response:
    """Hide a file; the regular cleaning removes it days later."""
    server, user = await _user(request)
    async with server.database() as connection:
        row = await _own(connection, request, user)
        await connection.execute("UPDATE meet_file SET deleted_at = now() WHERE id = $1", row["id"])
    return web.Response(status=204)
