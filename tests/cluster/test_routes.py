"""The rendered routes carry what they are for, through a real Traefik that plays each controller; all are admitted.

The servers behind them are those of route_servers.py. Envoy Gateway is no program of the lab: of its objects only the
form is tested here, by its own definitions.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import live
from builders import DeploymentBuilder, a_deployment
from visio_lab.public_ca import certificate_file, certificate_secret, public_ca_configmap
from visio_operator.runtime.kinds import KINDS

SERVERS, CLIENT = (Path(__file__).parent / name for name in ("route_servers.py", "route_client.py"))
ROUTES = {
    "Ingress",
    *(kind.name for kind in KINDS if kind.rendered and kind.optional),
}
"""Kinds of routes and what belongs to them."""
PORTS = {"visio-backend": (80, 8000), "visio-frontend": (80, 8080), "visio-sfu": (7880, 7880)}
ELSEWHERE, HERE = "203.0.113.0/24", "192.168.250.0/24"
"""Address ranges without and with the client of these tests, which asks from a node."""
WITHIN_S = 60.0
SESSION = {"Cookie": "session=marianne"}

GATEWAYS: dict[str, dict[str, Any]] = {
    "nginx": {"controller": "ingressNginx", "ingressClassName": "nginx"},
    "traefik": {"controller": "traefik", "ingressClassName": "traefik"},
    "gateway": {"controller": "traefik", "className": "traefik"},
}
CASES = ["nginx", "nginx-outside", "traefik", "traefik-outside", "gateway"]


@dataclass(frozen=True)
class World:
    """A deployment's routes in the lab."""

    lab: Any
    case: str
    host: str

    def ask(self, *requests: dict[str, Any]) -> list[dict[str, Any]]:
        argv = [sys.executable, str(CLIENT), str(certificate_file(self.lab.directory))]
        process = self.lab.enter(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        answer, _ = process.communicate(json.dumps(requests).encode(), timeout=60)
        found: list[dict[str, Any]] = json.loads(answer)
        return found

    def get(self, path: str, *, scheme: str = "https", **request: Any) -> dict[str, Any]:
        (answer,) = self.ask({"url": f"{scheme}://{self.host}{path}", **request})
        return answer


def built(case: str, space: str, host: str) -> DeploymentBuilder:
    name, _, outside = case.partition("-")
    filters = {"adminAllow": [ELSEWHERE], "webhookAllow": [HERE]}
    deployment = a_deployment().named("visio", space).routed_by(**GATEWAYS[name], **filters).having(host=host)
    if not outside:
        return deployment
    store = {"endpoint": f"https://s3.{host}", "secretRef": {"name": "s3"}}
    return deployment.without("objectStorage").having(objectStorage=store, caBundle={"configMap": "authorities"})


def routes(deployment: DeploymentBuilder) -> list[dict[str, Any]]:
    """What routes are made of; without owners, which are not in this cluster."""
    chosen = [each for each in deployment.manifests() if each["kind"] in ROUTES or _is_external(each)]
    for each in chosen:
        each["metadata"].pop("ownerReferences", None)
    return chosen


def _is_external(manifest: dict[str, Any]) -> bool:
    return manifest["kind"] == "Service" and manifest["spec"].get("type") == "ExternalName"


def servers(case: str, space: str, host: str) -> list[dict[str, Any]]:
    outside = case.endswith("outside")
    environment = {
        "PUBLIC_HOST": host,
        "API_HOSTS": f"visio-backend.{space}.svc",
        "STORE_URL": f"https://s3.{host}" if outside else "http://visio-garage:3900",
        "BUCKET": "meet-media-storage",
        "URL_HEADER": "X-Original-Url" if case.startswith("nginx") else "X-Forwarded-Uri",
        **({"TLS_FOLDER": "/etc/store-tls"} if outside else {}),
    }
    container: dict[str, Any] = {
        "name": "servers",
        "image": "lab/lab-process:servers",
        "command": [sys.executable, str(SERVERS)],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "readinessProbe": {"tcpSocket": {"port": 8443 if outside else 3900}, "periodSeconds": 1},
    }
    pod: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 1}
    if outside:
        container["volumeMounts"] = [{"name": "tls", "mountPath": "/etc/store-tls"}]
        pod["volumes"] = [{"name": "tls", "secret": {"secretName": "store-tls"}}]
    ports = {**PORTS, **({"store": (443, 8443)} if outside else {"visio-garage": (3900, 3900)})}
    meta = {"namespace": space, "labels": {"app": "servers"}}
    return [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "servers", **meta}, "spec": pod},
        *(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name, **meta},
                "spec": {"selector": {"app": "servers"}, "ports": [{"port": port, "targetPort": target}]},
            }
            for name, (port, target) in ports.items()
        ),
    ]


