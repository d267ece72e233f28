"""What the planners have learned, kept in a ConfigMap of the deployment: six weeks at five-minute grain, some 20 kB.

It is read once, when a process first looks after a deployment, and written when there is something new, at most every
five minutes, and at once when captions get into a panic or out of it. Losing it costs nothing but what a new deployment
lacks as well: a forecast.
"""

from __future__ import annotations

import json

from visio_operator.plan.errors import BUCKET
from visio_operator.plan.observed import Observed
from visio_operator.plan.pace import Pace
from visio_operator.plan.planners import Planners
from visio_operator.workloads.common import DEPLOYMENT_LABEL, Manifest, Site, metadata

from . import log
from .kube import Kube, KubeError
from .memory import Memory

PART = "forecast"
KEY = "planners.json"
LARGEST = 900_000
"""Bytes; the API server takes a mebibyte, and what is larger was not written by us."""
IDLE = 6 * 3600.0
"""Seconds between two writes while nobody uses captions or transcription: a steady deployment causes no writes."""


async def read_planners(kube: Kube, site: Site) -> tuple[Planners, bool]:
    """What was kept and True, or planners that know nothing. Raises KubeError when the API server cannot be asked."""
    planners = Planners()
    found = await kube.get("ConfigMap", metadata(site, PART)["name"], site.namespace)
    text = ((found or {}).get("data") or {}).get(KEY)
    if text is None:
        return planners, False
    try:
        if len(text) > LARGEST:
            raise ValueError(f"it has {len(text)} bytes")
        planners.restore(json.loads(text))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        log.warning("ignores the kept forecast", deployment=site.name, problem=f"{type(error).__name__}: {error}"[:200])
        return Planners(), False
    return planners, True


async def keep_planners(
    kube: Kube, site: Site, planners: Planners, observed: Observed, memory: Memory, now: float, pace: Pace
) -> None:
    """Write what was learned when it is time to. What cannot be written is tried again with the next new thing."""
    busy = any(server.used for server in observed.captions) or any(w.busy for w in observed.transcribers)
    memory.learned = memory.learned or busy or bool(observed.captions_waiting or observed.queue.waiting)
    since, panic = now - memory.kept_at, planners.captions.panic.since is not None
    if since < (BUCKET / pace.speed if memory.learned else IDLE) and panic == memory.kept_panic:
        return
    memory.kept_at, memory.learned, memory.kept_panic = now, False, panic
    try:
        await kube.apply(manifest(site, planners))
        memory.kept = True
    except KubeError as error:
        log.warning("could not keep the forecast", deployment=site.name, problem=str(error))


def manifest(site: Site, planners: Planners) -> Manifest:
    """The ConfigMap. It is no part of the plan, so it has no label by which superfluous objects are found."""
    meta = metadata(site, PART)
    meta["labels"] = {DEPLOYMENT_LABEL: site.name}
    text = json.dumps(planners.state(), separators=(",", ":"), sort_keys=True)
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {KEY: text}}
