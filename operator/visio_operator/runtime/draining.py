"""What is read only while pods are on their way out: their nodes, the rooms of media servers, agents that collect."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from visio_operator.plan.leaving import Leaving, RoomTimes
from visio_operator.plan.observed import Agent, MediaServer
from visio_operator.workloads.common import Site

from . import agent_signals
from .kube import Kube, KubeError
from .leaving import is_leaving, leaving
from .memory import Memory
from .projections import PART_LABEL, labels_of
from .rooms import read_rooms
from .signals import Broker

Body = dict[str, Any]

_MOST_NODES = 20
"""Nodes that are asked for in one pass."""


@dataclass(frozen=True)
class Drained:
    """What was seen of pods on their way out."""

    leaving: tuple[Leaving, ...]
    rooms: RoomTimes
    collectors: tuple[Agent, ...]


async def look(
    kube: Kube,
    session: aiohttp.ClientSession,
    site: Site,
    broker: Broker | str,
    pods: Mapping[str, Body],
    nodes: Mapping[str, Body],
    media: Iterable[MediaServer],
    secrets: Mapping[str, Body],
    memory: Memory,
    now: float,
) -> Drained:
    """Look at the pods that were told to end; of the others nothing is read. Raises nothing but cancellation."""
    going = {name: pod for name, pod in pods.items() if is_leaving(pod)}
    with_rooms = {server.pod for server in media if server.rooms != 0} & going.keys()
    closed, rooms, collectors = await asyncio.gather(
        _closed_nodes(kube, going.values(), nodes),
        read_rooms(session, site, broker, {name: going[name] for name in sorted(with_rooms)}, secrets, memory, now),
        agent_signals.collectors(session, _of_part(going, "metadata"), memory, now),
    )
    return Drained(leaving(going.values(), closed), rooms, collectors)


def _of_part(pods: Mapping[str, Body], part: str) -> dict[str, Body]:
    return {name: pod for name, pod in pods.items() if labels_of(pod).get(PART_LABEL) == part}


async def _closed_nodes(kube: Kube, pods: Iterable[Body], known: Mapping[str, Body]) -> frozenset[str]:
    """The nodes of these pods that take no more pods; one that may not be looked at counts as open."""
    names = sorted({name for pod in pods if (name := (pod.get("spec") or {}).get("nodeName"))})[:_MOST_NODES]

    async def is_closed(name: str) -> bool:
        try:
            node = known.get(name) or await kube.get("Node", name)
        except KubeError:
            return False
        return node is not None and bool((node.get("spec") or {}).get("unschedulable"))

    closed = await asyncio.gather(*map(is_closed, names))
    return frozenset(name for name, one in zip(names, closed, strict=True) if one)
