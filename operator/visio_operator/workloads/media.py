"""The ports for media, where they are open, and the address that a media server announces."""

from __future__ import annotations

from dataclasses import dataclass

from visio_operator.api.media import MEDIA_PORTS, Exposure
from visio_operator.api.spec import GROUP
from visio_operator.plan.addresses import is_told
from visio_operator.plan.node_ports import derived

from .common import Manifest, Site, env, env_field

ANNOUNCED = f"{GROUP}/announced-address"
"""Annotation of a media server's pod: the address that it is to announce; it waits until there is one."""
SLOT = f"{GROUP}/media-slot"
"""Label of a media server's pod: the number of its own load balancer."""
SERVER_PORTS = range(7882, 7882 + MEDIA_PORTS)
SERVER_TCP = 7881


@dataclass(frozen=True)
class Media:
    """The ports for media, the same outside and inside, since a server announces the port that it listens on."""

    udp: range
    tcp: int
    exposure: Exposure | None
    """What opens the ports; None while media come through TURN only."""

    @property
    def bound_to_node(self) -> bool:
        """Two servers on one node would take each other's ports or packets."""
        return self.exposure in ("nodePort", "hostNetwork")


def media(site: Site) -> Media:
    """How media reach the servers.

    A Service cannot tell rooms apart, so each server has to be reached under an address of its own. On node ports it is
    that of its node: with the local traffic policy a node hands its packets to the one server that runs on it.
    """
    spec = site.spec.sfu
    count = MEDIA_PORTS if spec.network == "nodePorts" else 1
    if spec.network == "turnTLS":
        return Media(SERVER_PORTS[:1], SERVER_TCP, None)
    if spec.exposure == "nodePort":
        first = first_node_port(site)
        return Media(range(first, first + count), first, "nodePort")
    return Media(SERVER_PORTS[:count], SERVER_TCP, spec.exposure)


def first_node_port(site: Site) -> int:
    """The first node port: as decided, or the one that is asked for or tried first where nothing is decided yet."""
    return site.node_port or site.spec.sfu.node_port or derived(site.namespace, site.name)


def node_address(site: Site) -> list[Manifest]:
    """`NODE_IP`, the address that a server announces; with STUN it asks, and does not start without an answer."""
    given = site.spec.sfu.external_address
    if given is not None and given.discover == "stun":
        return []
    if given is not None and given.address is not None:
        return env({"NODE_IP": given.address})
    if is_told(site.spec.sfu):
        return [env_field("NODE_IP", f"metadata.annotations['{ANNOUNCED}']")]
    return [env_field("NODE_IP", "status.hostIP" if media(site).bound_to_node else "status.podIP")]
