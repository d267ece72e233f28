"""What is routed to where, whatever program routes it: hosts and paths (facts/visio.md 8), and the object store."""

from __future__ import annotations

from dataclasses import dataclass

from visio_operator.api.controllers import CONFIGURABLE, MEDIA_AUTH_HEADER, has_downloads
from visio_operator.plan.plan import Release

from .common import Manifest, Site, env, metadata, object_name
from .connections import storage
from .pods import service_port

API_PATHS = ("/api/", "/external-api/")
ADMIN_PATHS = ("/admin", "/static")
BACKEND_PORT = 80
SIGNED_HEADERS = ("Authorization", "X-Amz-Date", "X-Amz-Content-SHA256")
"""What the API answers to an authorization subrequest, and the object store asks for."""
SESSION_SECONDS = 3600
"""How long a websocket or a download may be silent before it is cut."""
NO_SCRIPTS = "default-src 'none'"
"""Content security policy of what people have uploaded."""


@dataclass(frozen=True)
class Download:
    """One kind of objects that browsers get from the store, each request after a subrequest to the API."""

    name: str
    path: str
    key_prefix: str
    """Beginning of the objects' keys, which follows `/media/`."""
    auth_path: str
    attachment: bool = False
    """Whether browsers shall save it and never show it."""


DOWNLOADS = (
    Download("media", "/media/", "", "/api/v1.0/recordings/media-auth/"),
    Download("media-files", "/media/files/", "files/", "/api/v1.0/files/media-auth/", attachment=True),
)


def downloads(site: Site) -> tuple[Download, ...]:
    """The kinds of objects that are served."""
    return DOWNLOADS if has_downloads(site.spec) else ()


def is_outside(site: Site) -> bool:
    """Whether the object store is a server of somebody else."""
    return storage(site).endpoint.part is None


def store_service(site: Site) -> str:
    """The Service by which routes reach the object store."""
    return object_name(site, "media" if is_outside(site) else "garage")


def media_service(site: Site) -> list[Manifest]:
    """The name inside the cluster of an object store outside, where there is something to download."""
    if not (is_outside(site) and downloads(site)):
        return []
    endpoint = storage(site).endpoint
    return [
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata(site, "backend", store_service(site)),
            "spec": {
                "type": "ExternalName",
                "externalName": endpoint.host,
                "ports": [service_port("s3", endpoint.port, endpoint.port)],
            },
        }
    ]


def internal_api_host(site: Site) -> str:
    """The API's name for a controller in another namespace; without the cluster's domain, which differs."""
    return f"{object_name(site, 'backend')}.{site.namespace}.svc"


def allowed_hosts(site: Site) -> tuple[str, ...]:
    """The hosts that the API answers to: the public one, and its own where Traefik sends subrequests straight to it."""
    own = (internal_api_host(site),) if _traefik_asks(site) else ()
    return (site.spec.host, *own)


def media_auth_env(site: Site, release: Release) -> list[Manifest]:
    """Where the API finds the URL of a subrequest, in releases that let one choose; X-Original-URL by default."""
    if _traefik_asks(site) and release.settings.get(MEDIA_AUTH_HEADER) == CONFIGURABLE:
        return env({"MEDIA_AUTH_ORIGINAL_URL_HEADER": "HTTP_X_FORWARDED_URI"})
    return []


def _traefik_asks(site: Site) -> bool:
    return site.spec.gateway.program == "traefik" and bool(downloads(site))
