"""Routes from outside by an Ingress controller; what may be filtered by address is an Ingress of its own.

Annotations are those of ingress-nginx, or what Traefik understands (traefik.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from . import traefik
from .common import Manifest, Site, metadata, object_name
from .connections import LIVEKIT_PORT, storage
from .routes import (
    ADMIN_PATHS,
    API_PATHS,
    BACKEND_PORT,
    SESSION_SECONDS,
    SIGNED_HEADERS,
    Download,
    downloads,
    media_service,
    store_service,
)
from .turn import tls_secret
from .webhooks import WEBHOOK_PATH

_NGINX = "nginx.ingress.kubernetes.io"


def ingress(site: Site) -> list[Manifest]:
    """All Ingress objects, and what the controller needs besides."""
    gateway = site.spec.gateway
    if gateway.ingress_class_name is None:
        return []
    host = site.spec.host
    backend, frontend, sfu = (object_name(site, part) for part in ("backend", "frontend", "sfu"))
    api = [_path(path, "Prefix", backend) for path in API_PATHS]
    return [
        _ingress(site, "frontend", "web", host, [*api, _path("/", "Prefix", frontend)]),
        _guarded(site, "admin", dict.fromkeys(ADMIN_PATHS, "Prefix"), gateway.admin_allow),
        _guarded(site, "webhook", {WEBHOOK_PATH: "Exact"}, gateway.webhook_allow),
        *_downloads(site),
        _ingress(
            site,
            "sfu",
            "livekit",
            site.spec.livekit_public_host,
            [_path("/", "Prefix", sfu, LIVEKIT_PORT)],
            _long_sessions(site),
        ),
        *(traefik.filters(site) if gateway.program == "traefik" else []),
    ]


def _path(path: str, path_type: str, target: str, number: int = BACKEND_PORT) -> Manifest:
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
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    meta = metadata(site, part, object_name(site, name))
    # Traefik would serve these paths without TLS too.
    own = traefik.TLS_ONLY if site.spec.gateway.program == "traefik" else {}
    if own or annotations:
        meta["annotations"] = {**own, **(annotations or {})}
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


def _nginx(values: Mapping[str, str]) -> dict[str, str]:
    return {f"{_NGINX}/{name}": value for name, value in values.items()}


def _guarded(site: Site, name: str, paths: Mapping[str, str], ranges: Sequence[str]) -> Manifest:
    """Paths of the API, with their types, that only some addresses may open; all of them may if there are none."""
    program = site.spec.gateway.program
    if ranges and program == "traefik":
        functions = {"Prefix": "PathPrefix", "Exact": "Path"}
        return traefik.filtered_route(site, name, [f"{functions[kind]}(`{path}`)" for path, kind in paths.items()])
    # Newer controllers call it allowlist-source-range; all of them know this name.
    only = _nginx({"whitelist-source-range": ",".join(ranges)}) if ranges and program == "ingressNginx" else {}
    backend = object_name(site, "backend")
    return _ingress(site, "backend", name, site.spec.host, [_path(*each, backend) for each in paths.items()], only)


def _long_sessions(site: Site) -> dict[str, str]:
    if site.spec.gateway.program != "ingressNginx":
        # Traefik never cuts a websocket.
        return {}
    return _nginx({"proxy-read-timeout": str(SESSION_SECONDS), "proxy-send-timeout": str(SESSION_SECONDS)})


def _downloads(site: Site) -> list[Manifest]:
    """Recordings and files straight from the object store, each request signed by the API in a subrequest."""
    program = site.spec.gateway.program
    if program == "traefik":
        return [*media_service(site), *traefik.download_routes(site)]
    if program == "other":
        return []
    return [*media_service(site), *(_download(site, each) for each in downloads(site))]


def _download(site: Site, download: Download) -> Manifest:
    store = storage(site)
    annotations = {
        "auth-url": f"https://{site.spec.host}{download.auth_path}",
        "auth-response-headers": ", ".join(SIGNED_HEADERS),
        "use-regex": "true",
        "rewrite-target": f"/{site.spec.object_storage.bucket}/$1",
        # The signature covers the host, so the store has to see its own.
        "upstream-vhost": store.authority,
        "backend-protocol": "HTTPS" if store.endpoint.tls else "HTTP",
    }
    if store.endpoint.tls:
        # A store that serves many hosts chooses its certificate by this name, which nginx leaves out by default, and
        # ingress-nginx too unless its user adds proxy-ssl-secret with the store's authority.
        annotations |= {"proxy-ssl-server-name": "on", "proxy-ssl-name": store.endpoint.host}
    path = f"/media/({download.key_prefix}.*)"
    paths = [_path(path, "ImplementationSpecific", store_service(site), store.endpoint.port)]
    return _ingress(site, "backend", download.name, site.spec.host, paths, _nginx(annotations))
