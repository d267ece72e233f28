"""Routes from outside by an Ingress controller; annotations are those of ingress-nginx (facts/visio.md 8).

What may be filtered by address is an Ingress of its own: administration, LiveKit's webhook, media.
"""

from __future__ import annotations

from .common import Manifest, Site, metadata, object_name
from .connections import LIVEKIT_PORT, storage
from .pods import service_port
from .turn import tls_secret

_NGINX = "nginx.ingress.kubernetes.io"
WEBHOOK_PATH = "/api/v1.0/rooms/webhooks-livekit/"
_SIGNED_HEADERS = "Authorization, X-Amz-Date, X-Amz-Content-SHA256"
_SESSION = "3600"
"""Seconds that a websocket may be silent before nginx cuts it."""


def ingress(site: Site) -> list[Manifest]:
    """All Ingress objects, and the Service by which media of an outside object store are reached."""
    if site.spec.gateway.ingress_class_name is None:
        return []
    host = site.spec.host
    api = [_path(path, "Prefix", object_name(site, "backend")) for path in ("/api/", "/external-api/")]
    admin = [_path(path, "Prefix", object_name(site, "backend")) for path in ("/admin", "/static")]
    return [
        _ingress(site, "frontend", "web", host, [*api, _path("/", "Prefix", object_name(site, "frontend"))]),
        _ingress(site, "backend", "admin", host, admin),
        _ingress(site, "backend", "webhook", host, [_path(WEBHOOK_PATH, "Exact", object_name(site, "backend"))]),
        *_media(site),
        _ingress(
            site,
            "sfu",
            "livekit",
            site.spec.livekit_public_host,
            [_path("/", "Prefix", object_name(site, "sfu"), LIVEKIT_PORT)],
            {"proxy-read-timeout": _SESSION, "proxy-send-timeout": _SESSION},
        ),
    ]


def _path(path: str, path_type: str, target: str, number: int = 80) -> Manifest:
    return {
        "path": path,
        "pathType": path_type,
        "backend": {"service": {"name": target, "port": {"number": number}}},
    }


def _ingress(
    site: Site,
    part: str,
    name: str,
    host: str,
    paths: list[Manifest],
    annotations: dict[str, str] | None = None,
) -> Manifest:
    meta = metadata(site, part, object_name(site, name))
    if annotations:
        meta["annotations"] = {f"{_NGINX}/{key}": value for key, value in annotations.items()}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": meta,
        "spec": {
            "ingressClassName": site.spec.gateway.ingress_class_name,
            "tls": [{"hosts": [host], "secretName": tls_secret(site)}],
            "rules": [{"host": host, "http": {"paths": paths}}],
        },
    }


def _media(site: Site) -> list[Manifest]:
    """Recordings and files straight from the object store, each request signed by the API in a subrequest."""
    store = storage(site)
    target, manifests = object_name(site, "garage"), []
    if store.endpoint.part is None:
        target = object_name(site, "media")
        manifests.append(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": metadata(site, "backend", target),
                "spec": {
                    "type": "ExternalName",
                    "externalName": store.endpoint.host,
                    "ports": [service_port("s3", store.endpoint.port, store.endpoint.port)],
                },
            }
        )
    for name, path, check in (
        ("media", "/media/(.*)", "recordings"),
        ("media-files", "/media/(files/.*)", "files"),
    ):
        annotations = {
            "auth-url": f"https://{site.spec.host}/api/v1.0/{check}/media-auth/",
            "auth-response-headers": _SIGNED_HEADERS,
            "use-regex": "true",
            "rewrite-target": f"/{site.spec.object_storage.bucket}/$1",
            # The signature covers the host, so the store has to see its own.
            "upstream-vhost": store.authority,
            "backend-protocol": "HTTPS" if store.endpoint.tls else "HTTP",
        }
        paths = [_path(path, "ImplementationSpecific", target, store.endpoint.port)]
        manifests.append(_ingress(site, "backend", name, site.spec.host, paths, annotations))
    return manifests
