"""What an administration has beside Visio, for the smoke test: a Docs, a language model and an SMTP relay.

They accept one key and one password, and otherwise refuse as the real ones do. Run as
`python outside_services.py CERTIFICATE KEY`; HTTP is on 8080, SMTP with STARTTLS on 2525.
"""

from __future__ import annotations

import asyncio
import base64
import ssl
import sys

from aiohttp import web

DOCS_KEY, LLM_KEY, MAIL_USER, MAIL_PASSWORD, MODEL = "docs-key", "llm-key", "visio", "mail-password", "albert-large"
HTTP_PORT, SMTP_PORT = 8080, 2525


async def documents(request: web.Request) -> web.Response:
    allowed = request.headers.get("Authorization") == f"Bearer {DOCS_KEY}"
    return web.json_response({}, status=400 if allowed else 403)


async def models(request: web.Request) -> web.Response:
    if request.headers.get("Authorization") != f"Bearer {LLM_KEY}":
        return web.json_response({}, status=401)
    return web.json_response({"data": [{"id": MODEL}]})


async def config(request: web.Request) -> web.Response:
    del request
    return web.json_response({})


async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext) -> None:
    """One SMTP session."""
    encrypted = False

    async def say(text: str) -> None:
        writer.write(text.encode() + b"\r\n")
        await writer.drain()

    await say("220 relay")
    while line := (await reader.readline()).decode().strip():
        word = line.split(" ", 1)[0].upper()
        if word == "EHLO":
            await say("250-relay\r\n250 AUTH PLAIN LOGIN" if encrypted else "250-relay\r\n250 STARTTLS")
        elif word == "STARTTLS":
            await say("220 go")
            await writer.start_tls(context)
            encrypted = True
        elif word == "AUTH":
            given = base64.b64decode(line.split(" ")[-1]).decode().split("\0")
            await say("235 welcome" if given[1:] == [MAIL_USER, MAIL_PASSWORD] else "535 go away")
        elif word == "QUIT":
            await say("221 bye")
            break
        else:
            await say("250 fine")
    writer.close()


async def main(certificate: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    app = web.Application()
    app.router.add_post("/api/v1.0/documents/create-for-owner/", documents)
    app.router.add_get("/api/v1.0/config/", config)
    app.router.add_get("/v1/models", models)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", HTTP_PORT).start()
    server = await asyncio.start_server(lambda reader, writer: talk(reader, writer, context), "0.0.0.0", SMTP_PORT)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
