"""Build the snapshot that one decision looks at: lists filtered by our label on the server, and the signals of load."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.plan.canary import RETRY_NOTE
from visio_operator.plan.observed import Observed, Queue
from visio_operator.plan.pace import Pace
from visio_operator.plan.planners import Planners
from visio_operator.plan.policy import secrets_wanted
from visio_operator.plan.rotation import is_generated
from visio_operator.workloads.common import DEPLOYMENT_LABEL, MANAGED_BY, POOL_LABEL, TRACK_LABEL, Site
from visio_operator.workloads.turn import tls_secret

from . import (
    agent_signals,
    draining,
    marks,
    media_signals,
    pools,
    preflight_result,
    projections,
    prometheus_history,
    prometheus_signals,
    signals,
    trust,
)
from .backup_source import backup_source, pods_of_templates
from .kinds import RENDERED
from .kube import Kube, KubeError
from .media_addresses import reachable_at, refused_node_ports
from .memory import Memory
from .node_times import gpu_nodes
from .pool_adapter import Seen
from .projections import PART_LABEL, labels_of
from .restore_source import restore_source, writers
from .rings import ring_peers, upgrade_wanted
from .secret_values import decode
from .signal_status import publish_ages
from .signals import Broker
from .transcription_queue import transcription_queue

Body = dict[str, Any]
Live = Mapping[tuple[str, str], Body]

OURS = f"app.kubernetes.io/managed-by={MANAGED_BY}"
"""Selects what any deployment of the namespace owns, so that a name which another one has is seen before a write."""
WATCHED_PARTS = (
    "captions", "transcription", "subtitles", "metadata", "migrate", "preflight", "sfu", "egress", "smoke",
)  # fmt: skip
"""Parts whose pods a decision needs: the signals of load, what drains, the end of the migrations, what the preflight
found."""


@dataclass(frozen=True)
class Snapshot:
    """What was seen in one pass."""

    observed: Observed
    live: Live
    """Managed objects of the namespace by kind and name, whole; forgotten after the pass."""
    pods: Mapping[str, Body]
    """Pods of the parts in WATCHED_PARTS by name."""
    nodes: Mapping[str, Body]
    """Nodes of the deployment's pools by name."""
    secrets: Mapping[str, Body]
    """The Secrets that the spec refers to."""
    pools: Mapping[str, Seen] = field(default_factory=dict)
    """What was read of the pools of GPU nodes that have a provider, by their names in the spec."""


