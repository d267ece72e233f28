"""The media servers: how media reach them, which address they announce, and how many there are."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from .fields import MIN_MAX, Duration, Model, Rule, Unique, pattern

HOST_AND_PORT = pattern(
    r"^[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?:"
    r"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])$",
    "use a host and a port, such as stun.example.fr:3478",
)
ADDRESS = pattern(r"^[0-9a-fA-F.:]+$", "use an address such as 192.0.2.10")

NODE_PORTS = range(30_000, 32_768)
"""The range that Kubernetes gives to node ports unless its administrator chose another one."""
MEDIA_PORTS = 8
"""UDP ports of one server with `network: nodePorts`: one reading socket each, so that no single one is the limit."""

Exposure = Literal["nodePort", "loadBalancer", "hostNetwork"]


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


class ExternalAddress(Model):
    """The address that media servers announce to browsers."""

    rules = (
        Rule(
            "!has(self.address) || self.discover == 'hostIP'",
            "address is given, and discover asks for another one",
            "remove one of the two",
            lambda self: self.address is None or self.discover == "hostIP",
            "address",
        ),
        Rule(
            "!has(self.address) || isIP(self.address)",
            "address is no IP address, and LiveKit announces no names",
            "write the address that the name stands for",
            lambda self: self.address is None or _is_address(self.address),
            "address",
        ),
        Rule(
            "self.discover != 'stun' || self.stunServers.size() > 0",
            "discover stun needs STUN servers, and LiveKit would ask foreign ones without a list",
            "name servers of your own in stunServers, or choose nodeExternalIP",
            lambda self: self.discover != "stun" or bool(self.stun_servers),
            "stunServers",
        ),
        Rule(
            "self.discover == 'stun' || self.stunServers.size() == 0",
            "stunServers are asked with discover stun only",
            "set discover to stun, or remove them",
            lambda self: self.discover == "stun" or not self.stun_servers,
            "stunServers",
        ),
    )

    discover: Literal["hostIP", "nodeExternalIP", "stun"] = Field(
        "hostIP",
        description="hostIP: the node's own address. nodeExternalIP: the node's address of type ExternalIP, for clouds "
        "whose public addresses are translated one to one and on no interface. stun: what your STUN servers answer.",
    )
    address: Annotated[str, StringConstraints(pattern=ADDRESS, min_length=2, max_length=45)] | None = Field(
        None, description="One fixed address, for a single server behind a translation of addresses."
    )
    stun_servers: Annotated[
        list[Annotated[str, StringConstraints(pattern=HOST_AND_PORT, max_length=259)]], Field(max_length=8), Unique()
    ] = Field(default=[], description="Your STUN servers as host:port; no other one is ever asked.")


class Sfu(Model):
    """The LiveKit media server."""

    rules = (
        MIN_MAX,
        Rule(
            "!self.hostNetwork || self.network == 'udpMux'",
            "hostNetwork is possible with network udpMux only",
            "set network to udpMux, or hostNetwork to false",
            lambda self: not self.host_network or self.network == "udpMux",
            "hostNetwork",
        ),
        Rule(
            "!self.hostNetwork || !has(self.expose) || self.expose == 'hostNetwork'",
            "hostNetwork contradicts expose",
            "remove hostNetwork",
            lambda self: not self.host_network or self.expose in (None, "hostNetwork"),
            "hostNetwork",
        ),
        Rule(
            "!has(self.nodePort) || (has(self.expose) ? self.expose == 'nodePort'"
            " : self.network != 'turnTLS' && !self.hostNetwork)",
            "nodePort is used with expose nodePort only",
            "set expose to nodePort, or remove nodePort",
            lambda self: self.node_port is None or self.exposure == "nodePort",
            "nodePort",
        ),
        Rule(
            "!has(self.externalAddress) || self.network != 'turnTLS'",
            "externalAddress has no meaning with turnTLS: browsers only ever see the TURN servers, by their host name",
            "remove it",
            lambda self: self.external_address is None or self.network != "turnTLS",
            "externalAddress",
        ),
        Rule(
            "!has(self.externalAddress) || !has(self.externalAddress.address) || self.max == 1",
            "one address stands for one server, since a room lives on one",
            "set min and max to 1, or let the address be discovered",
            lambda self: self.external_address is None or self.external_address.address is None or self.max == 1,
            "externalAddress.address",
        ),
        Rule(
            "!has(self.externalAddress) || has(self.externalAddress.address)"
            " || !has(self.expose) || self.expose != 'loadBalancer'",
            "with expose loadBalancer each server announces the address of its own load balancer",
            "remove externalAddress",
            lambda self: (
                self.external_address is None
                or self.external_address.address is not None
                or self.expose != "loadBalancer"
            ),
            "externalAddress",
        ),
    )

    network: Literal["udpMux", "nodePorts", "turnTLS"] = Field(
        "udpMux",
        description="How media reach the servers: one UDP port each, eight UDP ports each for servers of many cores, "
        "or TURN over TLS on 443 and nothing else.",
    )
    expose: Exposure | None = Field(
        None,
        description="What opens these ports: node ports, a load balancer for each server, or the node's own network, "
        "which PodSecurity `restricted` refuses. With turnTLS it is about the TURN servers. Unset means nodePort, and "
        "loadBalancer with turnTLS.",
    )
    host_network: bool = Field(False, description="Older spelling of `expose: hostNetwork` with udpMux.")
    node_port: Annotated[int, Field(ge=NODE_PORTS[0], le=NODE_PORTS[-1] - MEDIA_PORTS + 1)] | None = Field(
        None,
        description="First node port; unset takes those that namespace and name give, or the next free ones, for good.",
    )
    external_address: ExternalAddress | None = Field(
        None, description="The address that servers announce; unset means the address of the node."
    )
    participants_per_core: Annotated[int, Field(ge=1, le=1000)] = Field(
        25, description="Participants one core carries."
    )
    min: Annotated[int, Field(ge=1, le=200)] = Field(2, description="Servers that always run.")
    max: Annotated[int, Field(ge=1, le=200)] = Field(10, description="Servers that are never exceeded.")
    drain_deadline: Duration | None = Field(
        None, description="Longest wait for rooms to end; unset waits without limit."
    )

    @property
    def exposure(self) -> Exposure:
        """What opens the media ports, with the default filled in."""
        if self.expose is not None:
            return self.expose
        if self.host_network:
            return "hostNetwork"
        return "loadBalancer" if self.network == "turnTLS" else "nodePort"


class Workers(Model):
    """How many replicas each of the queue workers may have: celery-backend, summarize and call-webhook."""

    rules = (MIN_MAX,)

    min: Annotated[int, Field(ge=1, le=100)] = Field(1, description="Replicas that always run.")
    max: Annotated[int, Field(ge=1, le=100)] = Field(4, description="Replicas that are never exceeded.")
