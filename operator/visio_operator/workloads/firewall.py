"""The flow matrix as a firewall's administrator reads it: what comes in, what stays inside, what goes out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from visio_operator.plan.order import part_set
from visio_operator.plan.plan import Release

from .common import Site
from .connections import Endpoint
from .flows import ANYONE, DNS, OPERATOR, PROMETHEUS, PUBLIC, WORLD, Flow, Ports, flows
from .media import first_node_port, media
from .turn import TURN_PORT, turn_host

INTERNET = "internet"
_CHECKS = ("preflight", "smoke")
"""Jobs that run for a moment only."""


@dataclass(frozen=True)
class Opening:
    """One line for a firewall."""

    zone: Literal["public", "cluster", "outside"]
    """public: from browsers to the platform. cluster: between pods. outside: from the platform to servers elsewhere."""
    source: str
    target: str
    protocol: str
    ports: str
    """One port, or the first and the last one; `any` for all."""
    purpose: str


def openings(site: Site, release: Release) -> tuple[Opening, ...]:
    """Everything that has to be open for a deployment of this spec, each line once, public side first."""
    present = {*part_set(site.spec), *_CHECKS}
    matrix = [flow for flow in flows(site) if _is_there(flow, present)]
    found = (
        *_public(site),
        *(line for flow in matrix if not _leaves(flow) for line in _lines("cluster", flow, _name(flow.target))),
        *(line for flow in matrix if _leaves(flow) for line in _lines("outside", flow, _outside(site, flow))),
        *_allowed(site),
        *_registries(release),
    )
    return tuple(dict.fromkeys(found))


def _is_there(flow: Flow, present: set[str]) -> bool:
    sources = {*present, ANYONE, OPERATOR, PROMETHEUS}
    return flow.source in sources and (_leaves(flow) or flow.target == DNS or flow.target in present)


def _leaves(flow: Flow) -> bool:
    return isinstance(flow.target, Endpoint) or flow.target in (PUBLIC, WORLD)


def _name(target: str | Endpoint) -> str:
    if isinstance(target, Endpoint):
        return target.host
    return "cluster DNS" if target == DNS else target


def _outside(site: Site, flow: Flow) -> str:
    if flow.target == PUBLIC:
        return f"{site.spec.host}, {site.spec.livekit_public_host}"
    return "any address" if flow.target == WORLD else _name(flow.target)


def _lines(zone: Literal["cluster", "outside"], flow: Flow, target: str) -> Iterator[Opening]:
    source = {ANYONE: "gateway and load balancers", OPERATOR: "visio-operator"}.get(flow.source, flow.source)
    for ports in flow.ports:
        yield Opening(zone, source, target, ports.protocol, _written(ports), flow.reason)


def _written(ports: Ports) -> str:
    if not ports.first:
        return "any"
    return f"{ports.first}-{ports.last}" if ports.last > ports.first else str(ports.first)


def _public(site: Site) -> Iterator[Opening]:
    """What browsers have to reach."""
    hosts = f"load balancer of the gateway ({site.spec.host}, {site.spec.livekit_public_host})"
    yield Opening("public", INTERNET, hosts, "TCP", "443", "pages, API and LiveKit's signalling")
    yield Opening("public", INTERNET, hosts, "TCP", "80", "redirect to https; certificates by HTTP challenge")
    ports, spec = media(site), site.spec.sfu
    if ports.exposure is None:
        target = {
            "loadBalancer": f"load balancer of {site.name}-turn",
            "hostNetwork": "nodes that run TURN servers",
            "nodePort": f"your load balancer, which hands it to TCP {first_node_port(site)} of the nodes",
        }[spec.exposure]
        name = f"{target} ({turn_host(site)})"
        yield Opening("public", INTERNET, name, "TCP", str(TURN_PORT), "media by TURN over TLS")
        return
    target = {
        "nodePort": "nodes that run media servers",
        "loadBalancer": f"load balancers {site.name}-sfu-media-*",
        "hostNetwork": "nodes that run media servers",
    }[ports.exposure]
    yield Opening("public", INTERNET, target, "UDP", _written(Ports(ports.udp[0], ports.udp[-1])), "media")
    yield Opening("public", INTERNET, target, "TCP", str(ports.tcp), "media where UDP is not let out")


def _allowed(site: Site) -> Iterator[Opening]:
    for rule in site.spec.sovereignty.egress_allow:
        for number in rule.ports or (0,):
            ports = _written(Ports(number)) if number else "any"
            yield Opening(
                "outside", "all parts", rule.cidr, "TCP" if number else "any", ports, "sovereignty.egressAllow"
            )


def _registries(release: Release) -> Iterator[Opening]:
    for host in sorted({_registry(image) for image in release.images.values()}):
        name, _, number = host.partition(":")
        yield Opening("outside", "nodes", name, "TCP", number or "443", "images")


def _registry(image: str) -> str:
    return image.partition("/")[0]


def table(lines: Iterable[Opening]) -> str:
    """The lines as a table for reading."""
    head = ("ZONE", "FROM", "TO", "PROTOCOL", "PORTS", "PURPOSE")
    rows = [head, *((o.zone, o.source, o.target, o.protocol, o.ports, o.purpose) for o in lines)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    return "\n".join(
        "  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    )
