"""Plays KEDA's metrics adapter: the API of external metrics, read from captions proxies or servers at each question.

It answers what a HorizontalPodAutoscaler asks (`external.metrics.k8s.io/v1beta1`): metric `proxies` is the streams that
have a server and those that wait, metric `servers` the slots in use. A reading that fails is an error, and the
autoscaler leaves the size as it is, as with KEDA. Unlike KEDA it asks nobody who they are.
"""

import argparse
import asyncio
import signal
import socket
import ssl
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
from aiohttp import web

from visio_lab.context import CLUSTER_DOMAIN
from visio_operator.runtime.signals import (
    CAPTIONS_PORT,
    PROXY_METRICS_PORT,
    WAITING_METRIC,
    parse_gauge,
    parse_slots,
)

ROOT = "/apis/external.metrics.k8s.io/v1beta1"
STREAMS_METRIC = "visio_captions_streams"
TIMEOUT = aiohttp.ClientTimeout(total=2.0)


async def proxies(session: aiohttp.ClientSession, host: str) -> int:
    """Streams of all captions proxies behind a headless Service, served or waiting."""
    texts = await _texts(session, host, PROXY_METRICS_PORT, "/metrics")
    found = [parse_gauge(text, name) for text in texts for name in (STREAMS_METRIC, WAITING_METRIC)]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        raise ValueError("a proxy does not tell its streams")
    return sum(known)


async def servers(session: aiohttp.ClientSession, host: str) -> int:
    """Slots in use of all captions servers behind a headless Service; none behind it is an error."""
    texts = await _texts(session, host, CAPTIONS_PORT, "/api/modules_info")
    found = [parse_slots(text) for text in texts]
    known = [each[0] for each in found if each is not None]
    if len(known) < len(found):
        raise ValueError("a server does not tell its slots")
    return sum(known)


async def _texts(session: aiohttp.ClientSession, host: str, port: int, path: str) -> list[str]:
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, family=socket.AF_INET, type=socket.SOCK_STREAM)

    async def text(address: str) -> str:
        async with session.get(f"http://{address}:{port}{path}") as response:
            response.raise_for_status()
            return await response.text()

    return list(await asyncio.gather(*(text(str(each[4][0])) for each in found)))


METRICS = {"proxies": (proxies, "captions-proxies"), "servers": (servers, "visio-captions")}
"""Each metric with the Service that it is read from."""


def host_of(service: str, namespace: str) -> str:
    """The name of a Service inside the cluster."""
    return f"{service}.{namespace}.svc.{CLUSTER_DOMAIN}"


def application(session: aiohttp.ClientSession) -> web.Application:
    """The API: what there is, and the value of one metric in one namespace."""

    async def resources(_: web.Request) -> web.Response:
        named = [
            {"name": name, "namespaced": True, "kind": "ExternalMetricValueList", "verbs": ["get"]} for name in METRICS
        ]
        version = ROOT.removeprefix("/apis/")
        return web.json_response(
            {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": named}
        )

    async def value(request: web.Request) -> web.Response:
        name, namespace = request.match_info["metric"], request.match_info["namespace"]
        if name not in METRICS:
            raise web.HTTPNotFound
        read, service = METRICS[name]
        try:
            total = await read(session, host_of(service, namespace))
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise web.HTTPServiceUnavailable(text=str(error)) from None
        item = {
            "metricName": name,
            "metricLabels": {},
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": str(total),
        }
        kind = {"kind": "ExternalMetricValueList", "apiVersion": ROOT.removeprefix("/apis/"), "metadata": {}}
        return web.json_response({**kind, "items": [item]})

    made = web.Application()
    made.router.add_get(ROOT, resources)
    made.router.add_get(ROOT + "/namespaces/{namespace}/{metric}", value)
    return made


async def serve(port: int, certificates: Path) -> None:
    """Serve until SIGTERM, with `tls.crt` and `tls.key` of a folder."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificates / "tls.crt", certificates / "tls.key")
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        runner = web.AppRunner(application(session), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "0.0.0.0", port, ssl_context=context).start()  # noqa: S104 - its own pod's
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
        await stop.wait()
        await runner.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificates", type=Path, required=True)
    arguments = parser.parse_args()
    asyncio.run(serve(arguments.port, arguments.certificates))
