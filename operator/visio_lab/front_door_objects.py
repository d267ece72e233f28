"""The objects of the lab's front door: Traefik with its rights, the classes it serves, and the sign-in provider."""

import json
from typing import Any

from visio_lab import public_ca
from visio_lab.context import LabContext

Json = dict[str, Any]
Placed = tuple[str, Json]
"""A collection's path and an object for it."""

NAMESPACE = "lab-system"
DNS_HOSTS = "dns-hosts"
OIDC_HOST = "auth.example.gouv.fr"
OIDC_CLIENTS = {"visio": "replace-me"}
"""Clients and secrets as the examples have them."""
CA_CONFIG_MAP = "public-ca"
_CA_FOLDER = "/etc/lab-ca"
_OIDC_PORT = 8080

_RBAC = "rbac.authorization.k8s.io"
_PLURALS = {"Ingress": "ingresses", "IngressClass": "ingressclasses", "GatewayClass": "gatewayclasses"}
_RULES = (
    ("", ("services", "secrets", "nodes", "configmaps", "namespaces", "pods"), ("get", "list", "watch")),
    ("discovery.k8s.io", ("endpointslices",), ("get", "list", "watch")),
    ("networking.k8s.io", ("ingresses", "ingressclasses"), ("get", "list", "watch")),
    ("networking.k8s.io", ("ingresses/status",), ("update",)),
    ("traefik.io", ("*",), ("get", "list", "watch")),
    ("gateway.networking.k8s.io", ("*",), ("get", "list", "watch", "update")),
)
_ARGUMENTS = (
    "--global.checknewversion=false",
    "--global.sendanonymoususage=false",
    "--log.level=INFO",
    "--accesslog=true",
    "--ping=true",
    # The ports of its own chart.
    "--entrypoints.web.address=:8000",
    "--entrypoints.websecure.address=:8443",
    "--entrypoints.traefik.address=:8080",
    # So that a test need not wait for the usual two seconds after each change.
    "--providers.providersthrottleduration=200ms",
    "--providers.kubernetesingressnginx=true",
    "--providers.kubernetesingressnginx.ingressclass=nginx",
    f"--providers.kubernetesingressnginx.publishservice={NAMESPACE}/traefik",
    "--providers.kubernetesingressnginx.httpentrypoint=web",
    "--providers.kubernetesingressnginx.httpsentrypoint=websecure",
    "--providers.kubernetesingress=true",
    "--providers.kubernetesingress.ingressclass=traefik",
    f"--providers.kubernetesingress.ingressendpoint.publishedservice={NAMESPACE}/traefik",
    "--providers.kubernetescrd=true",
    "--providers.kubernetescrd.ingressclass=traefik",
    "--providers.kubernetescrd.allowexternalnameservices=true",
    "--providers.kubernetesgateway=true",
    f"--providers.kubernetesgateway.statusaddress.service.namespace={NAMESPACE}",
    "--providers.kubernetesgateway.statusaddress.service.name=traefik",
)


def traefik_objects(ctx: LabContext, address: str) -> list[Placed]:
    """Traefik behind `address`, with the rights to see routes in every namespace."""
    subject = {"kind": "ServiceAccount", "name": "traefik", "namespace": NAMESPACE}
    role = {"apiGroup": _RBAC, "kind": "ClusterRole", "name": "lab-traefik"}
    rules = [{"apiGroups": [group], "resources": list(what), "verbs": list(verbs)} for group, what, verbs in _RULES]
    container = {
        "name": "traefik",
        "image": "docker.io/library/traefik:v3.7.13",
        "args": list(_ARGUMENTS),
        # Its own subrequests go to public names.
        "env": [{"name": "SSL_CERT_FILE", "value": f"{_CA_FOLDER}/{public_ca.CONFIG_MAP_KEY}"}],
        "ports": [{"name": "web", "containerPort": 8000}, {"name": "websecure", "containerPort": 8443}],
        "readinessProbe": {"httpGet": {"path": "/ping", "port": 8080}, "periodSeconds": 1},
        "volumeMounts": [{"name": "ca", "mountPath": _CA_FOLDER}],
    }
    ports = [
        {"name": "web", "port": 80, "targetPort": "web"},
        {"name": "websecure", "port": 443, "targetPort": "websecure"},
    ]
    return [
        _placed("v1", "ServiceAccount", "traefik"),
        _placed(f"{_RBAC}/v1", "ClusterRole", "lab-traefik", namespaced=False, rules=rules),
        _placed(f"{_RBAC}/v1", "ClusterRoleBinding", "lab-traefik", namespaced=False, roleRef=role, subjects=[subject]),
        (f"/api/v1/namespaces/{NAMESPACE}/configmaps", public_ca.ca_configmap(ctx.directory, NAMESPACE, CA_CONFIG_MAP)),
        _service("traefik", ports, clusterIP=address, type="LoadBalancer"),
        _deployment("traefik", container, [{"name": "ca", "configMap": {"name": CA_CONFIG_MAP}}], account="traefik"),
    ]


