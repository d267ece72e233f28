"""A small HTTP server: /healthz, /readyz, /metrics."""

from __future__ import annotations

from dataclasses import dataclass

from aiohttp import web

from . import metrics
from .kube import KubeError


@dataclass
class Health:
    """What the probes are told."""

    ready: bool = False
    """Watching, or standing by for the lease: a replica that waits is as it should be."""


async def serve(health: Health, port: int) -> web.AppRunner:
    """Start the server on all addresses; 0 takes a free port. Raises KubeError when the port is taken."""

    async def healthz(_: web.Request) -> web.Response:
        # That this answers at all is the proof: the loop turns. It asks nobody else.
        return web.Response(text="ok\n")

    async def readyz(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if health.ready else web.Response(status=503, text="starting\n")

    async def scrape(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", scrape)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
    except OSError as error:
        await runner.cleanup()
        raise KubeError(
            0, "PortTaken", f"port {port} cannot be used: {error.strerror}; set VISIO_OPERATOR_METRICS_PORT"
        ) from None
    return runner
