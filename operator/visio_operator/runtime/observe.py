"""Build the snapshot that one decision looks at: lists filtered by our label on the server, and the signals of load."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.plan.observed import Observed, Queue
from visio_operator.plan.pace import Pace
from visio_operator.plan.planners import Planners
from visio_operator.plan.policy import secrets_wanted
from visio_operator.plan.rotation import is_generated
from visio_operator.workloads.common import DEPLOYMENT_LABEL, MANAGED_BY, POOL_LABEL, Site
from visio_operator.workloads.turn import tls_secret

from . import agent_signals, marks, media_signals, pools, preflight_result, projections, signals
from .kinds import RENDERED
from .kube import Kube, KubeError
from .media_addresses import reachable_at, refused_node_ports
from .memory import Memory
from .node_times import gpu_nodes
from .pool_adapter import Seen
from .projections import PART_LABEL, labels_of
from .secret_values import decode
from .signal_status import publish_ages
from .signals import Broker
from .transcription_queue import transcription_queue

Body = dict[str, Any]
Live = Mapping[tuple[str, str], Body]

OURS = f"app.kubernetes.io/managed-by={MANAGED_BY}"
"""Selects what any deployment of the namespace owns, so that a name which another one has is seen before a write."""
WATCHED_PARTS = ("captions", "transcription", "subtitles", "migrate", "preflight", "sfu", "egress")
"""Parts whose pods a decision needs: the signals of load, the end of the migrations, what the preflight found."""


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
    approved: str = "",
) -> Snapshot:
    """Look at everything a decision may use; `approved` is the digest that a user approved. Raises KubeError; a signal
    that cannot be read is no error.
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
    broker = _broker(site, mine, secrets)
    media_pods, egress_pods = dict(_of_part(pods, "sfu")), dict(_of_part(pods, "egress"))
    addresses = await reachable_at(kube, site, media_pods, mine)
    (slots, waiting, busy, queue), (media, recorders, worker_queues, agents) = await asyncio.gather(
        asyncio.gather(
            signals.captions_slots(session, _addresses(pods, "captions"), memory, now),
            signals.waiting_streams(session, _addresses(pods, "subtitles"), memory, now),
            signals.busy_transcribers(session, _addresses(pods, "transcription"), memory, now),
            _queue(site, broker, memory, now),
        ),
        asyncio.gather(
            media_signals.media_servers(session, media_pods, addresses, memory, now),
            media_signals.recorders(session, egress_pods, memory, now),
            media_signals.worker_queues(broker, _workers(mine), memory, now),
            agent_signals.agents(session, dict(_of_part(pods, "subtitles")), memory, now),
        ),
    )
    for gone in memory.metrics.keys() - pods.keys():
        del memory.metrics[gone]
    observed = Observed(
        uid=site.uid,
        namespace=site.namespace,
        name=site.name,
        generation=generation,
        workloads=projections.workloads(mine, pods.values()),
        preflight=preflight_result.preflight(mine, pods.values()),
        # A key without a value is no better than none.
        secret_keys={
            name: frozenset(key for key, value in (body.get("data") or {}).items() if value)
            for name, body in secrets.items()
        },
        bundle_keys=bundle,
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
        agents=agents,
        queue=queue,
        media=media,
        refused_node_ports=refused_node_ports(memory),
        recorders=recorders,
        worker_queues=worker_queues,
        nodes=gpu_nodes(nodes.values(), memory, now),
        pools=pools.read(site, seen_pools),
        planners=memory.planners or Planners(),
        approved=approved,
        memory=dict(memory.plan),
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


async def _bundle(kube: Kube, site: Site) -> frozenset[str] | None:
    """The keys with a value of the ConfigMap that `spec.caBundle` names; None when it does not exist."""
    if site.spec.ca_bundle is None:
        return None
    found = await kube.get("ConfigMap", site.spec.ca_bundle.config_map, site.namespace)
    return None if found is None else frozenset(key for key, value in (found.get("data") or {}).items() if value)


async def _queue(site: Site, broker: Broker | str, memory: Memory, now: float) -> Queue:
    if not site.spec.transcription.enabled:
        return Queue(waiting=0, read_at=now)
    if isinstance(broker, str):
        return Queue(error=broker)
    return await transcription_queue(broker, memory, now)


def _broker(site: Site, mine: Live, secrets: Mapping[str, Body]) -> Broker | str:
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
    return Broker(redis.host or "", redis.port, redis.tls, password, redis.user)


def _workers(mine: Live) -> set[str]:
    """Parts with pods, so that nothing waits for a broker before there is anything to scale."""
    return {labels_of(body).get(PART_LABEL, "") for (kind, _), body in mine.items() if kind == "Deployment"}


def _of_part(pods: Mapping[str, Body], part: str) -> list[tuple[str, Body]]:
    return sorted((name, pod) for name, pod in pods.items() if labels_of(pod).get(PART_LABEL) == part)


def _addresses(pods: Mapping[str, Body], part: str) -> dict[str, str]:
    return projections.running_addresses(pod for _, pod in _of_part(pods, part))
