"""Everything that kopf knows of us: wakers for events and one daemon for each deployment.

Level-triggered: an event only wakes, and the pass that follows looks at everything. Wakers cannot fail, since kopf
drops events whose handler does; the daemon never returns by itself, since kopf would not start it again
(facts/operators.md 3).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import kopf
from kopf import DaemonStoppingReason

from visio_operator.api.spec import GROUP, PLURAL, VERSION
from visio_operator.workloads.common import DEPLOYMENT_LABEL, POOL_LABEL

from . import log, metrics
from .kinds import RENDERED, Kind
from .kube import Kube, KubeError
from .memory import Memory
from .observe import WATCHED_PARTS
from .pool_cluster_api import DEPLOYMENT_NAME
from .projections import PART_LABEL
from .reconcile import Ref, Result, reconcile, report_failure
from .settings import Settings
from .sweep import give_back

DEBOUNCE = 0.02
"""Seconds in which events that come together are answered by one pass."""
FIRST_BACKOFF, LONGEST_BACKOFF = 1.0, 60.0
REPORT_AFTER = 3
"""Failed passes in a row after which status says so; one lost connection is no news."""
EXIT_SECONDS = 8.0
"""Time for a pass to end, and for pools to be given back, when a deployment is deleted or the process ends."""


@dataclass
class Waker:
    """The alarm clock of one deployment."""

    event: asyncio.Event = field(default_factory=asyncio.Event)
    """Something of it changed."""
    urgent: asyncio.Event = field(default_factory=asyncio.Event)
    """Its spec changed, or it ends: not even the pause after a failure is waited for."""
    pools: frozenset[str] = frozenset()


@dataclass
class Context:
    """What handlers share."""

    kube: Kube
    session: aiohttp.ClientSession
    settings: Settings
    wakers: dict[Ref, Waker] = field(default_factory=dict)
    deleted: asyncio.Event = field(default_factory=asyncio.Event)
    """A deployment has gone: pools may be left without an owner."""

    def wake(self, ref: Ref, *, urgent: bool = False) -> None:
        """Wake one deployment."""
        if waker := self.wakers.get(ref):
            waker.event.set()
            if urgent:
                waker.urgent.set()

    def wake_pool(self, pool: str) -> None:
        """Wake the deployments that use a pool."""
        for waker in self.wakers.values():
            if pool in waker.pools:
                waker.event.set()


class _NoDiffs(kopf.DiffBaseStorage):
    """Nothing to compare an object with: no handler of ours asks what changed, and kopf copies each whole for it."""

    def build(self, *, body: kopf.Body, extra_fields: Iterable[Any] | None = None) -> kopf.BodyEssence:
        """Nothing of the object."""
        del body, extra_fields
        return kopf.BodyEssence()

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence:
        """Nothing was kept."""
        del body
        return kopf.BodyEssence()

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Keeps nothing."""
        del body, patch, essence


def registry(context: Context, kinds: tuple[Kind, ...]) -> kopf.OperatorRegistry:
    """All handlers; `kinds` are those that can be watched here."""
    found = kopf.OperatorRegistry()
    kopf.on.startup(registry=found)(_configure)
    kopf.on.login(registry=found, retries=5, backoff=2)(_login(context))
    kopf.on.event(GROUP, VERSION, PLURAL, registry=found, id="deployment")(_deployment_waker(context))
    kopf.daemon(GROUP, VERSION, PLURAL, registry=found, id="loop", cancellation_timeout=3.0)(_loop(context))
    for kind in kinds:
        waker = _pool_waker(context) if kind.name == "Node" or kind.provider else _owned_waker(context)
        kopf.on.event(kind.group, kind.version, kind.plural, registry=found, id=kind.resource)(waker)
    return found


def settings_for_kopf() -> kopf.OperatorSettings:
    """Settings that differ from kopf's defaults, each for a reason in facts/operators.md 3."""
    settings = kopf.OperatorSettings()
    settings.persistence.finalizer = f"{GROUP}/operator"
    settings.networking.request_timeout = 20
    settings.posting.enabled = False
    settings.persistence.diffbase_storage = _NoDiffs()
    # Waits for the loop itself to end, so that kopf neither polls nor touches the object with an annotation.
    settings.background.instant_exit_timeout = EXIT_SECONDS
    settings.process.ultimate_exiting_timeout = 30
    settings.scanning.disabled = True
    selectors = settings.watching.label_selectors
    for kind in RENDERED:
        selectors[kind.group, kind.version, kind.plural] = DEPLOYMENT_LABEL
    selectors["", "v1", "pods"] = f"{DEPLOYMENT_LABEL},{PART_LABEL} in ({','.join(WATCHED_PARTS)})"
    selectors["", "v1", "nodes"] = POOL_LABEL
    return settings


def _configure(**_: Any) -> None:
    log.info("watches")


