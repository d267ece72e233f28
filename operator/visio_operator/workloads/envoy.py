"""What Envoy Gateway (1.9 or later) needs beyond the Gateway API: filters by address, long sessions, downloads.

An authorization subrequest gets a path of its own and no URL, so the listener writes the URL into X-Original-URL before
anything else happens; what a browser sent under that name is overwritten. Documented by Envoy Gateway for
SecurityPolicy, ClientTrafficPolicy, HTTPRouteFilter and Backend.
"""

from __future__ import annotations

from collections.abc import Sequence

from .common import PLATFORM, Manifest, Site, metadata, object_name
from .connections import storage
from .routes import (
    BACKEND_PORT,
    SESSION_SECONDS,
    SIGNED_HEADERS,
    Download,
    downloads,
    is_outside,
    store_service,
)

GROUP = "gateway.envoyproxy.io"
_API_VERSION = f"{GROUP}/v1alpha1"
_URL, _STORE = "x-original-url", "x-visio-store"


def policies(site: Site) -> list[Manifest]:
    """What is attached to the routes and to the Gateway."""
    gateway = site.spec.gateway
    return [
        *_only_from(site, "admin", gateway.admin_allow),
        *_only_from(site, "webhook", gateway.webhook_allow),
        _long_sessions(site, "sfu", "livekit"),
        *(_downloads(site) if downloads(site) else []),
    ]


def download_filters(site: Site) -> list[Manifest]:
    """The filters of an HTTPRoute's rule for downloads, before those of the standard."""
    reference = {"group": GROUP, "kind": "HTTPRouteFilter", "name": object_name(site, "media")}
    return [{"type": "ExtensionRef", "extensionRef": reference}]


def store_reference(site: Site) -> Manifest:
    """The object store as the target of a route: Envoy Gateway takes no Service for a server outside."""
    if is_outside(site):
        return {"group": GROUP, "kind": "Backend", "name": store_service(site)}
    return {"name": store_service(site), "port": storage(site).endpoint.port}


def _object(site: Site, part: str, kind: str, name: str, spec: Manifest) -> Manifest:
    meta = metadata(site, part, object_name(site, name))
    return {"apiVersion": _API_VERSION, "kind": kind, "metadata": meta, "spec": spec}


def _route(site: Site, name: str) -> list[Manifest]:
    return [{"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": object_name(site, name)}]


def _only_from(site: Site, name: str, ranges: Sequence[str]) -> list[Manifest]:
    if not ranges:
        return []
    rule = {"name": "allowed", "action": "Allow", "principal": {"clientCIDRs": list(ranges)}}
    authorization = {"defaultAction": "Deny", "rules": [rule]}
    spec = {"targetRefs": _route(site, name), "authorization": authorization}
    return [_object(site, "backend", "SecurityPolicy", name, spec)]


def _long_sessions(site: Site, part: str, name: str) -> Manifest:
    http = {"requestTimeout": "0s", "streamIdleTimeout": f"{SESSION_SECONDS}s"}
    spec = {"targetRefs": _route(site, name), "timeout": {"http": http}}
    return _object(site, part, "BackendTrafficPolicy", name, spec)


def _downloads(site: Site) -> list[Manifest]:
    endpoint = storage(site).endpoint
    gateway = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": site.name, "sectionName": "web"}
    early = {
        "set": [
            {"name": _URL, "value": f"https://{site.spec.host}%REQ(:PATH)%"},
            {"name": _STORE, "value": storage(site).authority},
        ]
    }
    rewrite = {
        # The signature covers the host with its port, which the standard's rewriting cannot say.
        "hostname": {"type": "Header", "header": _STORE},
        "path": {
            "type": "ReplaceRegexMatch",
            "replaceRegexMatch": {
                "pattern": "^/media/",
                "substitution": f"/{site.spec.object_storage.bucket}/",
            },
        },
    }
    outside = {"type": "Endpoints", "endpoints": [{"fqdn": {"hostname": endpoint.host, "port": endpoint.port}}]}
    return [
        _object(
            site,
            PLATFORM,
            "ClientTrafficPolicy",
            "web",
            {"targetRefs": [gateway], "headers": {"earlyRequestHeaders": early}},
        ),
        _object(site, "backend", "HTTPRouteFilter", "media", {"urlRewrite": rewrite}),
        *([_object(site, "backend", "Backend", "media", outside)] if is_outside(site) else []),
        *(_authorization(site, each) for each in downloads(site)),
        *(_long_sessions(site, "backend", each.name) for each in downloads(site)),
    ]


def _authorization(site: Site, download: Download) -> Manifest:
    http = {
        "backendRefs": [{"name": object_name(site, "backend"), "port": BACKEND_PORT}],
        "pathOverride": download.auth_path,
        "headersToBackend": [header.lower() for header in SIGNED_HEADERS],
    }
    # X-Forwarded-Proto, or Django would redirect the subrequest to https.
    extauth = {"headersToExtAuth": ["cookie", "x-forwarded-proto", _URL], "http": http}
    spec = {"targetRefs": _route(site, download.name), "extAuth": extauth}
    return _object(site, "backend", "SecurityPolicy", download.name, spec)
