"""Routes from outside by the Gateway API, with what the program behind the class needs besides.

Filters by address and downloads are beyond the standard: envoy.py and traefik.py have the kinds of those programs.
"""

from __future__ import annotations

from collections.abc import Sequence

from . import envoy, traefik
from .common import PLATFORM, Manifest, Site, metadata, object_name
from .connections import LIVEKIT_PORT, storage
from .routes import (
    ADMIN_PATHS,
    API_PATHS,
    BACKEND_PORT,
    NO_SCRIPTS,
    Download,
    downloads,
    is_outside,
    store_service,
)
from .turn import tls_secret
from .webhooks import WEBHOOK_PATH

_GROUP = "gateway.networking.k8s.io"
TRAEFIK_PORTS = (8000, 8443)
"""Traefik serves listeners on ports of its entry points alone; these are those of its chart, which Services publish as
80 and 443."""


def gateway(site: Site) -> list[Manifest]:
    """A Gateway with a listener for each public host, and the routes to the parts."""
    spec = site.spec.gateway
    if spec.class_name is None:
        return []
    backend, frontend = object_name(site, "backend"), object_name(site, "frontend")
    host, livekit_host = site.spec.host, site.spec.livekit_public_host
    http, https = TRAEFIK_PORTS if spec.program == "traefik" else (80, 443)
    api = [_rule("PathPrefix", path, backend) for path in API_PATHS]
    admin_only = _only_from(site, "admin", spec.admin_allow)
    admin = [_rule("PathPrefix", path, backend, filters=admin_only) for path in ADMIN_PATHS]
    webhook = _rule("Exact", WEBHOOK_PATH, backend, filters=_only_from(site, "webhook", spec.webhook_allow))
    return [
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "Gateway",
            "metadata": metadata(site, PLATFORM, site.name),
            "spec": {
                "gatewayClassName": spec.class_name,
                "listeners": [
                    {"name": "http", "protocol": "HTTP", "port": http, "allowedRoutes": _same_namespace()},
                    _listener(site, "web", host, https),
                    _listener(site, "livekit", livekit_host, https),
                ],
            },
        },
        _route(site, PLATFORM, "redirect", "http", [host, livekit_host], [_to_https()]),
        _route(site, "frontend", "web", "web", [host], [*api, _rule("PathPrefix", "/", frontend)]),
        _route(site, "backend", "admin", "web", [host], admin),
        _route(site, "backend", "webhook", "web", [host], [webhook]),
        *_downloads(site),
        _route(
            site,
            "sfu",
            "livekit",
            "livekit",
            [livekit_host],
            # 0s: a websocket lasts as long as the meeting.
            [{**_rule("PathPrefix", "/", object_name(site, "sfu"), LIVEKIT_PORT), "timeouts": {"request": "0s"}}],
        ),
        *(envoy.policies(site) if spec.program == "envoyGateway" else []),
        *(traefik.filters(site) if spec.program == "traefik" else []),
    ]


def _same_namespace() -> Manifest:
    return {"namespaces": {"from": "Same"}}


def _to_https() -> Manifest:
    redirect = {"scheme": "https", "statusCode": 301}
    return {"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}


def _listener(site: Site, name: str, host: str, number: int) -> Manifest:
    return {
        "name": name,
        "protocol": "HTTPS",
        "port": number,
        "hostname": host,
        "tls": {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": tls_secret(site)}]},
        "allowedRoutes": _same_namespace(),
    }


def _rule(
    match: str, path: str, target: str, number: int = BACKEND_PORT, *, filters: Sequence[Manifest] = ()
) -> Manifest:
    rule: Manifest = {
        "matches": [{"path": {"type": match, "value": path}}],
        "backendRefs": [{"name": target, "port": number}],
    }
    return {**rule, "filters": list(filters)} if filters else rule


def _only_from(site: Site, name: str, ranges: Sequence[str]) -> list[Manifest]:
    return traefik.filter_references(site, name, ranges) if site.spec.gateway.program == "traefik" else []


def _route(site: Site, part: str, name: str, listener: str, hosts: list[str], rules: list[Manifest]) -> Manifest:
    return {
        "apiVersion": f"{_GROUP}/v1",
        "kind": "HTTPRoute",
        "metadata": metadata(site, part, object_name(site, name)),
        "spec": {
            "parentRefs": [{"name": site.name, "sectionName": listener}],
            "hostnames": hosts,
            "rules": rules,
        },
    }


def _downloads(site: Site) -> list[Manifest]:
    """Recordings and files from the object store, each request after a subrequest to the API."""
    program = site.spec.gateway.program
    if program not in ("envoyGateway", "traefik") or not downloads(site):
        return []
    routes = [
        _route(site, "backend", each.name, "web", [site.spec.host], [_download_rule(site, each)])
        for each in downloads(site)
    ]
    middlewares = traefik.download_middlewares(site) if program == "traefik" else []
    return [*middlewares, *routes, *_store_tls(site)]


def _download_rule(site: Site, download: Download) -> Manifest:
    match = {"matches": [{"path": {"type": "PathPrefix", "value": download.path}}]}
    if site.spec.gateway.program == "traefik":
        target = {"name": store_service(site), "port": storage(site).endpoint.port}
        return {**match, "filters": traefik.download_references(site, download), "backendRefs": [target]}
    answer = [{"name": "Content-Security-Policy", "value": NO_SCRIPTS}]
    if download.attachment:
        answer.append({"name": "Content-Disposition", "value": "attachment"})
    filters = [
        *envoy.download_filters(site),
        # The session is none of the store's business.
        {"type": "RequestHeaderModifier", "requestHeaderModifier": {"remove": ["Cookie"]}},
        {"type": "ResponseHeaderModifier", "responseHeaderModifier": {"set": answer}},
    ]
    return {**match, "filters": filters, "backendRefs": [envoy.store_reference(site)], "timeouts": {"request": "0s"}}


def _store_tls(site: Site) -> list[Manifest]:
    """TLS towards an outside store, under its own name and trusted like everything else that pods connect to."""
    endpoint, bundle = storage(site).endpoint, site.spec.ca_bundle
    if not (endpoint.tls and is_outside(site)):
        return []
    trust: Manifest = {"hostname": endpoint.host}
    if bundle is None:
        trust["wellKnownCACertificates"] = "System"
    else:
        trust["caCertificateRefs"] = [{"group": "", "kind": "ConfigMap", "name": bundle.config_map}]
    target = {key: value for key, value in envoy.store_reference(site).items() if key != "port"}
    return [
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "BackendTLSPolicy",
            "metadata": metadata(site, "backend", object_name(site, "media")),
            "spec": {"targetRefs": [target], "validation": trust},
        }
    ]
