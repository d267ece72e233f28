"""What the programs behind a class can do beyond the standards, and what therefore cannot be.

`check` and the planner both ask `unroutable`, so that a wish is refused before anything is rolled out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .routes import Gateway
from .spec import VisioDeploymentSpec

MEDIA_AUTH_HEADER = "mediaAuthHeader"
"""The ladder's setting that says whether the name of the header with the original URL can be configured."""
CONFIGURABLE = "configurable"
AUTHORITIES_KEY = "ca.crt"
"""Where Gateway API and Traefik look for certificates in a ConfigMap."""


@dataclass(frozen=True)
class Unroutable:
    """A wish that a controller cannot fulfil; `field` is its path below spec."""

    field: str
    problem: str
    next_step: str


def unroutable(spec: VisioDeploymentSpec, settings: Mapping[str, str]) -> Iterator[Unroutable]:
    """What the spec asks of its controller in vain; `settings` are those of its release (releases.yaml).

    Facts: facts/visio.md 7 to 9, and what Visio's pull request 1649 says about Traefik.
    """
    gateway, downloads = spec.gateway, has_downloads(spec)
    if gateway.program == "other":
        yield from _beyond_the_standard(gateway, downloads)
    elif gateway.program == "traefik" and downloads:
        yield from _traefik_downloads(gateway, spec.object_storage.endpoint is not None, settings)
    if gateway.program in ("traefik", "envoyGateway") and downloads:
        yield from _trusted_store(spec)


def has_downloads(spec: VisioDeploymentSpec) -> bool:
    """Whether there is anything that people could download, and they shall."""
    return spec.gateway.recording_downloads and (spec.recording.enabled or spec.object_storage.file_uploads)


def _beyond_the_standard(gateway: Gateway, downloads: bool) -> Iterator[Unroutable]:
    for name, ranges in (("adminAllow", gateway.admin_allow), ("webhookAllow", gateway.webhook_allow)):
        if ranges:
            problem = "only a known controller can filter by address, and controller is other"
            yield Unroutable(f"gateway.{name}", problem, _choose(gateway, "remove it and filter before the cluster"))
    if downloads:
        problem = (
            "recordings could not be downloaded: each download asks the API in a subrequest, for which neither Ingress "
            "nor Gateway API has a standard"
        )
        yield Unroutable("gateway.controller", problem, _choose(gateway, "set recordingDownloads to false"))


def _traefik_downloads(gateway: Gateway, store_outside: bool, settings: Mapping[str, str]) -> Iterator[Unroutable]:
    without = "set recordingDownloads to false"
    if settings.get(MEDIA_AUTH_HEADER) != CONFIGURABLE:
        problem = (
            "recordings could not be downloaded: Traefik names the URL in X-Forwarded-Uri, and this release of Visio "
            "reads X-Original-URL alone"
        )
        next_step = f"use a release from 1.31.0 on, name ingressNginx or envoyGateway with its class, or {without}"
        yield Unroutable("gateway.controller", problem, next_step)
    elif gateway.class_name is not None and store_outside:
        problem = "recordings could not be downloaded: Traefik's Gateway API reaches no server outside the cluster"
        next_step = f"use ingressClassName with Traefik, name envoyGateway with its class, or {without}"
        yield Unroutable("gateway.className", problem, next_step)


def _trusted_store(spec: VisioDeploymentSpec) -> Iterator[Unroutable]:
    """These controllers read the authorities of a store from one key, while pods can be given any."""
    outside, bundle = spec.object_storage.endpoint or "", spec.ca_bundle
    if outside.startswith("https://") and bundle is not None and bundle.key != AUTHORITIES_KEY:
        problem = (
            f"{spec.gateway.program} reads the authorities of the object store from the key {AUTHORITIES_KEY} alone"
        )
        yield Unroutable(
            "caBundle.key", problem, f"give the ConfigMap the key {AUTHORITIES_KEY}, and name it or nothing"
        )


def _choose(gateway: Gateway, instead: str) -> str:
    known = "traefik or envoyGateway" if gateway.ingress_class_name is None else "ingressNginx or traefik"
    return f"name {known} if that is what serves the class, or {instead}"
