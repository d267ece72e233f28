"""Pods of a deployment, and a Prometheus that knows them or does not."""

from __future__ import annotations

import base64
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web

from builders import DeploymentBuilder, a_deployment
from prometheus_stand_in import PrometheusStandIn, scraped
from visio_operator.runtime import prometheus_signals, signals
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.prometheus_signals import FromPrometheus

OLD = "2026-01-01T00:00:00Z"
SERVING = {"visio-operator.dev/serving": "true"}


def a_pod(name: str, part: str, created: str = OLD, **labels: str) -> dict[str, Any]:
    ready = {"podIP": "127.0.0.1", "phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    metadata = {"name": name, "creationTimestamp": created}
    return {"metadata": {**metadata, "labels": {"app.kubernetes.io/component": part, **labels}}, "status": ready}


CAPTIONS = {name: a_pod(name, "captions", **SERVING) for name in ("visio-captions-a", "visio-captions-b")}
PROXIES = {name: a_pod(name, "subtitles") for name in ("visio-subtitles-a", "visio-subtitles-b")}
MEDIA = {"visio-sfu-0": a_pod("visio-sfu-0", "sfu")}
ALL = {**CAPTIONS, **PROXIES, **MEDIA}


class Objects:
    """As much of a cluster as is asked for: Secrets and ConfigMaps by name."""

    def __init__(self, **objects: dict[str, str]) -> None:
        self.objects = objects

    async def get(self, kind: str, name: str, namespace: str | None = None) -> dict | None:
        found = self.objects.get(name)
        if found is None:
            return None
        encoded = {key: base64.b64encode(value.encode()).decode() for key, value in found.items()}
        return {"data": encoded if kind == "Secret" else found}


@dataclass
class World:
    """A Prometheus, and what one process of the operator remembers."""

    server: PrometheusStandIn
    session: aiohttp.ClientSession
    url: str
    memory: Memory
    started: float

    async def read(
        self, pods: dict[str, Any] = ALL, after: float = 0.0, deployment: DeploymentBuilder | None = None
    ) -> FromPrometheus:
        """One look, so many seconds after the start."""
        site = (deployment or a_deployment()).having(signals={"prometheus": {"url": self.url}}).site()
        at = self.started + after
        return await prometheus_signals.read(Objects(), self.session, site, pods, self.memory, at)  # type: ignore[arg-type]

    def scrape(self, values: dict[str, dict[str, Any]], age: float = 1.0, **target: str) -> None:
        """Add a scrape of each of these pods."""
        for pod, metrics in values.items():
            self.server.series += scraped(pod, time.time() - age, metrics, **target)


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    server = PrometheusStandIn()
    runner = web.AppRunner(server.application(), shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with signals.session() as session:
        yield World(server, session, url, Memory(), time.time())
    await runner.cleanup()


EVERYTHING: dict[str, dict[str, Any]] = {
    "visio-captions-a": {'asr_open_channels{handler="all"}': 7},
    "visio-captions-b": {'asr_open_channels{handler="all"}': 0},
    "visio-subtitles-a": {"visio_captions_waiting_streams": 2, "visio_captions_longest_wait_seconds": 12.5},
    "visio-subtitles-b": {"visio_captions_waiting_streams": 1, "visio_captions_longest_wait_seconds": 3.0},
    "visio-sfu-0": {
        'livekit_room_total{node_id="x"}': 3,
        'livekit_participant_total{node_id="x"}': 17,
        'livekit_packet_total{node_id="x",direction="incoming"}': 1000,
        'livekit_packet_total{node_id="x",direction="outgoing"}': 5000,
        "process_cpu_seconds_total": 12.5,
    },
}
