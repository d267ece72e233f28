"""Network policies and routes: only what the platform needs is let through."""

from __future__ import annotations

from typing import Any

import pytest
from rendered import ALL, named, templates

from builders import DeploymentBuilder, a_deployment, healthy_plan, release
from visio_operator.plan.order import part_set
from visio_operator.workloads.connections import Endpoint
from visio_operator.workloads.firewall import openings
from visio_operator.workloads.flows import flows
from visio_operator.workloads.render import render

every_case = pytest.mark.parametrize("case", ALL)


def _policy(built: DeploymentBuilder, part: str) -> dict[str, Any]:
    return named(built.manifests(), "NetworkPolicy", f"{built.name}-{part}")["spec"]


def _reached(spec: dict[str, Any], direction: str) -> dict[str, list[int]]:
    """Ports by the component of a peer; `*` where any peer is let through."""
    found: dict[str, list[int]] = {}
    for rule in spec.get(direction, []):
        for peer in rule.get("from" if direction == "ingress" else "to", [{}]):
            matched = peer.get("podSelector", {}).get("matchLabels", {})
            name = matched.get("app.kubernetes.io/component") or matched.get("app.kubernetes.io/name") or "*"
            found.setdefault(name, []).extend(port.get("port", 0) for port in rule.get("ports", []))
    return found


@every_case
def test_everything_is_denied_by_default(case: str) -> None:
    built = ALL[case]
    spec = _policy(built, "default-deny")
    assert spec == {
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "visio", "app.kubernetes.io/instance": built.name}},
        "policyTypes": ["Ingress", "Egress"],
    }
    selected = spec["podSelector"]["matchLabels"].items()
    assert all(selected <= template["metadata"]["labels"].items() for _, template in templates(built.manifests()))


@every_case
def test_every_part_has_its_policy(case: str) -> None:
    names = {one["metadata"]["name"] for one in ALL[case].manifests() if one["kind"] == "NetworkPolicy"}
    assert {f"{ALL[case].name}-{part}" for part in part_set(ALL[case].spec())} <= names


@every_case
def test_each_flow_between_parts_is_open_at_both_ends(case: str) -> None:
    built = ALL[case]
    present = set(part_set(built.spec()))
    for flow in flows(built.site()):
        if flow.source in present and flow.target in present and built.spec().sfu.exposure != "hostNetwork":
            ports = [port.first for port in flow.ports]
            outgoing = _reached(_policy(built, flow.source), "egress")[str(flow.target)]
            incoming = _reached(_policy(built, str(flow.target)), "ingress")
            assert set(ports) <= set(outgoing)
            assert set(ports) <= set(incoming.get(flow.source, []))


@every_case
def test_flows_end_at_ports_that_containers_open(case: str) -> None:
    built = ALL[case]
    opened = {
        part: {
            (port["containerPort"], port["protocol"])
            for one in [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]
            for port in one.get("ports", [])
        }
        for part, template in templates(built.manifests())
    }
    for flow in flows(built.site()):
        if isinstance(flow.target, Endpoint) or flow.target not in opened:
            continue
        for ports in flow.ports:
            relayed = flow.target == "turn" and ports.protocol == "UDP"
            if ports.first and not relayed:
                assert (ports.first, ports.protocol) in opened[flow.target], (flow.source, flow.target)


def test_front_end_and_embedded_stores_call_nobody() -> None:
    for part in ("frontend", "postgres", "redis", "garage"):
        assert "egress" not in _policy(a_deployment(), part)


def test_only_the_api_reaches_the_database() -> None:
    assert set(_reached(_policy(a_deployment(), "postgres"), "ingress")) == {
        "backend", "celery-backend", "migrate", "clean-pending-files", "purge-deleted-files", "superuser",
    }  # fmt: skip


def test_the_operator_may_read_how_busy_the_servers_are() -> None:
    built = ALL["embedded"]
    for part, port in {"captions": 8080, "subtitles": 8091, "transcription": 8000, "redis": 6379}.items():
        assert port in _reached(_policy(built, part), "ingress")["visio-operator"]
    assert 8081 in _reached(_policy(built, "subtitles"), "ingress")["visio-operator"]


def test_a_service_of_another_namespace_is_reached_by_its_namespace() -> None:
    egress = _policy(ALL["complete"], "backend")["egress"]
    namespaces = [peer.get("namespaceSelector", {}).get("matchLabels") for rule in egress for peer in rule["to"]]
    assert {"kubernetes.io/metadata.name": "databases"} in namespaces


def test_outside_servers_are_reached_on_their_ports_only() -> None:
    built = a_deployment().with_own_services().with_mail()
    ports = set(_reached(_policy(built, "backend"), "egress")["*"])
    assert {443, 587, 6379} <= ports
    assert 25 not in ports


def test_ranges_that_the_spec_allows_are_open_to_all_pods() -> None:
    built = a_deployment().having(
        sovereignty={"egressAllow": [{"cidr": "192.0.2.0/24", "ports": [443]}, {"cidr": "198.51.100.0/24"}]}
    )
    assert _policy(built, "egress-allow")["egress"] == [
        {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"protocol": "TCP", "port": 443}]},
        {"to": [{"ipBlock": {"cidr": "198.51.100.0/24"}}]},
    ]


def test_with_turn_media_leave_through_turn_only() -> None:
    media = _reached(_policy(ALL["turn"], "sfu"), "ingress")
    assert 7882 in media["turn"]
    assert 7882 not in media["*"]


