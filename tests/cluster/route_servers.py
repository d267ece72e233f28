"""Stands behind the rendered routes: the API with its authorization subrequests, pages, LiveKit, and an object store.

Everything tells what reached it. The store serves an object only when the request carries the very signature that
AWS's rules (version 4) give for what it sees: a wrong host, path or header shows at once. With TLS it also wants to be
asked for by its own name.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from datetime import UTC, datetime
from urllib.parse import urlsplit

from aiohttp import web
from minio.credentials import Credentials
from minio.signer import sign_v4_s3

HOST = os.environ["PUBLIC_HOST"]
OWN_HOSTS = {HOST, *os.environ.get("API_HOSTS", "").split()}
STORE = os.environ["STORE_URL"]
BUCKET = os.environ["BUCKET"]
URL_HEADER = os.environ["URL_HEADER"]
TLS_FOLDER = os.environ.get("TLS_FOLDER", "")
KEYS = Credentials("access", "secret-of-the-store")
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""SHA-256 of no bytes."""


def signed(authority: str, path: str, date: datetime) -> dict[str, str]:
    """The headers that the API answers for an object."""
    url = urlsplit(f"http://{authority}{path}")
    headers = {"Host": authority, "x-amz-content-sha256": NOTHING, "x-amz-date": date.strftime("%Y%m%dT%H%M%SZ")}
    made = sign_v4_s3(
        method="GET", url=url, region="lab", headers=headers, credentials=KEYS, content_sha256=NOTHING, date=date
    )
    return {name: str(made[name]) for name in ("Authorization", "x-amz-date", "x-amz-content-sha256")}


async def told(request: web.Request) -> web.Response:
    """What reached a server."""
    return web.json_response({"server": request.app["name"], "path": request.path_qs, "headers": dict(request.headers)})


async def media_auth(request: web.Request) -> web.Response:
    """As Visio does it: the subrequest has to come by https, to a known host, with a session and the URL."""
    url = urlsplit(request.headers.get(URL_HEADER, ""))
    if request.headers.get("X-Forwarded-Proto") != "https":
        return web.Response(status=301, headers={"Location": f"https://{HOST}{request.path}"})
    if request.host.partition(":")[0] not in OWN_HOSTS:
        return web.Response(status=400)
    kind = "/media/files/" if "/files/" in request.path else "/media/recordings/"
    if request.cookies.get("session") != "marianne" or not url.path.startswith(kind):
        return web.Response(status=403)
    key = url.path.removeprefix("/media/")
    return web.Response(headers=signed(urlsplit(STORE).netloc, f"/{BUCKET}/{key}", datetime.now(UTC)))


async def stored(request: web.Request) -> web.Response:
    """An object, for a request that is signed right."""
    named = request.headers.get("x-amz-date", "")
    if not named:
        return web.Response(status=403, text="not signed")
    date = datetime.strptime(named, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if request.headers.get("Authorization") != signed(request.host, request.path, date)["Authorization"]:
        return web.Response(status=403, text=f"the signature is not that of {request.host}{request.path}")
    return web.json_response({"object": request.path, "cookie": request.headers.get("Cookie", "")})


async def echo(request: web.Request) -> web.StreamResponse:
    """LiveKit's signalling, as far as a proxy can tell."""
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return web.Response(text="OK")
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        await socket.send_str(f"echo {message.data}")
    return socket


async def serve(name: str, port: int, routes: list[web.RouteDef], tls: ssl.SSLContext | None = None) -> None:
    app = web.Application()
    app["name"] = name
    app.add_routes([*routes, web.route("*", "/{path:.*}", told)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", port, ssl_context=tls).start()


def store_tls() -> ssl.SSLContext:
    """TLS that refuses clients which do not name the store's host."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(f"{TLS_FOLDER}/tls.crt", f"{TLS_FOLDER}/tls.key")

    def asked_for(_socket: ssl.SSLObject, name: str | None, _context: ssl.SSLContext) -> int | None:
        return None if name == urlsplit(STORE).hostname else ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = asked_for
    return context


async def main() -> None:
    auth = [web.get(f"/api/v1.0/{kind}/media-auth/", media_auth) for kind in ("recordings", "files")]
    objects = [web.get(f"/{BUCKET}/{{key:.*}}", stored)]
    await serve("backend", 8000, auth)
    await serve("frontend", 8080, [])
    await serve("sfu", 7880, [web.get("/rtc", echo)])
    await serve("store", 3900, objects)
    if TLS_FOLDER:
        await serve("store", 8443, objects, store_tls())
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
