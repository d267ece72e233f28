"""Routes by each controller: filters, downloads with their subrequest, TLS to the store; and private authorities."""

from __future__ import annotations

from typing import Any

import pytest
from rendered import containers, named, templates, variables

from builders import DeploymentBuilder, a_deployment
from visio_operator.runtime.kinds import BY_NAME
from visio_operator.workloads.common import Manifest

NGINX = a_deployment().routed_by("ingressNginx", ingressClassName="nginx")
TRAEFIK = a_deployment().routed_by("traefik", ingressClassName="traefik")
TRAEFIK_GATEWAY = a_deployment().routed_by("traefik", className="traefik")
ENVOY = a_deployment().routed_by("envoyGateway", className="eg")
CONTROLLERS = {"nginx": NGINX, "traefik": TRAEFIK, "traefikGateway": TRAEFIK_GATEWAY, "envoy": ENVOY}
every_controller = pytest.mark.parametrize("built", CONTROLLERS.values(), ids=list(CONTROLLERS))
SIGNED = ["Authorization", "X-Amz-Date", "X-Amz-Content-SHA256"]


def outside(built: DeploymentBuilder, **fields: Any) -> tuple[Manifest, ...]:
    store = {"endpoint": "https://s3.example.gouv.fr:8443", "secretRef": {"name": "s3"}}
    return built.without("objectStorage").having(objectStorage=store, **fields).manifests()


def filtered(built: DeploymentBuilder) -> tuple[Manifest, ...]:
    return built.having(gateway={"adminAllow": ["192.0.2.0/24"], "webhookAllow": ["198.51.100.7/32"]}).manifests()


def annotations(manifests: tuple[Manifest, ...], ingress: str) -> dict[str, str]:
    found = named(manifests, "Ingress", ingress)["metadata"].get("annotations", {})
    return {name.removeprefix("nginx.ingress.kubernetes.io/"): value for name, value in found.items()}


@every_controller
def test_every_rendered_kind_is_one_that_the_operator_may_write(built: DeploymentBuilder) -> None:
    for one in (*outside(built), *filtered(built)):
        assert BY_NAME[one["kind"]].rendered
        assert BY_NAME[one["kind"]].api_version == one["apiVersion"]


@every_controller
def test_the_default_controller_needs_no_name(built: DeploymentBuilder) -> None:
    gateway = built.spec().gateway
    assert gateway.program == gateway.controller
    assert a_deployment().spec().gateway.program == "ingressNginx"
    unnamed = a_deployment().without("gateway").having(gateway={"className": "cilium", "tls": {"issuerRef": "a"}})
    assert unnamed.spec().gateway.program == "other"


def test_nginx_filters_by_annotation() -> None:
    manifests = filtered(NGINX)
    assert annotations(manifests, "visio-admin") == {"whitelist-source-range": "192.0.2.0/24"}
    assert annotations(manifests, "visio-webhook") == {"whitelist-source-range": "198.51.100.7/32"}
    assert "whitelist-source-range" not in annotations(manifests, "visio-web")


def test_traefik_filters_by_a_middleware_that_its_route_names_as_an_object() -> None:
    manifests = filtered(TRAEFIK)
    allowed = named(manifests, "Middleware", "visio-admin-allow")["spec"]
    assert allowed == {"ipAllowList": {"sourceRange": ["192.0.2.0/24"]}}
    admin = named(manifests, "IngressRoute", "visio-admin")["spec"]["routes"]
    assert [rule["middlewares"] for rule in admin] == [[{"name": "visio-admin-allow"}]] * 2
    assert not [one for one in manifests if (one["kind"], one["metadata"]["name"]) == ("Ingress", "visio-admin")]


def test_a_traefik_gateway_filters_in_its_routes() -> None:
    webhook = named(filtered(TRAEFIK_GATEWAY), "HTTPRoute", "visio-webhook")["spec"]["rules"]
    (reference,) = webhook[0]["filters"]
    assert reference["extensionRef"]["name"] == "visio-webhook-allow"


def test_envoy_filters_by_security_policies() -> None:
    spec = named(filtered(ENVOY), "SecurityPolicy", "visio-admin")["spec"]
    assert spec["targetRefs"][0]["name"] == "visio-admin"
    assert spec["authorization"]["defaultAction"] == "Deny"
    assert spec["authorization"]["rules"][0]["principal"] == {"clientCIDRs": ["192.0.2.0/24"]}


def test_websockets_may_be_silent_for_long() -> None:
    livekit = annotations(NGINX.manifests(), "visio-livekit")
    assert livekit["proxy-read-timeout"] == livekit["proxy-send-timeout"] == "3600"
    http = named(ENVOY.manifests(), "BackendTrafficPolicy", "visio-livekit")["spec"]["timeout"]["http"]
    assert http == {"requestTimeout": "0s", "streamIdleTimeout": "3600s"}
    for built in (ENVOY, TRAEFIK_GATEWAY):
        rules = named(built.manifests(), "HTTPRoute", "visio-livekit")["spec"]["rules"]
        assert rules[0]["timeouts"] == {"request": "0s"}


