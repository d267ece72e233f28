"""Where the world finds each media server: the address of its node or of its own load balancer, and the node ports."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any

from visio_operator.plan.addresses import has_own_balancer, is_told
from visio_operator.workloads.common import Site, object_name
from visio_operator.workloads.media import ANNOUNCED, SLOT

from .kube import Kube, KubeError
from .memory import Memory
from .projections import annotations_of, labels_of

Body = Mapping[str, Any]

_REFUSED_PORT = re.compile(r"nodePort: Invalid value: (\d+): provided port is")
"""Allocated already, or out of the range that the cluster's administrator chose (kubernetes, portallocator)."""


async def reachable_at(
    kube: Kube, site: Site, pods: Mapping[str, Body], live: Mapping[tuple[str, str], Body]
) -> dict[str, str]:
    """The addresses of the media servers that still have to be told theirs, by pod; one that is unknown is missing.

    Nodes are only read for these, so a deployment at rest asks for none.
    """
    if not is_told(site.spec.sfu):
        return {}
    untold = {name: pod for name, pod in pods.items() if not annotations_of(pod).get(ANNOUNCED)}
    if has_own_balancer(site.spec.sfu):
        found = {
            name: balancer_address(live.get(("Service", object_name(site, f"sfu-media-{slot}"))))
            for name, pod in untold.items()
            if (slot := labels_of(pod).get(SLOT))
        }
    else:
        places = {name: (pod.get("spec") or {}).get("nodeName") or "" for name, pod in untold.items()}
        nodes = sorted({node for node in places.values() if node})
        read = dict(zip(nodes, await asyncio.gather(*(_node_address(kube, node) for node in nodes)), strict=True))
        found = {name: read.get(node, "") for name, node in places.items()}
    return {name: address for name, address in found.items() if address}


def balancer_address(service: Body | None) -> str:
    """The IP address of a load balancer; empty while it has none, or a host name only: LiveKit announces no names."""
    entries = ((service or {}).get("status") or {}).get("loadBalancer", {}).get("ingress") or ()
    return next((entry["ip"] for entry in entries if entry.get("ip")), "")


def external_address(node: Body | None) -> str:
    """The node's address of type ExternalIP, IPv4 before IPv6; empty when it has none."""
    listed = ((node or {}).get("status") or {}).get("addresses") or ()
    external = [entry.get("address", "") for entry in listed if entry.get("type") == "ExternalIP"]
    return next((address for address in external if ":" not in address), next(iter(external), ""))


def refused_node_ports(memory: Memory) -> frozenset[int]:
    """The node ports that the API server refused lately; they are forgotten once it has given others."""
    refused = (entry.message for (kind, _), entry in memory.attempts.refused.items() if kind == "Service")
    found = {int(port) for message in refused for port in _REFUSED_PORT.findall(message)}
    memory.refused_node_ports = memory.refused_node_ports | found if found else set()
    return frozenset(memory.refused_node_ports)


async def _node_address(kube: Kube, name: str) -> str:
    try:
        return external_address(await kube.get("Node", name))
    except KubeError as error:
        # An operator that may see one namespace only may not read nodes: the server waits, and the status says so.
        if error.status == 403:
            return ""
        raise