def _login(context: Context) -> Any:
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await context.kube.connection()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_path,
            insecure=found.insecure,
            certificate_path=found.certificate_path,
            private_key_path=found.key_path,
            scheme="Bearer" if found.token else None,
            token=found.token,
            username=found.username,
            password=found.password,
            proxy_url=found.proxy,
        )

    return login


def _deployment_waker(context: Context) -> Any:
    seen: dict[Ref, tuple[Any, ...]] = {}

    async def wake_deployment(event: Mapping[str, Any], **_: Any) -> None:
        meta = (event.get("object") or {}).get("metadata") or {}
        ref = Ref(meta.get("namespace", ""), meta.get("name", ""))
        if event.get("type") == "DELETED":
            seen.pop(ref, None)
            context.deleted.set()
        else:
            # What we write ourselves, status and finalizer, changes none of these.
            mark = (meta.get("uid"), meta.get("generation"), str(meta.get("annotations")))
            if seen.get(ref) == mark:
                return
            seen[ref] = mark
        context.wake(ref, urgent=True)

    return wake_deployment


def _owned_waker(context: Context) -> Any:
    async def wake_owner(event: Mapping[str, Any], **_: Any) -> None:
        meta = (event.get("object") or {}).get("metadata") or {}
        name = (meta.get("labels") or {}).get(DEPLOYMENT_LABEL)
        if name:
            context.wake(Ref(meta.get("namespace", ""), name))

    return wake_owner


def _pool_waker(context: Context) -> Any:
    async def wake_users(event: Mapping[str, Any], **_: Any) -> None:
        body = event.get("object") or {}
        meta = body.get("metadata") or {}
        labels = meta.get("labels") or {}
        context.wake_pool(labels.get(POOL_LABEL) or labels.get(DEPLOYMENT_NAME) or meta.get("name", ""))

    return wake_users


def _loop(context: Context) -> Any:
    async def loop(namespace: str | None, name: str | None, stopped: kopf.DaemonStopped, **_: Any) -> None:
        ref = Ref(namespace or "", name or "")
        waker = context.wakers[ref] = Waker()
        stop = asyncio.create_task(_until(stopped, waker), name=f"end of {ref}")
        metrics.DEPLOYMENTS.inc()
        try:
            await _passes(context, ref, waker, stopped)
        finally:
            metrics.DEPLOYMENTS.dec()
            metrics.set_signals(str(ref), {})
            metrics.set_drains(str(ref), {})
            metrics.set_panic(str(ref), None)
            stop.cancel()
            if context.wakers.get(ref) is waker:
                del context.wakers[ref]
        reason = stopped.reason
        if reason is not None and DaemonStoppingReason.RESOURCE_DELETED in reason:
            await give_back(context.kube, str(ref))
            context.deleted.set()

    return loop


async def _until(stopped: kopf.DaemonStopped, waker: Waker) -> None:
    await stopped.wait()
    waker.event.set()
    waker.urgent.set()


async def _passes(context: Context, ref: Ref, waker: Waker, stopped: kopf.DaemonStopped) -> None:
    memory = Memory()
    while not stopped:
        waker.event.clear()
        waker.urgent.clear()
        result = await _one_pass(context, ref, memory)
        if result is None:
            memory.failures += 1
            pause = FIRST_BACKOFF * 2.0 ** min(memory.failures - 1, 10)
            await _wait(waker.urgent, min(LONGEST_BACKOFF, pause))
            continue
        memory.failures = 0
        waker.pools = result.pools
        await _wait(waker.event, max(0.1, result.recheck_after))
        if not stopped:
            await asyncio.sleep(DEBOUNCE)


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def _one_pass(context: Context, ref: Ref, memory: Memory) -> Result | None:
    """One pass, whatever happens in it; None when it failed."""
    try:
        settings = context.settings
        result = await reconcile(context.kube, context.session, ref, memory, settings.pace, settings.namespaces)
        if result is None:
            return Result(recheck_after=LONGEST_BACKOFF)
        kind = "failed" if result.errors else "changed" if result.changed else "steady"
        metrics.PASSES.labels(kind).inc()
        return result
    except KubeError as error:
        metrics.PASSES.labels("failed").inc()
        log.warning("a pass failed", deployment=ref, error=error.message)
        await _say(context, ref, memory, "ApiServerError", error.message)
    except Exception as error:  # the loop must outlive whatever one deployment brings about
        metrics.PASSES.labels("failed").inc()
        log.failure("a pass failed unexpectedly", error, deployment=ref)
        await _say(context, ref, memory, "InternalError", f"{type(error).__name__}; see the operator's log")
    return None


async def _say(context: Context, ref: Ref, memory: Memory, reason: str, message: str) -> None:
    if memory.failures + 1 < REPORT_AFTER:
        return
    with suppress(KubeError):
        await report_failure(context.kube, ref, reason, f"{message}; tried again every minute", memory)