def test_nginx_names_an_outside_store_in_its_own_words() -> None:
    media = annotations(outside(NGINX), "visio-media")
    assert media["upstream-vhost"] == "s3.example.gouv.fr:8443"
    assert (media["backend-protocol"], media["proxy-ssl-server-name"]) == ("HTTPS", "on")
    assert media["proxy-ssl-name"] == "s3.example.gouv.fr"
    assert media["auth-url"] == "https://visio.example.gouv.fr/api/v1.0/recordings/media-auth/"
    assert "proxy-ssl-name" not in annotations(NGINX.manifests(), "visio-media")


def test_traefik_asks_the_api_itself_and_the_api_answers_to_that_name() -> None:
    manifests = outside(TRAEFIK, caBundle={"configMap": "authorities"})
    auth = named(manifests, "Middleware", "visio-media-auth")["spec"]["forwardAuth"]
    assert auth["address"] == "http://visio-backend.visio.svc/api/v1.0/recordings/media-auth/"
    assert auth["authResponseHeaders"] == SIGNED
    hosts = variables(containers(dict(templates(manifests))["backend"])[0])["DJANGO_ALLOWED_HOSTS"]
    assert hosts == "visio.example.gouv.fr,visio-backend.visio.svc"
    assert named(manifests, "ServersTransport", "visio-media")["spec"] == {
        "serverName": "s3.example.gouv.fr",
        "rootCAs": [{"configMap": "authorities"}],
    }
    headers = named(manifests, "Middleware", "visio-media-headers")["spec"]["headers"]["customRequestHeaders"]
    assert headers == {"Host": "s3.example.gouv.fr:8443", "Cookie": ""}


def test_envoy_hands_the_url_to_the_api_and_the_stores_name_to_the_store() -> None:
    manifests = outside(ENVOY)
    early = named(manifests, "ClientTrafficPolicy", "visio-web")["spec"]["headers"]["earlyRequestHeaders"]["set"]
    assert {one["name"]: one["value"] for one in early} == {
        "x-original-url": "https://visio.example.gouv.fr%REQ(:PATH)%",
        "x-visio-store": "s3.example.gouv.fr:8443",
    }
    ask = named(manifests, "SecurityPolicy", "visio-media-files")["spec"]["extAuth"]
    assert ask["http"]["pathOverride"] == "/api/v1.0/files/media-auth/"
    assert {"cookie", "x-original-url", "x-forwarded-proto"} == set(ask["headersToExtAuth"])
    rewrite = named(manifests, "HTTPRouteFilter", "visio-media")["spec"]["urlRewrite"]
    assert rewrite["hostname"] == {"type": "Header", "header": "x-visio-store"}
    endpoints = named(manifests, "Backend", "visio-media")["spec"]["endpoints"]
    assert endpoints == [{"fqdn": {"hostname": "s3.example.gouv.fr", "port": 8443}}]


def test_a_gateway_trusts_public_authorities_or_those_of_the_spec() -> None:
    spec = named(outside(ENVOY), "BackendTLSPolicy", "visio-media")["spec"]
    assert spec["targetRefs"] == [{"group": "gateway.envoyproxy.io", "kind": "Backend", "name": "visio-media"}]
    assert spec["validation"] == {"hostname": "s3.example.gouv.fr", "wellKnownCACertificates": "System"}
    own = named(outside(ENVOY, caBundle={"configMap": "own"}), "BackendTLSPolicy", "visio-media")["spec"]
    assert own["validation"]["caCertificateRefs"] == [{"group": "", "kind": "ConfigMap", "name": "own"}]


@every_controller
def test_without_downloads_nothing_leads_to_the_store(built: DeploymentBuilder) -> None:
    for manifests in (
        outside(built, gateway={**built.content["gateway"], "recordingDownloads": False}),
        built.having(recording={"enabled": False}).manifests(),
    ):
        assert not [one for one in manifests if "media" in one["metadata"]["name"] and one["kind"] != "Service"]
        assert not [one for one in manifests if one.get("spec", {}).get("type") == "ExternalName"]


CLIENTS = {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"}


def test_every_client_trusts_the_bundle_in_every_container() -> None:
    built = a_deployment().with_captions().with_transcription().with_superuser()
    bundle = {"configMap": "authorities", "key": "bundle.pem"}
    found = dict(templates(built.having(caBundle=bundle).manifests()))
    for part, template in found.items():
        volumes = [one for one in template["spec"].get("volumes", []) if one["name"] == "ca-bundle"]
        if part in ("postgres", "redis", "garage", "frontend"):
            assert not volumes
            continue
        (volume,) = volumes
        assert volume["configMap"] == {"name": "authorities", "items": [{"key": "bundle.pem", "path": "ca.crt"}]}
        for container in containers(template):
            assert {variables(container)[name] for name in CLIENTS} == {"/etc/visio-ca/ca.crt"}
            assert {"name": "ca-bundle", "mountPath": "/etc/visio-ca", "readOnly": True} in container["volumeMounts"]


def test_a_users_own_variable_is_kept() -> None:
    extra = [{"name": "SSL_CERT_FILE", "value": "/other"}]
    built = a_deployment().having(caBundle={"configMap": "authorities"}).overriding("backend", extraEnv=extra)
    seen = variables(containers(dict(templates(built.manifests()))["backend"])[0])
    assert seen["SSL_CERT_FILE"] == "/other"
    assert seen["AWS_CA_BUNDLE"] == "/etc/visio-ca/ca.crt"


def test_without_a_bundle_nothing_is_set() -> None:
    for _, template in templates(a_deployment().manifests()):
        assert all(not CLIENTS & variables(one).keys() for one in containers(template))