def oidc_objects(ctx: LabContext) -> list[Placed]:
    """The sign-in provider under its public name."""
    variables = {"OIDC_ISSUER": f"https://{OIDC_HOST}", "OIDC_CLIENTS": json.dumps(OIDC_CLIENTS)}
    container = {
        "name": "oidc",
        "image": "lab/lab-process:oidc",
        "command": [ctx.python, "-m", "visio_lab.standins.oidc", "--port", str(_OIDC_PORT)],
        "env": [{"name": name, "value": value} for name, value in variables.items()],
        "ports": [{"name": "http", "containerPort": _OIDC_PORT}],
        "readinessProbe": {"tcpSocket": {"port": "http"}, "periodSeconds": 1},
    }
    backend = {"service": {"name": "oidc", "port": {"number": 80}}}
    rule = {"host": OIDC_HOST, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
    spec = {
        "ingressClassName": "nginx",
        "tls": [{"hosts": [OIDC_HOST], "secretName": "oidc-tls"}],
        "rules": [rule],
    }
    return [
        (
            f"/api/v1/namespaces/{NAMESPACE}/secrets",
            public_ca.tls_secret(ctx.directory, NAMESPACE, "oidc-tls", [OIDC_HOST]),
        ),
        _service("oidc", [{"name": "http", "port": 80, "targetPort": "http"}]),
        _deployment("oidc", container),
        _placed("networking.k8s.io/v1", "Ingress", "oidc", spec=spec),
    ]


def classes() -> list[Placed]:
    """The classes by which routes choose Traefik."""
    networking, gateways = "networking.k8s.io/v1", "gateway.networking.k8s.io/v1"
    nginx, traefik = {"controller": "k8s.io/ingress-nginx"}, {"controller": "traefik.io/ingress-controller"}
    gateway = {"controllerName": "traefik.io/gateway-controller"}
    return [
        _placed(networking, "IngressClass", "nginx", namespaced=False, spec=nginx),
        _placed(networking, "IngressClass", "traefik", namespaced=False, spec=traefik),
        _placed(gateways, "GatewayClass", "traefik", namespaced=False, spec=gateway),
    ]


def _placed(api_version: str, kind: str, name: str, *, namespaced: bool = True, **fields: Any) -> Placed:
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    plural = _PLURALS.get(kind, f"{kind.lower()}s")
    meta = {"name": name, "labels": {"app": name}}
    body = {"apiVersion": api_version, "kind": kind, "metadata": meta, **fields}
    return f"{root}/namespaces/{NAMESPACE}/{plural}" if namespaced else f"{root}/{plural}", body


def _service(name: str, ports: list[Json], **fields: Any) -> Placed:
    return _placed("v1", "Service", name, spec={"selector": {"app": name}, "ports": ports, **fields})


def _deployment(name: str, container: Json, volumes: list[Json] | None = None, account: str = "default") -> Placed:
    pod = {
        "containers": [container],
        "volumes": volumes or [],
        "serviceAccountName": account,
        "terminationGracePeriodSeconds": 2,
    }
    template = {"metadata": {"labels": {"app": name}}, "spec": pod}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": name}}, "template": template}
    return _placed("apps/v1", "Deployment", name, spec=spec)
