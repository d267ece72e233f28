"""Three network modes by three ways of opening ports: which Services, which announced address, which firewall lines."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml
from rendered import ALL, container, templates, variables

from builders import DeploymentBuilder, a_deployment, healthy_plan, release
from visio_operator.cli import main
from visio_operator.plan.order import part_set
from visio_operator.workloads.firewall import Opening, openings
from visio_operator.workloads.media import media
from visio_operator.workloads.render import render

NETWORKS = ("udpMux", "nodePorts", "turnTLS")
EXPOSURES = ("nodePort", "loadBalancer", "hostNetwork")
ANNOTATION = {"fieldRef": {"fieldPath": "metadata.annotations['visio-operator.dev/announced-address']"}}


def a_mode(network: str, expose: str, **sfu: Any) -> DeploymentBuilder:
    return a_deployment().having(sfu={"network": network, "expose": expose, **sfu})


def services(built: DeploymentBuilder) -> dict[str, dict[str, Any]]:
    return {one["metadata"]["name"]: one["spec"] for one in built.manifests() if one["kind"] == "Service"}


def public(built: DeploymentBuilder) -> list[Opening]:
    found = openings(built.site(), release(built.spec()))
    return [line for line in found if line.zone == "public"]


def node_ip(built: DeploymentBuilder) -> Any:
    return variables(container(built.manifests(), "sfu")).get("NODE_IP")


def config(built: DeploymentBuilder) -> dict[str, Any]:
    rtc = yaml.safe_load(variables(container(built.manifests(), "sfu"))["LIVEKIT_CONFIG"])["rtc"]
    assert isinstance(rtc, dict)
    return rtc


@pytest.mark.parametrize(("network", "count"), [("udpMux", 1), ("nodePorts", 8)])
@pytest.mark.parametrize("expose", EXPOSURES)
def test_a_server_listens_on_the_ports_that_are_open_outside(network: str, count: int, expose: str) -> None:
    built = a_mode(network, expose)
    ports = media(built.site())
    assert len(ports.udp) == count
    first, last = ports.udp[0], ports.udp[-1]
    assert config(built)["udp_port"] == (first if count == 1 else f"{first}-{last}")
    assert config(built)["tcp_port"] == ports.tcp
    lines = {(line.protocol, line.ports) for line in public(built)}
    udp = str(first) if count == 1 else f"{first}-{last}"
    assert lines == {("TCP", "443"), ("TCP", "80"), ("TCP", str(ports.tcp)), ("UDP", udp)}


@pytest.mark.parametrize("network", ["udpMux", "nodePorts"])
def test_each_server_has_a_load_balancer_of_its_own(network: str) -> None:
    built = a_mode(network, "loadBalancer", min=3)
    found = {name: spec for name, spec in services(built).items() if "sfu-media" in name}
    assert [*found] == ["visio-sfu-media-0", "visio-sfu-media-1", "visio-sfu-media-2"]
    for number, spec in enumerate(found.values()):
        assert spec["type"] == "LoadBalancer"
        assert spec["selector"]["visio-operator.dev/media-slot"] == str(number)
        # A server that drains or is slow to answer still carries its rooms.
        assert spec["publishNotReadyAddresses"] is True
    template = dict(templates(built.manifests()))["sfu"]
    assert "visio-operator.dev/media-slot" not in template["metadata"]["labels"]
    assert node_ip(built) == ANNOTATION


def test_load_balancers_are_those_of_the_plan() -> None:
    site = a_mode("udpMux", "loadBalancer").site()
    plan = healthy_plan(site)
    found = [
        one["metadata"]["name"]
        for one in render(site, type(plan)(**{**vars(plan), "media_slots": (1, 4)}))
        if one["kind"] == "Service" and "sfu-media" in one["metadata"]["name"]
    ]
    assert found == ["visio-sfu-media-1", "visio-sfu-media-4"]


@pytest.mark.parametrize(
    ("built", "want"),
    [
        (a_mode("udpMux", "nodePort"), {"fieldRef": {"fieldPath": "status.hostIP"}}),
        (a_mode("udpMux", "hostNetwork"), {"fieldRef": {"fieldPath": "status.hostIP"}}),
        (a_mode("turnTLS", "loadBalancer"), {"fieldRef": {"fieldPath": "status.podIP"}}),
        (a_mode("udpMux", "nodePort", externalAddress={"discover": "nodeExternalIP"}), ANNOTATION),
        (a_mode("udpMux", "nodePort", min=1, max=1, externalAddress={"address": "192.0.2.10"}), "192.0.2.10"),
        (
            a_mode("udpMux", "nodePort", externalAddress={"discover": "stun", "stunServers": ["stun.example.fr:3478"]}),
            None,
        ),
    ],
)
def test_the_announced_address_is_the_one_that_was_asked_for(built: DeploymentBuilder, want: Any) -> None:
    assert node_ip(built) == want


@pytest.mark.parametrize("mode", [*product(NETWORKS, EXPOSURES)])
def test_no_foreign_stun_server_is_ever_asked(mode: tuple[str, str]) -> None:
    built = a_mode(*mode)
    rtc = config(built)
    assert rtc["use_external_ip"] is False
    assert [server.partition(":")[0] for server in rtc["stun_servers"]] == ["livekit.visio.example.gouv.fr"]


def test_only_the_stun_servers_of_the_spec_are_asked_and_may_be_reached() -> None:
    given = {"discover": "stun", "stunServers": ["stun.example.gouv.fr:3479"]}
    built = a_mode("udpMux", "nodePort", externalAddress=given)
    assert config(built)["use_external_ip"] is True
    assert config(built)["stun_servers"] == ["stun.example.gouv.fr:3479"]
    lines = [line for line in openings(built.site(), release(built.spec())) if line.target == "stun.example.gouv.fr"]
    assert [(line.source, line.protocol, line.ports) for line in lines] == [("sfu", "UDP", "3479")]


@pytest.mark.parametrize("case", ["balanced", "external"])
def test_a_server_waits_until_it_is_told_its_address_and_can_be_ended_meanwhile(case: str) -> None:
    spec = dict(templates(ALL[case].manifests()))["sfu"]["spec"]
    [waiting] = spec["initContainers"]
    assert waiting["image"] == spec["containers"][0]["image"]
    assert "trap 'exit 143' TERM" in waiting["command"][-1]
    [volume] = spec["volumes"]
    assert volume["downwardAPI"]["items"] == [{"path": "address", **ANNOTATION}]
    assert waiting["volumeMounts"][0]["mountPath"] in waiting["command"][-1]


def test_the_first_node_port_can_be_chosen() -> None:
    assert media(a_mode("nodePorts", "nodePort", nodePort=30_500).site()).udp == range(30_500, 30_508)


@pytest.mark.parametrize(
    ("expose", "kind", "listens", "where"),
    [
        ("loadBalancer", "LoadBalancer", 5349, "load balancer of visio-turn"),
        ("nodePort", "NodePort", 5349, "your load balancer, which hands it to TCP 30400 of the nodes"),
        ("hostNetwork", None, 443, "nodes that run TURN servers"),
    ],
)
def test_turn_is_reached_on_443_however_it_is_exposed(expose: str, kind: str | None, listens: int, where: str) -> None:
    built = a_mode("turnTLS", expose, **({"nodePort": 30_400} if expose == "nodePort" else {}))
    service = services(built)["visio-turn"]
    assert (service.get("type"), service["ports"][0]["port"]) == (kind, 443)
    main = container(built.manifests(), "turn")
    assert main["ports"] == [{"name": "turns", "containerPort": listens, "protocol": "TCP"}]
    text = next(
        one["data"]["turnserver.conf"]
        for one in built.manifests()
        if (one["kind"], one["metadata"]["name"]) == ("ConfigMap", "visio-turn")
    )
    assert f"tls-listening-port={listens}\n" in text
    lines = public(built)
    assert {(line.protocol, line.ports) for line in lines} == {("TCP", "443"), ("TCP", "80")}
    assert any(line.target == f"{where} (turn.visio.example.gouv.fr)" for line in lines)
    assert config(built)["turn_servers"][0]["port"] == 443
    spec = dict(templates(built.manifests()))
    assert spec["turn"]["spec"].get("hostNetwork", False) is (expose == "hostNetwork")
    assert "hostNetwork" not in spec["sfu"]["spec"]


@pytest.mark.parametrize("case", ALL)
def test_every_policy_between_parts_has_its_firewall_line(case: str) -> None:
    built = ALL[case]
    lines = openings(built.site(), release(built.spec()))
    assert len(lines) == len(set(lines))
    present = {*part_set(built.spec()), "preflight", "smoke", "visio-operator", "gateway and load balancers"}
    inside = {(line.source, line.target) for line in lines if line.zone == "cluster"}
    assert {source for source, _ in inside} <= present
    for policy in built.manifests():
        if policy["kind"] != "NetworkPolicy":
            continue
        component = policy["metadata"]["labels"]["app.kubernetes.io/component"]
        for rule in policy["spec"].get("ingress", []):
            for peer in rule.get("from", []):
                source = peer["podSelector"]["matchLabels"].get("app.kubernetes.io/component", "visio-operator")
                if source in present:
                    assert (source, component) in inside


def test_what_leaves_the_cluster_is_named() -> None:
    built = ALL["complete"]
    targets = {line.target for line in openings(built.site(), release(built.spec())) if line.zone == "outside"}
    assert {
        "auth.example.gouv.fr", "s3.example.gouv.fr", "smtp.example.gouv.fr", "docs.example.gouv.fr",
        "llm.example.gouv.fr", "redis.example.gouv.fr", "docker.io", "any address",
    } <= targets  # fmt: skip


def test_flows_are_printed_as_a_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "visio.yaml"
    path.write_text(yaml.safe_dump(ALL["complete"].cr()))
    assert main(["render", "-f", str(path), "--flows"]) == 0
    title, head, *rows = capsys.readouterr().out.splitlines()
    assert title == "visio/visio"
    assert head.split() == ["ZONE", "FROM", "TO", "PROTOCOL", "PORTS", "PURPOSE"]
    assert main(["render", "-f", str(path), "--flows", "-o", "json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert len(items) == len(rows)
    assert items[0].keys() == {"deployment", "zone", "from", "to", "protocol", "ports", "purpose"}
    assert main(["render", "-f", str(path), "--flows", "-o", "yaml"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["items"] == items


def test_manifests_are_no_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "visio.yaml"
    path.write_text(yaml.safe_dump(a_deployment().cr()))
    assert main(["render", "-f", str(path), "-o", "table"]) == 2
    assert "add --flows" in capsys.readouterr().err