async def observe(
    kube: Kube,
    session: aiohttp.ClientSession,
    site: Site,
    generation: int,
    memory: Memory,
    now: float,
    annotations: Mapping[str, str],
    namespaces: Sequence[str] = (),
) -> Snapshot:
    """Look at everything a decision may use; a signal that cannot be read is no error. Raises KubeError.

    `annotations` are those of the VisioDeployment, with what a user approved. `namespaces` are those that the operator
    looks after; empty means all.
    """
    spec = site.spec
    listed, pods, nodes, found_pools, secrets, bundle = await asyncio.gather(
        _live(kube, site.namespace),
        _pods(kube, site),
        _nodes(kube, spec),
        pools.look_up(kube, site),
        _secrets(kube, site),
        _bundle(kube, site),
    )
    mine = {key: body for key, body in listed.items() if labels_of(body).get(DEPLOYMENT_LABEL) == site.name}
    secrets |= await _older_pairs(kube, site, mine, secrets)
    seen_pools = pools.with_cluster(found_pools, site, mine, pods, nodes)
    signals.prune(memory, now)
    broker = _broker(site, mine, secrets, bundle or {}, memory)
    media_pods, egress_pods = dict(_of_part(pods, "sfu")), dict(_of_part(pods, "egress"))
    addresses = await reachable_at(kube, site, media_pods, mine)
    told = await prometheus_signals.read(kube, session, site, pods, memory, now)
    # A canary is judged by counters that Prometheus is not asked for.
    tried = any(TRACK_LABEL in labels_of(pod) for pod in media_pods.values())
    (slots, (waiting, longest), busy, queue), (media, recorders, worker_queues, agents) = await asyncio.gather(
        asyncio.gather(
            signals.captions_slots(session, _addresses(pods, "captions"), memory, now, told.known),
            signals.waiting_streams(session, _addresses(pods, "subtitles"), memory, now, told.known),
            signals.busy_transcribers(session, _addresses(pods, "transcription"), memory, now),
            _queue(site, broker, memory, now),
        ),
        asyncio.gather(
            media_signals.media_servers(
                session, media_pods, addresses, memory, now, frozenset() if tried else told.known
            ),
            media_signals.recorders(session, egress_pods, memory, now, told.known),
            media_signals.worker_queues(broker, _workers(mine), memory, now),
            agent_signals.agents(session, dict(_of_part(pods, "subtitles")), memory, now),
        ),
    )
    for gone in memory.metrics.keys() - pods.keys():
        del memory.metrics[gone]
    drained = await draining.look(
        kube, session, site, broker, pods, nodes, media, livekit_pairs(mine, secrets), memory, now
    )
    workloads = projections.workloads(mine, [*pods.values(), *await pods_of_templates(kube, site, mine)])
    climbs = upgrade_wanted(spec, workloads)
    observed = Observed(
        uid=site.uid,
        namespace=site.namespace,
        name=site.name,
        generation=generation,
        workloads=workloads,
        preflight=preflight_result.preflight(mine, pods.values()),
        # A key without a value is no better than none.
        secret_keys={
            name: frozenset(key for key, value in (body.get("data") or {}).items() if value)
            for name, body in secrets.items()
        },
        bundle_keys=None if bundle is None else frozenset(bundle),
        secret_marks=marks.marks(
            marks.marks_key(site, mine, memory), {name: body.get("data") or {} for name, body in secrets.items()}
        ),
        media_keys=projections.media_keys(pod for _, pod in _of_part(pods, "sfu")),
        captions=tuple(
            projections.captions_server(
                pod, signals.usable(slots.get(name), now), slots[name].at if name in slots else 0.0
            )
            for name, pod in _of_part(pods, "captions")
        ),
        transcribers=tuple(
            projections.transcription_worker(
                pod, busy.get(name), memory.busy_since.get(name), memory.busy_read_at.get(name, 0.0)
            )
            for name, pod in _of_part(pods, "transcription")
        ),
        captions_waiting=waiting,
        captions_waiting_read_at=memory.waiting_read_at,
        captions_longest_wait=longest,
        sources={**told.sources, **prometheus_history.source(site, memory)},
        agents=agents,
        queue=queue,
        media=media,
        refused_node_ports=refused_node_ports(memory),
        recorders=recorders,
        worker_queues=worker_queues,
        nodes=gpu_nodes(nodes.values(), memory, now),
        pools=pools.read(site, seen_pools),
        planners=memory.planners or Planners(),
        approved=annotations.get(projections.APPROVED_PLAN, ""),
        memory=dict(memory.plan),
        backup_source=await backup_source(kube, site) if climbs else None,
        leaving=drained.leaving,
        rooms=drained.rooms,
        collectors=drained.collectors,
        ring_peers=await ring_peers(kube, site, namespaces) if climbs else (),
        approved_upgrade=annotations.get(projections.APPROVED_UPGRADE, ""),
        retry=annotations.get(RETRY_NOTE, ""),
        approved_restore=annotations.get(projections.APPROVED_RESTORE, ""),
        restore_source=await restore_source(kube, site, workloads),
        writers=await writers(kube, site, workloads),
    )
    publish_ages(observed, now, Pace())
    return Snapshot(observed=observed, live=listed, pods=pods, nodes=nodes, secrets=secrets, pools=seen_pools)


async def _live(kube: Kube, namespace: str) -> dict[tuple[str, str], Body]:
    async def one(kind: str) -> list[Body]:
        if not await kube.serves(kind):
            return []
        try:
            return await kube.list(kind, namespace=namespace, selector=OURS)
        except KubeError as error:
            if error.missing and not await kube.serves(kind, refresh=True):
                return []
            raise

    lists = await asyncio.gather(*(one(kind.name) for kind in RENDERED))
    return {
        (kind.name, body["metadata"]["name"]): body
        for kind, bodies in zip(RENDERED, lists, strict=True)
        for body in bodies
    }


async def _pods(kube: Kube, site: Site) -> dict[str, Body]:
    selector = f"{DEPLOYMENT_LABEL}={site.name},{PART_LABEL} in ({','.join(WATCHED_PARTS)})"
    found = await kube.list("Pod", namespace=site.namespace, selector=selector)
    return {pod["metadata"]["name"]: pod for pod in found}


