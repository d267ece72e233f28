"""The operator as a process: waits for the lease, then runs kopf until it is told to end or loses the lease."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import kopf

from visio_operator.api.spec import GROUP, KIND

from . import log, metrics, signals
from .handlers import Context, registry, settings_for_kopf
from .health import Health, serve
from .kinds import KINDS, Kind
from .kube import Kube, KubeError
from .leader import Leader
from .settings import Settings
from .sweep import sweep

EXIT_LOST_LEASE = 1
STOP_SECONDS = 3.0
"""Time for kopf to stop when the lease is lost; the fence has ended all writes by then."""
GONE_SECONDS = 15.0
"""Time for all else to end then: while a task does not take its cancellation, nobody starts the operator again."""
CRD_RETRY = 3.0


async def run(settings: Settings, kubeconfig: Path | None) -> int:
    """Run until a signal comes (exit code 0) or the lease is lost (1). Raises KubeError when there is no cluster."""
    stop = asyncio.Event()
    _stop_on_signals(stop)
    kube = await Kube.connect(kubeconfig, metrics.count_write)
    health = Health()
    server = await serve(health, settings.port)
    work = asyncio.create_task(_lead(kube, settings, health, stop), name="operator")
    try:
        return await work
    finally:
        await server.cleanup()
        await kube.close()


def _stop_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _lead(kube: Kube, settings: Settings, health: Health, stop: asyncio.Event) -> int:
    leader = Leader(kube, settings.lease_namespace, settings.identity, settings.lease_seconds)
    if not await _unless(stop, _wait_for_turn(kube, leader, health)):
        return 0
    metrics.LEADER.set(1)
    holding = asyncio.create_task(leader.hold(), name="lease")
    session = signals.session()
    try:
        context = Context(kube=kube, session=session, settings=settings)
        watched = await watchable(kube, settings)
        sweeping = asyncio.create_task(sweep(kube, settings.namespaces, context.deleted), name="sweep")
        operating = asyncio.create_task(_operate(context, watched, stop), name="kopf")
        await asyncio.wait({holding, operating}, return_when=asyncio.FIRST_COMPLETED)
        sweeping.cancel()
        if operating.done():
            operating.result()
            return 0
        kube.fence("the lease is lost")
        log.warning("ends: the lease is lost", reason=holding.result())
        exit_within(GONE_SECONDS, EXIT_LOST_LEASE)
        stop.set()
        await asyncio.wait({operating}, timeout=STOP_SECONDS)
        return EXIT_LOST_LEASE
    finally:
        metrics.LEADER.set(0)
        holding.cancel()
        await leader.release()
        await session.close()


def exit_within(seconds: float, code: int) -> None:
    """End the process after so many seconds if it has not ended by then, whatever it does."""
    timer = threading.Timer(seconds, os._exit, (code,))
    timer.daemon = True
    timer.start()


async def _wait_for_turn(kube: Kube, leader: Leader, health: Health) -> None:
    await _wait_for_crd(kube)
    health.ready = True
    await leader.acquire()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do the work, unless the process is told to stop meanwhile; whether it was done."""
    task = asyncio.create_task(work)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if task.done():
        task.result()
        return True
    task.cancel()
    return False


async def _operate(context: Context, watched: tuple[Kind, ...], stop: asyncio.Event) -> None:
    namespaces = context.settings.namespaces
    before = asyncio.all_tasks()
    tasks = await kopf.spawn_tasks(
        registry=registry(context, watched),
        settings=settings_for_kopf(),
        standalone=True,
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=stop,
    )
    # kopf's own handlers fail on a second signal, such as the one that a shell sends to a whole group.
    _stop_on_signals(stop)
    await kopf.run_tasks(tasks, ignored=before)


async def _wait_for_crd(kube: Kube) -> None:
    told = False
    while True:
        try:
            await kube.list(KIND, limit=1)
            return
        except KubeError as error:
            if not error.missing:
                if error.status in (401, 403):
                    return
                raise
        if not told:
            log.warning("waits for its CRD; install it with `visio-operator crd | kubectl apply -f -`", group=GROUP)
            told = True
        await asyncio.sleep(CRD_RETRY)


async def watchable(kube: Kube, settings: Settings) -> tuple[Kind, ...]:
    """Kinds that exist here and that we may list: kopf would end with the first watch that is forbidden.

    The others are still looked at in every pass, so their changes are noticed a little later.
    """

    async def one(kind: Kind) -> bool:
        try:
            if not await kube.serves(kind.name):
                return False
            for namespace in settings.namespaces if kind.namespaced and settings.namespaces else (None,):
                await kube.list(kind.name, namespace=namespace, limit=1)
        except KubeError as error:
            if error.status not in (403, 404, 405):
                raise
            log.warning("may not watch a kind; changes are noticed later", kind=kind.name, reason=error.message)
            return False
        return True

    wanted = [kind for kind in KINDS if "watch" in kind.verbs and kind.name not in (KIND, "VisioRelease")]
    allowed = await asyncio.gather(*(one(kind) for kind in wanted))
    return tuple(kind for kind, ok in zip(wanted, allowed, strict=True) if ok)
