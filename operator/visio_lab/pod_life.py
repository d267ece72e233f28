"""The life of one process pod: network, containers in the kubelet's order, status, and its end."""

import asyncio
import contextlib
import logging
import shutil
import time
from typing import Any

import aiohttp

from visio_lab.api import Api, ApiError
from visio_lab.container_env import ConfigError, mounted_objects
from visio_lab.container_process import Container, Launch, Runner, now, play
from visio_lab.context import LabContext, node_address
from visio_lab.pod_config import prepare
from visio_lab.pod_status import pod_status
from visio_lab.sandbox import Addresses, Sandbox, SandboxError, close_sandbox, open_sandbox

Json = dict[str, Any]

RETRY_S = 0.5
DEBOUNCE_S = 0.02
POLL_S = 0.01
REFRESH_S = 1.0
"""How long after a change volumes follow; a kubelet takes up to a minute or so."""

_log = logging.getLogger(__name__)


class PodLife:
    """One pod on a node of the lab: `run` is its whole life, `see` and `vanish` bring what the watch says."""

    def __init__(self, ctx: LabContext, api: Api, addresses: Addresses, pod: Json) -> None:
        self.ctx = ctx
        self.api = api
        self.addresses = addresses
        self.pod = pod
        self.metadata: Json = pod["metadata"]
        self.path = f"/api/v1/namespaces/{self.metadata['namespace']}/pods/{self.metadata['name']}"
        self.directory = ctx.directory / "pods" / self.metadata["uid"]
        self.changed = asyncio.Event()
        self.ending = asyncio.Event()
        self.gone = False
        self.grace_s: float | None = None
        self.deadline = 0.0
        self.started_at = now()
        self.init = [Container(each, self.changed.set) for each in pod["spec"].get("initContainers") or []]
        self.main = [Container(each, self.changed.set) for each in pod["spec"]["containers"]]
        self.sandbox: Sandbox | None = None
        self.runner: Runner | None = None
        self.launches: dict[str, Launch] = {}
        self.mounted = mounted_objects(pod)
        self.refreshing: asyncio.Task[None] | None = None
        self.stale = False
        self.runs: dict[str, asyncio.Task[None]] = {}

    def see(self, pod: Json) -> None:
        """The pod's object has changed; it may be on its way out."""
        before, self.pod = self.pod["metadata"], pod
        if pod["spec"].get("readinessGates"):
            self.changed.set()
        if any(before.get(each) != pod["metadata"].get(each) for each in ("labels", "annotations")):
            self.refresh()
        if "deletionTimestamp" in pod["metadata"]:
            self._end(float(pod["metadata"].get("deletionGracePeriodSeconds") or 0))

    def refresh(self) -> None:
        """Something that the pod's volumes show has changed: write them again soon, once they have been written."""
        self.stale = True
        if self.launches and (self.refreshing is None or self.refreshing.done()):
            self.refreshing = asyncio.create_task(self._refresh())

    async def _refresh(self) -> None:
        while self.stale:
            await asyncio.sleep(REFRESH_S)
            self.stale = False
            # What has become incomplete stays as it is, as a kubelet leaves it.
            with contextlib.suppress(ConfigError, ApiError, aiohttp.ClientError):
                await self._read()

    def _end(self, grace_s: float) -> None:
        """Begin the end; a second deletion with another grace period moves its deadline."""
        if grace_s != self.grace_s:
            self.grace_s, self.deadline = grace_s, time.monotonic() + grace_s
        self.ending.set()

    def vanish(self) -> None:
        """The pod's object is gone, as when its node was taken back: no grace."""
        self.gone = True
        self._end(0.0)
        for container in [*self.init, *self.main]:
            container.kill()

    async def run(self) -> None:
        """From the binding to a node until nothing of the pod is left."""
        reporting = asyncio.create_task(self._report())
        living = asyncio.create_task(self._live())
        ending = asyncio.create_task(self.ending.wait())
        try:
            await asyncio.wait({living, ending}, return_when=asyncio.FIRST_COMPLETED)
            await ending
        finally:
            living.cancel()
            await asyncio.wait([living])
            if not living.cancelled() and (error := living.exception()):
                _log.error("pod %s: %s: %s", self.path, type(error).__name__, error)
            await self._stop()
            reporting.cancel()
            for task in [*self.runs.values(), *([self.refreshing] if self.refreshing else [])]:
                task.cancel()
            if self.sandbox:
                await close_sandbox(self.sandbox)
                self.addresses.give_back(self.sandbox.address)
            shutil.rmtree(self.directory, ignore_errors=True)
        if not self.gone:
            await self._delete()

    async def _live(self) -> None:
        """Bring the containers up: init containers and sidecars one after the other, then all others."""
        self.sandbox = await self._open()
        self.changed.set()
        await self._prepare()
        self.runner = Runner(self.ctx, self.sandbox, self.pod, self.directory)
        policy = self.pod["spec"].get("restartPolicy", "Always")
        for container in self.init:
            if container.name not in self.launches:
                play(container, ends=not container.is_sidecar)
            elif container.is_sidecar:
                self._start(self.runner, container, "Always")
                while not container.is_started:
                    await asyncio.sleep(POLL_S)
            else:
                await self._start(self.runner, container, "Never" if policy == "Never" else "OnFailure")
                if not container.has_succeeded:
                    return
        for container in self.main:
            if container.name in self.launches:
                self._start(self.runner, container, policy)
            else:
                play(container, ends=False)

    def _start(self, runner: Runner, container: Container, policy: str) -> "asyncio.Task[None]":
        task = asyncio.create_task(runner.run(container, lambda: self._launch(container), policy))
        self.runs[container.name] = task
        return task

    async def _launch(self, container: Container) -> Launch:
        """How to start a container now: with the Secrets and ConfigMaps of now when it has run before."""
        while container.restarts:
            try:
                await self._read()
                break
            except (ConfigError, ApiError, aiohttp.ClientError) as error:
                container.set_state("waiting", reason="CreateContainerConfigError", message=str(error))
                await asyncio.sleep(RETRY_S)
        return self.launches[container.name]

    async def _open(self) -> Sandbox:
        while True:
            address = self.addresses.take()
            try:
                return await open_sandbox(address, self.ctx.node_ip)
            except SandboxError as error:
                self.addresses.give_back(address)
                self._wait("ContainerCreating", str(error))
                await asyncio.sleep(RETRY_S)

    async def _prepare(self) -> None:
        """Read what the pod refers to and write its files, again until everything is there."""
        while True:
            self.stale = False
            try:
                await self._read()
            except (ConfigError, ApiError, aiohttp.ClientError) as error:
                self._wait("CreateContainerConfigError", str(error))
                await asyncio.sleep(RETRY_S)
            else:
                if self.stale:
                    self.refresh()
                return

    async def _read(self) -> None:
        """Read what the pod refers to now, and write its files."""
        assert self.sandbox is not None
        addressed = {**self.pod, "status": {"podIP": self.sandbox.address, "hostIP": self.host_ip}}
        self.launches = await prepare(self.ctx, self.api, addressed, self.directory)

    @property
    def host_ip(self) -> str:
        """The address of the pod's node.

        A pod in its node's network has a network of its own all the same, since all nodes of the lab share one: its
        address stands for that of its node.
        """
        if self.sandbox and self.pod["spec"].get("hostNetwork"):
            return self.sandbox.address
        return node_address(self.pod["spec"].get("nodeName", ""))

    def _wait(self, reason: str, message: str) -> None:
        """Say in the status of every container what the pod waits for."""
        for container in [*self.init, *self.main]:
            if container.state.get("waiting", {}).get("message") != message:
                container.set_state("waiting", reason=reason, message=message)

    async def _stop(self) -> None:
        """End the main containers together, then the sidecars from the last to the first, within one grace period."""
        if not self.runner:
            return
        sidecars = [each for each in self.init if each.is_sidecar]
        together = [*self.main, *(each for each in self.init if not each.is_sidecar)]
        for group in (together, *([each] for each in reversed(sidecars))):
            await asyncio.gather(
                *(self.runner.stop(each, lambda: self.deadline) for each in group if each.name in self.runs)
            )

    async def _delete(self) -> None:
        """Let the API server forget the pod, as a kubelet does once nothing runs any more."""
        with contextlib.suppress(aiohttp.ClientError, OSError, ApiError):
            await self._write_status()
        while True:
            try:
                await self.api.delete(self.path, uid=self.metadata["uid"], grace_s=0)
            except (aiohttp.ClientError, OSError, ApiError):
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _report(self) -> None:
        """Write the status after each change; several changes at once are one write."""
        while True:
            await self.changed.wait()
            await asyncio.sleep(DEBOUNCE_S)
            self.changed.clear()
            try:
                await self._write_status()
            except (aiohttp.ClientError, OSError, ApiError) as error:
                if not (isinstance(error, ApiError) and error.status in (404, 409)):
                    self.changed.set()
                await asyncio.sleep(RETRY_S)

    async def _write_status(self) -> None:
        status = pod_status(
            self.pod,
            self.init,
            self.main,
            started_at=self.started_at,
            node_ip=self.host_ip,
            pod_ip=self.sandbox.address if self.sandbox else None,
        )
        # The uid keeps the status of a deleted pod away from a new one of the same name.
        await self.api.patch(f"{self.path}/status", {"metadata": {"uid": self.metadata["uid"]}, "status": status})