def test_media_ports_are_the_same_on_the_node_and_in_the_server() -> None:
    for case in ("minimal", "nodePorts"):
        spec = named(ALL[case].manifests(), "Service", "visio-sfu-media")["spec"]
        assert spec["externalTrafficPolicy"] == "Local"
        assert all(port["nodePort"] == port["port"] and 30_000 <= port["port"] <= 32_767 for port in spec["ports"])
    assert len(named(ALL["minimal"].manifests(), "Service", "visio-sfu-media")["spec"]["ports"]) == 2
    assert len(named(ALL["nodePorts"].manifests(), "Service", "visio-sfu-media")["spec"]["ports"]) == 9


def test_two_deployments_take_different_node_ports() -> None:
    services = [
        named(built.manifests(), "Service", f"{built.name}-sfu-media")
        for built in (a_deployment(), a_deployment().named("other"))
    ]
    first, second = ({port["nodePort"] for port in service["spec"]["ports"]} for service in services)
    assert not first & second


def test_servers_on_node_ports_keep_to_one_a_node() -> None:
    for case, apart in {"minimal": True, "nodePorts": True, "hostNetwork": True, "turn": False}.items():
        assert ("affinity" in dict(templates(ALL[case].manifests()))["sfu"]["spec"]) is apart


def _hosts(built: DeploymentBuilder) -> list[str]:
    return named(built.manifests(), "Certificate", "visio-tls")["spec"]["dnsNames"]


def test_certificate_covers_every_public_host() -> None:
    hosts = ["visio.example.gouv.fr", "livekit.visio.example.gouv.fr"]
    assert _hosts(a_deployment()) == hosts
    assert _hosts(ALL["turn"]) == [*hosts, "turn.visio.example.gouv.fr"]
    assert all(one["kind"] != "Certificate" for one in ALL["gateway"].manifests())


def test_what_may_be_filtered_has_an_ingress_of_its_own() -> None:
    ingresses = {
        one["metadata"]["name"]: [path["path"] for path in one["spec"]["rules"][0]["http"]["paths"]]
        for one in a_deployment().manifests()
        if one["kind"] == "Ingress"
    }
    assert ingresses == {
        "visio-web": ["/api/", "/external-api/", "/"],
        "visio-admin": ["/admin", "/static"],
        "visio-webhook": ["/api/v1.0/rooms/webhooks-livekit/"],
        "visio-media": ["/media/(.*)"],
        "visio-media-files": ["/media/(files/.*)"],
        "visio-livekit": ["/"],
    }


def test_media_of_an_outside_store_are_reached_under_the_host_that_is_signed() -> None:
    manifests = ALL["complete"].manifests()
    assert named(manifests, "Service", "visio-media")["spec"]["externalName"] == "s3.example.gouv.fr"
    annotations = named(manifests, "Ingress", "visio-media")["metadata"]["annotations"]
    assert annotations["nginx.ingress.kubernetes.io/upstream-vhost"] == "s3.example.gouv.fr"
    assert annotations["nginx.ingress.kubernetes.io/rewrite-target"] == "/meet-media-storage/$1"


def test_gateway_routes_belong_to_listeners_that_exist() -> None:
    manifests = ALL["gateway"].manifests()
    listeners = {one["name"] for one in named(manifests, "Gateway", "visio")["spec"]["listeners"]}
    routes = [one for one in manifests if one["kind"] == "HTTPRoute"]
    assert {route["spec"]["parentRefs"][0]["sectionName"] for route in routes} == listeners
    assert all(one["kind"] != "Ingress" for one in manifests)


@every_case
def test_routes_lead_to_services_that_exist(case: str) -> None:
    manifests = ALL[case].manifests()
    services = {
        (one["metadata"]["name"], port["port"])
        for one in manifests
        if one["kind"] == "Service"
        for port in one["spec"]["ports"]
    }
    for one in manifests:
        if one["kind"] == "Ingress":
            for path in one["spec"]["rules"][0]["http"]["paths"]:
                backend = path["backend"]["service"]
                assert (backend["name"], backend["port"]["number"]) in services
        if one["kind"] == "HTTPRoute":
            for rule in one["spec"]["rules"]:
                assert all((target["name"], target["port"]) in services for target in rule.get("backendRefs", []))


def test_routes_wait_for_no_part() -> None:
    site = a_deployment().site()
    plan = healthy_plan(site)
    kinds = {one["kind"] for one in render(site, type(plan)(release=plan.release, parts={}))}
    assert kinds == {"NetworkPolicy", "Certificate", "Ingress"}


@pytest.mark.parametrize(
    ("given", "namespace"),
    [
        ({"url": "http://prometheus.monitoring.svc:9090"}, "monitoring"),
        ({"url": "http://prometheus.monitoring.svc.cluster.local/p"}, "monitoring"),
        ({"url": "https://thanos.example.fr", "scrapedFrom": "metrics"}, "metrics"),
        ({"url": "http://thanos.query.svc:9090", "scrapedFrom": "metrics"}, "metrics"),
        ({"url": "https://thanos.example.fr"}, None),
    ],
)
def test_whoever_scrapes_for_the_prometheus_of_the_spec_reaches_the_metrics_and_nothing_else(
    given: dict[str, Any], namespace: str | None
) -> None:
    built = a_deployment().with_captions().having(signals={"prometheus": given})
    scraper = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    found = {
        policy["metadata"]["name"]: [port["port"] for port in rule["ports"]]
        for policy in built.manifests()
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"].get("ingress", [])
        if scraper in rule.get("from", [])
    }
    metrics = {"visio-captions": [8080], "visio-subtitles": [8091], "visio-sfu": [6789], "visio-egress": [6789]}
    assert found == ({} if namespace is None else metrics)
    lines = openings(built.site(), release(built.spec()))
    host = given["url"].partition("://")[2].partition("/")[0].partition(":")[0]
    assert [line.zone for line in lines if (line.source, line.target) == ("visio-operator", host)] == ["outside"]
    assert ("prometheus", "captions") in {(line.source, line.target) for line in lines} or namespace is None