@pytest.fixture(scope="module", params=CASES)
def world(real_lab: Any, request: pytest.FixtureRequest) -> Iterator[World]:
    case = request.param
    space = f"routes-{case}"
    host = f"{case}.example.gouv.fr"
    real_lab.kubectl("create", "namespace", space)
    certificate_secret(real_lab, space, "public-tls", [host, f"livekit.{host}"])
    certificate_secret(real_lab, space, "store-tls", [f"s3.{host}"])
    public_ca_configmap(real_lab, space, "authorities")
    live.apply(real_lab, [*servers(case, space, host), *routes(built(case, space, host))])
    real_lab.kubectl("wait", "pod/servers", "-n", space, "--for=condition=Ready", "--timeout=60s")
    if case.endswith("outside"):
        address = live.get(real_lab, "service", "store", space)["spec"]["clusterIP"]
        hosts = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "dns-hosts", "namespace": "lab-system"}}
        live.apply(real_lab, [{**hosts, "data": {"stores": f"{address} s3.{host}"}}])
    made = World(real_lab, case, host)
    deadline = time.monotonic() + WITHIN_S
    while made.get("/")["status"] != 200 or made.get("/media/recordings/1.mp4", headers=SESSION)["status"] != 200:
        if time.monotonic() > deadline:
            # The tests say what is wrong.
            break
        time.sleep(0.5)
    yield made
    real_lab.kubectl("delete", "namespace", space, "--wait=false", check=False)


def test_pages_come_from_the_front_end_and_calls_go_to_the_api(world: World) -> None:
    seen = {path: world.get(path) for path in ("/", "/room-1", "/api/v1.0/config/", "/external-api/v1.0/rooms/")}
    assert {path: (each["status"], json.loads(each["text"])["server"]) for path, each in seen.items()} == {
        "/": (200, "frontend"),
        "/room-1": (200, "frontend"),
        "/api/v1.0/config/": (200, "backend"),
        "/external-api/v1.0/rooms/": (200, "backend"),
    }
    headers = json.loads(seen["/api/v1.0/config/"]["text"])["headers"]
    assert headers["Host"] == world.host
    assert headers["X-Forwarded-Proto"] == "https"


def test_nothing_is_served_without_tls(world: World) -> None:
    answer = world.get("/api/v1.0/config/", scheme="http")
    if world.case.startswith("traefik"):
        # Whether it redirects is a setting of the entry point.
        assert answer["status"] == 404
    else:
        assert answer["status"] in (301, 308)
        assert answer["headers"]["Location"].rstrip("/") == f"https://{world.host}/api/v1.0/config"


def test_administration_is_closed_to_addresses_that_are_not_named(world: World) -> None:
    assert [world.get(path)["status"] for path in ("/admin/", "/static/admin.css")] == [403, 403]


def test_the_webhook_passes_its_own_filter(world: World) -> None:
    answer = world.get("/api/v1.0/rooms/webhooks-livekit/", method="POST")
    assert (answer["status"], json.loads(answer["text"])["server"]) == (200, "backend")


def test_websockets_reach_livekit(world: World) -> None:
    (answer,) = world.ask({"url": f"wss://livekit.{world.host}/rtc?access_token=x", "socket": True})
    assert answer == {"status": 101, "text": "echo hello"}


def test_downloads_are_signed_for_people_with_a_session(world: World) -> None:
    for key in ("recordings/1.mp4", "files/2.png"):
        answer = world.get(f"/media/{key}", headers=SESSION)
        assert answer["status"] == 200, answer["text"]
        assert json.loads(answer["text"])["object"] == f"/meet-media-storage/{key}"
        assert world.get(f"/media/{key}")["status"] == 403


def test_what_people_uploaded_runs_no_scripts(world: World) -> None:
    answer = world.get("/media/files/2.png", headers=SESSION)
    told = {name: answer["headers"].get(name) for name in ("Content-Security-Policy", "Content-Disposition")}
    # ingress-nginx sets headers by snippets alone, which it refuses by default.
    safe = {"Content-Security-Policy": "default-src 'none'", "Content-Disposition": "attachment"}
    assert told == (dict.fromkeys(safe) if world.case.startswith("nginx") else safe)


def test_the_session_does_not_reach_the_store(world: World) -> None:
    cookie = json.loads(world.get("/media/files/2.png", headers=SESSION)["text"])["cookie"]
    assert bool(cookie) is world.case.startswith("nginx")


ADMITTED = {
    **{case: built(case, "default", "visio.example.gouv.fr") for case in CASES},
    "certificate": a_deployment(),
    "other": a_deployment().on_gateway_api(),
    "envoy": a_deployment().routed_by("envoyGateway", className="eg", adminAllow=[HERE], webhookAllow=[HERE]),
    "envoy-outside": a_deployment().with_own_services().routed_by("envoyGateway", className="eg"),
    "envoy-own-authorities": a_deployment()
    .with_own_services()
    .routed_by("envoyGateway", className="eg")
    .having(caBundle={"configMap": "authorities"}),
    "gateway-outside": a_deployment().with_own_services().routed_by("traefik", className="traefik"),
}


@pytest.mark.parametrize("case", ADMITTED)
def test_every_route_is_admitted_by_the_definitions_of_its_controller(real_lab: Any, case: str) -> None:
    items = routes(ADMITTED[case].named("visio", "default"))
    assert items
    real_lab.kubectl(
        "apply", "--server-side", "--dry-run=server", "--validate=strict", "--field-manager=visio-operator", "-f", "-",
        input=json.dumps({"apiVersion": "v1", "kind": "List", "items": items}),
    )  # fmt: skip


def test_all_kinds_of_routes_are_served_in_the_lab(real_lab: Any) -> None:
    served = set(real_lab.kubectl("api-resources", "-o", "name").split())
    wanted = {kind.resource for kind in KINDS if kind.rendered and kind.optional and kind.name != "Backup"}
    assert wanted <= served
