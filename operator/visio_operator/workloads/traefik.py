"""What Traefik needs beyond Ingress and Gateway API: its own kinds for filters, subrequests and the object store.

Its ForwardAuth names the URL in X-Forwarded-Uri. The subrequest goes to the API's Service, since Traefik itself would
take that header away if the request came in through the front door once more.
"""

from __future__ import annotations

from collections.abc import Sequence

from .common import Manifest, Site, metadata, object_name
from .connections import storage
from .routes import (
    BACKEND_PORT,
    NO_SCRIPTS,
    SIGNED_HEADERS,
    Download,
    downloads,
    internal_api_host,
    store_service,
)
from .turn import tls_secret

GROUP = "traefik.io"
_API_VERSION = f"{GROUP}/v1alpha1"
_ANNOTATION = "traefik.ingress.kubernetes.io"
TLS_ONLY = {f"{_ANNOTATION}/router.tls": "true"}


def filters(site: Site) -> list[Manifest]:
    """The filters by address that the spec asks for."""
    gateway = site.spec.gateway
    wanted = (("admin", gateway.admin_allow), ("webhook", gateway.webhook_allow))
    return [
        _middleware(site, f"{name}-allow", {"ipAllowList": {"sourceRange": list(ranges)}})
        for name, ranges in wanted
        if ranges
    ]


def filtered_route(site: Site, name: str, matches: Sequence[str]) -> Manifest:
    """A route to the API behind the filter of that name; an Ingress names filters by what provider settings decide."""
    return _route(site, name, matches, [_filter_name(site, name)], _api(site))


def filter_references(site: Site, name: str, ranges: Sequence[str]) -> list[Manifest]:
    """The filters of an HTTPRoute's rule that let only these addresses through."""
    return [_reference(_filter_name(site, name))] if ranges else []


def download_routes(site: Site) -> list[Manifest]:
    """Downloads by Traefik's own routes, in which a Service outside the cluster and the server's name can be said."""
    if not downloads(site):
        return []
    return [
        *download_middlewares(site),
        *_transport(site),
        *(
            _route(site, each.name, [f"PathPrefix(`{each.path}`)"], _chain(site, each), _store(site))
            for each in downloads(site)
        ),
    ]


def download_middlewares(site: Site) -> list[Manifest]:
    """The subrequest to the API, the store's view of the request, and what browsers may do with the answer."""
    made = []
    for each in downloads(site):
        auth = {
            "address": f"http://{internal_api_host(site)}{each.auth_path}",
            "authResponseHeaders": list(SIGNED_HEADERS),
            "trustForwardHeader": False,
            # It answers with headers, or with a refusal of a line.
            "maxResponseBodySize": 65_536,
        }
        answer = {"Content-Security-Policy": NO_SCRIPTS}
        if each.attachment:
            answer["Content-Disposition"] = "attachment"
        # The signature covers the host; the session is none of the store's business.
        request = {"Host": storage(site).authority, "Cookie": ""}
        headers = {"customRequestHeaders": request, "customResponseHeaders": answer}
        made += [
            _middleware(site, f"{each.name}-auth", {"forwardAuth": auth}),
            _middleware(site, f"{each.name}-headers", {"headers": headers}),
        ]
    if downloads(site):
        rewrite = {"regex": "^/media/(.*)", "replacement": f"/{site.spec.object_storage.bucket}/$1"}
        made.append(_middleware(site, "media-path", {"replacePathRegex": rewrite}))
    return made


def download_references(site: Site, download: Download) -> list[Manifest]:
    """The filters of an HTTPRoute's rule for a download, in their order."""
    return [_reference(name) for name in _chain(site, download)]


def _chain(site: Site, download: Download) -> list[str]:
    return [object_name(site, name) for name in (f"{download.name}-auth", f"{download.name}-headers", "media-path")]


def _reference(name: str) -> Manifest:
    return {"type": "ExtensionRef", "extensionRef": {"group": GROUP, "kind": "Middleware", "name": name}}


def _filter_name(site: Site, name: str) -> str:
    return object_name(site, f"{name}-allow")


def _middleware(site: Site, name: str, spec: Manifest) -> Manifest:
    return _object(site, "Middleware", name, spec)


def _object(site: Site, kind: str, name: str, spec: Manifest) -> Manifest:
    meta = metadata(site, "backend", object_name(site, name))
    return {"apiVersion": _API_VERSION, "kind": kind, "metadata": meta, "spec": spec}


def _transport(site: Site) -> list[Manifest]:
    endpoint = storage(site).endpoint
    if not endpoint.tls:
        return []
    spec: Manifest = {"serverName": endpoint.host}
    bundle = site.spec.ca_bundle
    if bundle is not None:
        spec["rootCAs"] = [{"configMap": bundle.config_map}]
    return [_object(site, "ServersTransport", "media", spec)]


def _api(site: Site) -> Manifest:
    return {"name": object_name(site, "backend"), "port": BACKEND_PORT}


def _store(site: Site) -> Manifest:
    endpoint = storage(site).endpoint
    target: Manifest = {"name": store_service(site), "port": endpoint.port}
    return {**target, "scheme": "https", "serversTransport": object_name(site, "media")} if endpoint.tls else target


def _route(site: Site, name: str, matches: Sequence[str], middlewares: Sequence[str], target: Manifest) -> Manifest:
    rules = [
        {
            "kind": "Rule",
            "match": f"Host(`{site.spec.host}`) && {match}",
            "middlewares": [{"name": each} for each in middlewares],
            "services": [target],
        }
        for match in matches
    ]
    route = _object(site, "IngressRoute", name, {"routes": rules, "tls": {"secretName": tls_secret(site)}})
    route["metadata"]["annotations"] = {"kubernetes.io/ingress.class": str(site.spec.gateway.ingress_class_name)}
    return route
