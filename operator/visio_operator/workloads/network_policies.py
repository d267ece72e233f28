"""Network policies: nothing is let through but the flow matrix."""

from __future__ import annotations

from collections.abc import Iterable

from visio_operator.plan.plan import Plan

from .common import PLATFORM, Manifest, Site, metadata, object_name, selector
from .connections import Endpoint
from .flows import ANYONE, DNS, OPERATOR, PROMETHEUS, PUBLIC, WORLD, Flow, Ports, flows

_EVERYWHERE = ("0.0.0.0/0", "::/0")
_NAMESPACE_NAME = "kubernetes.io/metadata.name"
_HTTPS = 443
_GATEWAY_PORTS = (443, 8443, 10443)
"""Ports on which gateway pods listen for HTTPS. A request to a public address of the cluster, our own or that of a
neighbour such as Docs, may be handed to such a pod directly, and policies see the pod's own port then.
Values of ingress-nginx, Traefik, Istio, Contour, Envoy Gateway and NGINX."""
_NODE_LOCAL_DNS = "169.254.20.10/32"


def network_policies(site: Site, plan: Plan) -> list[Manifest]:
    """The default deny of all the deployment's pods, one policy for each part, and what the spec allows besides."""
    matrix = flows(site)
    parts = [part for part in plan.parts if plan.part(part) is not None]
    return [
        _deny(site),
        *_allowed_by_spec(site),
        # That of the smoke test stands before there is one, so that its pods find every server's policy in place.
        *(_of_part(site, part, matrix) for part in (*parts, "smoke")),
    ]


def _deny(site: Site) -> Manifest:
    return _policy(
        site, PLATFORM, "default-deny", {"podSelector": _all_pods(site), "policyTypes": ["Ingress", "Egress"]}
    )


def _all_pods(site: Site) -> Manifest:
    return {"matchLabels": {"app.kubernetes.io/name": "visio", "app.kubernetes.io/instance": site.name}}


def _policy(site: Site, part: str, name: str, spec: Manifest) -> Manifest:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata(site, part, object_name(site, name)),
        "spec": spec,
    }


def _allowed_by_spec(site: Site) -> list[Manifest]:
    allowed = [
        {
            "to": [_addresses(rule.cidr)],
            **({"ports": [_port(Ports(number)) for number in rule.ports]} if rule.ports else {}),
        }
        for rule in site.spec.sovereignty.egress_allow
    ]
    if not allowed:
        return []
    spec = {"podSelector": _all_pods(site), "policyTypes": ["Egress"], "egress": allowed}
    return [_policy(site, PLATFORM, "egress-allow", spec)]


def _of_part(site: Site, part: str, matrix: Iterable[Flow]) -> Manifest:
    spec: Manifest = {"podSelector": {"matchLabels": selector(site, part)}, "policyTypes": ["Ingress", "Egress"]}
    incoming = _distinct(_incoming(site, flow) for flow in matrix if flow.target == part)
    outgoing = _distinct(rule for flow in matrix if flow.source == part for rule in _outgoing(site, flow))
    if incoming:
        spec["ingress"] = incoming
    if outgoing:
        spec["egress"] = outgoing
    return _policy(site, part, part, spec)


def _distinct(rules: Iterable[Manifest]) -> list[Manifest]:
    """The rules without repetitions: several flows may go to the same place, for different reasons."""
    found: list[Manifest] = []
    for rule in rules:
        if rule not in found:
            found.append(rule)
    return found


def _incoming(site: Site, flow: Flow) -> Manifest:
    ports = [_port(port) for port in flow.ports]
    if flow.source == ANYONE or flow.source == on_node_network(site):
        # A pod on the node's network has the node's address; what it may reach is guarded by a password.
        return {"ports": ports}
    if flow.source == OPERATOR:
        peer = {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app.kubernetes.io/name": "visio-operator"}}}
        return {"from": [peer], "ports": ports}
    if flow.source == PROMETHEUS and site.spec.signals.prometheus is not None:
        scrapers = {_NAMESPACE_NAME: site.spec.signals.prometheus.scraper_namespace}
        return {"from": [{"namespaceSelector": {"matchLabels": scrapers}}], "ports": ports}
    return {"from": [{"podSelector": {"matchLabels": selector(site, flow.source)}}], "ports": ports}


def on_node_network(site: Site) -> str:
    """The part whose pods have the address of their node; empty when there is none."""
    if site.spec.sfu.exposure != "hostNetwork":
        return ""
    return "turn" if site.spec.sfu.network == "turnTLS" else "sfu"


def _outgoing(site: Site, flow: Flow) -> list[Manifest]:
    ports = [_port(port) for port in flow.ports]
    if isinstance(flow.target, Endpoint):
        namespace = _namespace_of(flow.target.host)
        if namespace is not None:
            # The Service's port says nothing about that of its pods.
            return [{"to": [{"namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: namespace}}}]}]
        return [_outside(ports), *([_gateways()] if flow.target.port == _HTTPS else [])]
    if flow.target == WORLD:
        return [_outside(ports)]
    if flow.target == PUBLIC:
        return [_outside(ports), _gateways()]
    if flow.target == DNS:
        servers = {
            "namespaceSelector": {"matchLabels": {_NAMESPACE_NAME: "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }
        return [{"to": [servers, _addresses(_NODE_LOCAL_DNS)], "ports": ports}]
    return [{"to": [{"podSelector": {"matchLabels": selector(site, flow.target)}}], "ports": ports}]


def _outside(ports: list[Manifest]) -> Manifest:
    return {"to": [_addresses(cidr) for cidr in _EVERYWHERE], "ports": ports}


def _gateways() -> Manifest:
    return {"to": [{"namespaceSelector": {}}], "ports": [_port(Ports(number)) for number in _GATEWAY_PORTS]}


def _addresses(cidr: str) -> Manifest:
    return {"ipBlock": {"cidr": cidr}}


def _namespace_of(host: str) -> str | None:
    """The namespace of a Service name such as `db.databases.svc.cluster.local`; None for any other host."""
    labels = host.split(".")
    is_service = len(labels) >= 3 and labels[2] == "svc" and labels[3:] in ([], ["cluster", "local"])
    return labels[1] if is_service else None


def _port(ports: Ports) -> Manifest:
    written: Manifest = {"protocol": ports.protocol}
    if ports.first:
        written["port"] = ports.first
    if ports.last > ports.first:
        written["endPort"] = ports.last
    return written
