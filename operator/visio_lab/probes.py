"""Startup, readiness and liveness probes, performed for real against a pod's address as a kubelet does."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import aiohttp

Json = dict[str, Any]
Execute = Callable[[Sequence[str]], Awaitable[int]]
"""Runs a command inside the container and gives its exit code."""

SOON_S = 0.25
"""How often a container that is not up yet is asked: the lab does not wait a whole period for the first yes."""


async def succeeds(action: Json, container: Json, address: str, execute: Execute, timeout_s: float) -> bool:
    """Whether one probe, or one lifecycle handler of the same form, succeeds within the time."""
    try:
        async with asyncio.timeout(timeout_s):
            if "httpGet" in action:
                return await _http_get(action["httpGet"], container, address)
            if "exec" in action:
                return await execute(action["exec"]["command"]) == 0
            if "sleep" in action:
                await asyncio.sleep(float(action["sleep"]["seconds"]))
                return True
            # A gRPC health service is asked only whether it listens: no program of the lab has one.
            target = action.get("tcpSocket") or action["grpc"]
            host, port = target.get("host") or address, port_number(target["port"], container)
            _, writer = await asyncio.open_connection(host, port)
            writer.close()
            return True
    except (OSError, TimeoutError, aiohttp.ClientError, KeyError):
        return False


async def _http_get(action: Json, container: Json, address: str) -> bool:
    host, port = action.get("host") or address, port_number(action["port"], container)
    path = "/" + (action.get("path") or "/").lstrip("/")
    headers = {each["name"]: each["value"] for each in action.get("httpHeaders") or []}
    url = f"{(action.get('scheme') or 'HTTP').lower()}://{host}:{port}{path}"
    connector = aiohttp.TCPConnector(ssl=False, force_close=True)
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(url, headers=headers, allow_redirects=False) as response,
    ):
        return 200 <= response.status < 400


def port_number(port: int | str, container: Json) -> int:
    """A probe's port, looked up by name among the container's ports. Raises KeyError for a name that is not there."""
    if isinstance(port, int) or port.isdigit():
        return int(port)
    for each in container.get("ports") or []:
        if each.get("name") == port:
            return int(each["containerPort"])
    raise KeyError(port)


class Prober:
    """The probes of one running container: sets `started` and `ready`; `watch` returns when it must be killed."""

    def __init__(self, container: Json, address: str, execute: Execute, changed: Callable[[], None]) -> None:
        self.container = container
        self.address = address
        self.execute = execute
        self.changed = changed
        self.started = "startupProbe" not in container
        self.ready = self.started and "readinessProbe" not in container

    async def watch(self) -> str:
        """Probe until the container must be restarted, for ever otherwise; returns the reason in one line."""
        if startup := self.container.get("startupProbe"):
            if not await self._startup(startup):
                return "startup probe failed"
            self.started = True
            self.ready = "readinessProbe" not in self.container
            self.changed()
        readiness, liveness = (self.container.get(kind) for kind in ("readinessProbe", "livenessProbe"))
        reading = asyncio.create_task(self._readiness(readiness)) if readiness else None
        try:
            if liveness:
                await self._liveness(liveness)
                return "liveness probe failed"
            await asyncio.Event().wait()
        finally:
            if reading:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading
        return "not reached"

    async def _ask(self, probe: Json) -> bool:
        return await succeeds(
            probe, self.container, self.address, self.execute, float(probe.get("timeoutSeconds") or 1)
        )

    async def _startup(self, probe: Json) -> bool:
        period = float(probe.get("periodSeconds") or 10)
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        deadline = time.monotonic() + period * int(probe.get("failureThreshold") or 3)
        while not await self._ask(probe):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(min(period, SOON_S))
        return True

    async def _readiness(self, probe: Json) -> None:
        period = float(probe.get("periodSeconds") or 10)
        needed, allowed = int(probe.get("successThreshold") or 1), int(probe.get("failureThreshold") or 3)
        successes = failures = 0
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        while True:
            if await self._ask(probe):
                successes, failures = successes + 1, 0
            else:
                successes, failures = 0, failures + 1
            ready = successes >= needed or (self.ready and failures < allowed)
            if ready != self.ready:
                self.ready = ready
                self.changed()
            await asyncio.sleep(period if self.ready else min(period, SOON_S))

    async def _liveness(self, probe: Json) -> None:
        failures, allowed = 0, int(probe.get("failureThreshold") or 3)
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        while failures < allowed:
            await asyncio.sleep(float(probe.get("periodSeconds") or 10))
            failures = 0 if await self._ask(probe) else failures + 1