async def _nodes(kube: Kube, spec: VisioDeploymentSpec) -> dict[str, Body]:
    if not spec.gpu_pools:
        return {}
    selector = f"{POOL_LABEL} in ({','.join(sorted(pool.name for pool in spec.gpu_pools))})"
    return {node["metadata"]["name"]: node for node in await kube.list("Node", selector=selector)}


async def _secrets(kube: Kube, site: Site) -> dict[str, Body]:
    names = {wanted.name for wanted in secrets_wanted(site.spec)}
    if site.spec.sfu.network == "turnTLS":
        # Written by cert-manager, or by hand: TURN servers read a renewed certificate only when they start.
        names.add(tls_secret(site))
    return await _read(kube, site, names)


async def _older_pairs(kube: Kube, site: Site, mine: Live, known: Mapping[str, Body]) -> dict[str, Body]:
    """The user's Secrets with LiveKit key pairs that the spec names no more and pods still know."""
    pairs = {pair for body in mine.values() for pair in projections.key_pairs(projections.template_of(body))}
    return await _read(kube, site, {pair for pair in pairs - known.keys() if not is_generated(site.name, pair)})


async def _read(kube: Kube, site: Site, names: Iterable[str]) -> dict[str, Body]:
    wanted = sorted(names)
    found = await asyncio.gather(*(kube.get("Secret", name, site.namespace) for name in wanted))
    return {name: body for name, body in zip(wanted, found, strict=True) if body is not None}


async def _bundle(kube: Kube, site: Site) -> dict[str, str] | None:
    """What has a value in the ConfigMap that `spec.caBundle` names; None when it does not exist."""
    if site.spec.ca_bundle is None:
        return None
    found = await kube.get("ConfigMap", site.spec.ca_bundle.config_map, site.namespace)
    return None if found is None else {key: value for key, value in (found.get("data") or {}).items() if value}


def livekit_pairs(mine: Live, secrets: Mapping[str, Body]) -> dict[str, Body]:
    """Every Secret that may hold a key pair of LiveKit: ours and the user's."""
    return {**{name: body for (kind, name), body in mine.items() if kind == "Secret"}, **secrets}


async def _queue(site: Site, broker: Broker | str, memory: Memory, now: float) -> Queue:
    if not site.spec.transcription.enabled:
        return Queue(waiting=0, read_at=now)
    if isinstance(broker, str):
        return Queue(error=broker)
    return await transcription_queue(broker, memory, now)


def _broker(
    site: Site, mine: Live, secrets: Mapping[str, Body], bundle: Mapping[str, str], memory: Memory
) -> Broker | str:
    """Where the queues are, or why they cannot be read."""
    redis = site.spec.redis
    if redis.embedded is not None:
        secret = mine.get(("Secret", f"{site.name}-redis"), {})
        password = decode(secret.get("data")).get("password")
        if password is None:
            return "the embedded Redis does not exist yet"
        return Broker(f"{site.name}-redis.{site.namespace}.svc", 6379, password=password)
    password = None
    if redis.secret_ref is not None:
        held = decode((secrets.get(redis.secret_ref.name) or {}).get("data"))
        password = held.get(redis.secret_ref.key or "password")
    authorities = None
    if redis.tls and site.spec.ca_bundle is not None:
        try:
            authorities = trust.only(site.spec.ca_bundle, bundle, memory)
        except ValueError as problem:
            return f"{problem}, so Redis cannot be trusted"
    return Broker(redis.host or "", redis.port, redis.tls, password, redis.user, authorities)


def _workers(mine: Live) -> set[str]:
    """Parts with pods, so that nothing waits for a broker before there is anything to scale."""
    return {labels_of(body).get(PART_LABEL, "") for (kind, _), body in mine.items() if kind == "Deployment"}


def _of_part(pods: Mapping[str, Body], part: str) -> list[tuple[str, Body]]:
    return sorted((name, pod) for name, pod in pods.items() if labels_of(pod).get(PART_LABEL) == part)


def _addresses(pods: Mapping[str, Body], part: str) -> dict[str, str]:
    return projections.running_addresses(pod for _, pod in _of_part(pods, part))
