"""What the API server asks a kubelet for: the logs of process pods, by the kubelet's own paths.

Served for all nodes at once, on every address of the lab. Log lines carry no times, so `--timestamps` and `--since`
show whole logs without them; `kubectl exec`, `attach` and `port-forward` are refused: use `nsenter` or a Service.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable
from pathlib import Path

from aiohttp import web

from visio_lab.container_process import Container
from visio_lab.context import KUBELET_PORT, LabContext
from visio_lab.pod_life import PodLife

Find = Callable[[str, str], PodLife | None]
"""Gives the process pod of a namespace and a name."""

FOLLOW_S = 0.2
CHUNK = 1 << 16


async def serve_kubelet(ctx: LabContext, find: Find) -> None:
    """Answer for ever; only clients with a certificate of the lab's authority are let in."""
    pki = ctx.directory / "pki"
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(pki / "kubelet.crt", pki / "kubelet.key")
    runner = web.AppRunner(application(find), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "0.0.0.0", KUBELET_PORT, ssl_context=tls).start()  # noqa: S104 - every node's address
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


def application(find: Find) -> web.Application:
    """The kubelet's paths: /healthz and /containerLogs."""

    async def healthy(_request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def logs(request: web.Request) -> web.StreamResponse:
        words = request.match_info
        life = find(words["namespace"], words["pod"])
        containers = [*life.init, *life.main] if life else []
        container = next((each for each in containers if each.name == words["container"]), None)
        if life is None or container is None or (life.launches and container.name not in life.launches):
            return web.Response(status=400, text="the lab plays this container: no program stands behind it")
        return await _logs(request, container)

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=501, text="the lab's kubelet serves logs only\n")

    app = web.Application()
    app.router.add_get("/healthz", healthy)
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", logs)
    for path in ("exec", "attach", "portForward", "run"):
        app.router.add_route("*", f"/{path}/{{rest:.*}}", refuse)
    return app


async def _logs(request: web.Request, container: Container) -> web.StreamResponse:
    if container.log is None:
        waiting = container.state.get("waiting", {}).get("reason", "ContainerCreating")
        return web.Response(status=400, text=f"container {container.name} is waiting to start: {waiting}")
    asked = request.query
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    if asked.get("previous") == "true":
        if container.previous_log is None:
            return web.Response(status=400, text=f"container {container.name} has not been started again")
        part = container.previous_log
    else:
        part = range(container.log_begin, _size(container))
    text = _read(container.log, part.start, part.stop)
    if (tail := asked.get("tailLines")) is not None:
        text = b"".join(text.splitlines(keepends=True)[-int(tail) :]) if int(tail) else b""
    if (limit := asked.get("limitBytes")) is not None:
        text = text[: int(limit)]
    await response.prepare(request)
    await response.write(text)
    if asked.get("follow") == "true" and asked.get("previous") != "true":
        with contextlib.suppress(ConnectionError):
            await _follow(response, container, part.stop)
    await response.write_eof()
    return response


async def _follow(response: web.StreamResponse, container: Container, place: int) -> None:
    """Send what is written after `place`, until this life of the program has ended."""
    began = container.log_begin
    while True:
        ended = not container.busy or container.log_begin != began
        stop = (
            container.previous_log.stop if ended and container.log_begin != began and container.previous_log else None
        )
        size = stop if stop is not None else _size(container)
        while container.log and place < size:
            text = _read(container.log, place, min(size, place + CHUNK))
            if not text:
                break
            await response.write(text)
            place += len(text)
        if ended:
            return
        await asyncio.sleep(FOLLOW_S)


def _size(container: Container) -> int:
    return container.log.stat().st_size if container.log else 0


def _read(log: Path, start: int, stop: int) -> bytes:
    with log.open("rb") as file:
        file.seek(start)
        return file.read(stop - start)
