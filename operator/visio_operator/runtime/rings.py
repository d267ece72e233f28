"""Look at the deployments of earlier rings: what they ask for, what they run and since when. Reads only."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from visio_operator.api import fields
from visio_operator.api.spec import KIND, RELEASE, VisioDeploymentSpec
from visio_operator.api.upgrades import Upgrade
from visio_operator.plan.observed import RingPeer, Workload
from visio_operator.plan.reasons import Reason
from visio_operator.plan.rings import PASSING, RINGS, Ring, rings_before
from visio_operator.workloads.common import Site

from .kube import Kube
from .projections import condition, is_ready, seconds, terminating

Body = Mapping[str, Any]


async def ring_peers(kube: Kube, site: Site, namespaces: Sequence[str]) -> tuple[RingPeer, ...]:
    """The deployments that this one may have to wait for, by namespace and name.

    `namespaces` are those that the operator looks after; empty means all. A deployment that it may not see takes no
    part in rings. Raises KubeError when they cannot be listed: a rung must not start because nobody was seen.
    """
    before = rings_before(site.spec.upgrade.ring)
    if not before:
        return ()
    lists = await asyncio.gather(*(kube.list(KIND, namespace=one) for one in namespaces or (None,)))
    return peers((body for bodies in lists for body in bodies), before, site.uid)


def upgrade_wanted(spec: VisioDeploymentSpec, workloads: Mapping[str, Workload]) -> bool:
    """Whether anything runs another release than the one that is asked for; else nobody has to be waited for."""
    backend = workloads.get("backend")
    if backend is None:
        return False
    # Only what the operator rendered says a release; an API that says none is from before they all did.
    releases = {one.release for one in workloads.values() if one.kind != "Job" and one.release}
    return not backend.release or bool(releases - {spec.version})


def peers(bodies: Iterable[Body], rings: Sequence[Ring], own_uid: str) -> tuple[RingPeer, ...]:
    """Those of the deployments that are in one of the rings; the own one and those on their way out are left out."""
    found = [peer(body) for body in bodies if body["metadata"].get("uid") != own_uid and not terminating(body)]
    return tuple(sorted((one for one in found if one.ring in rings), key=lambda one: (one.namespace, one.name)))


def peer(body: Body) -> RingPeer:
    """What matters of one deployment, also of one whose spec an older operator or a newer CRD let in."""
    spec, status = body.get("spec") or {}, body.get("status") or {}
    upgrade, climbed = spec.get("upgrade") or {}, status.get("upgrade") or {}
    held = condition(body, "UpgradeHeld")
    reason = held.get("reason", "") if held.get("status") == "True" else ""
    return RingPeer(
        namespace=body["metadata"].get("namespace", ""),
        name=body["metadata"]["name"],
        ring=next((ring for ring in RINGS if ring == upgrade.get("ring")), "broad"),
        wanted=_version(spec.get("version")) or "0.0.0",
        # Before all parts have been ready once, it is an installation that is not finished.
        running=_version(climbed.get("from")) if climbed.get("runningSince") else "",
        since=seconds(climbed.get("runningSince")),
        soak=_soak(upgrade),
        ready=is_ready(body),
        stopped=_stopped(spec, upgrade),
        held=reason,
        stuck=bool(reason) and reason not in {passing.value for passing in PASSING | {Reason.PAUSED}},
    )


def _version(text: Any) -> str:
    """A version that can be compared; empty text for anything else."""
    return text if isinstance(text, str) and re.fullmatch(RELEASE, text) else ""


def _stopped(spec: Body, upgrade: Body) -> str:
    if spec.get("emergencyStop"):
        return "spec.emergencyStop"
    return "spec.upgrade.paused" if upgrade.get("paused") else ""


def _soak(upgrade: Body) -> float:
    try:
        return float(fields.seconds(upgrade.get("soak") or Upgrade().soak))
    except ValueError:
        return float(fields.seconds(Upgrade().soak))
