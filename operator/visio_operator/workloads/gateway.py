"""Routes from outside by the Gateway API, without annotations of any vendor.

The media routes of the Ingress are missing: they need a subrequest for authorization, which the Gateway API has not.
"""

from __future__ import annotations

from .common import PLATFORM, Manifest, Site, metadata, object_name
from .connections import LIVEKIT_PORT
from .ingress import WEBHOOK_PATH
from .turn import tls_secret

_GROUP = "gateway.networking.k8s.io"


def gateway(site: Site) -> list[Manifest]:
    """A Gateway with a listener for each public host, and the routes to the parts."""
    class_name = site.spec.gateway.class_name
    if class_name is None:
        return []
    backend, frontend = object_name(site, "backend"), object_name(site, "frontend")
    host, livekit_host = site.spec.host, site.spec.livekit_public_host
    api = [_rule("PathPrefix", path, backend) for path in ("/api/", "/external-api/")]
    admin = [_rule("PathPrefix", path, backend) for path in ("/admin", "/static")]
    return [
        {
            "apiVersion": f"{_GROUP}/v1",
            "kind": "Gateway",
            "metadata": metadata(site, PLATFORM, site.name),
            "spec": {
                "gatewayClassName": class_name,
                "listeners": [
                    {"name": "http", "protocol": "HTTP", "port": 80, "allowedRoutes": _same_namespace()},
                    _listener(site, "web", host),
                    _listener(site, "livekit", livekit_host),
                ],
            },
        },
        _route(site, PLATFORM, "redirect", "http", [host, livekit_host], [_to_https()]),
        _route(site, "frontend", "web", "web", [host], [*api, _rule("PathPrefix", "/", frontend)]),
        _route(site, "backend", "admin", "web", [host], admin),
        _route(site, "backend", "webhook", "web", [host], [_rule("Exact", WEBHOOK_PATH, backend)]),
        _route(
            site,
            "sfu",
            "livekit",
            "livekit",
            [livekit_host],
            # 0s: a websocket lasts as long as the meeting.
            [{**_rule("PathPrefix", "/", object_name(site, "sfu"), LIVEKIT_PORT), "timeouts": {"request": "0s"}}],
        ),
    ]


def _same_namespace() -> Manifest:
    return {"namespaces": {"from": "Same"}}


def _to_https() -> Manifest:
    redirect = {"scheme": "https", "statusCode": 301}
    return {"filters": [{"type": "RequestRedirect", "requestRedirect": redirect}]}


def _listener(site: Site, name: str, host: str) -> Manifest:
    return {
        "name": name,
        "protocol": "HTTPS",
        "port": 443,
        "hostname": host,
        "tls": {"mode": "Terminate", "certificateRefs": [{"kind": "Secret", "name": tls_secret(site)}]},
        "allowedRoutes": _same_namespace(),
    }


def _rule(match: str, path: str, target: str, number: int = 80) -> Manifest:
    return {
        "matches": [{"path": {"type": match, "value": path}}],
        "backendRefs": [{"name": target, "port": number}],
    }


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
