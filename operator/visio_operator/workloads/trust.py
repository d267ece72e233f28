"""The certificate authorities of the administration, in every container that connects to something."""

from __future__ import annotations

from .common import Manifest, Site, env
from .containers import mount

BUNDLE_VOLUME = "ca-bundle"
BUNDLE_FOLDER = "/etc/visio-ca"
BUNDLE_FILE = f"{BUNDLE_FOLDER}/ca.crt"
_VARIABLES = (
    "SSL_CERT_FILE",  # Go, OpenSSL (so Python's ssl and aiohttp), httpx, MinIO's client, Rust's native roots
    "REQUESTS_CA_BUNDLE",
    "AWS_CA_BUNDLE",  # botocore, boto3
    "NODE_EXTRA_CA_CERTS",
)
_SERVERS = frozenset({"postgres", "redis", "garage", "turn", "frontend"})
"""Parts that connect to nobody outside the platform."""


def trusting(site: Site, part: str, spec: Manifest) -> Manifest:
    """The pod spec with the bundle of `spec.caBundle` mounted, and named to every program in its own way.

    A variable that is there already stays as it is: the user's overrides come before ours.
    """
    bundle = site.spec.ca_bundle
    if bundle is None or part in _SERVERS:
        return spec
    volume = {
        "name": BUNDLE_VOLUME,
        "configMap": {"name": bundle.config_map, "items": [{"key": bundle.key, "path": "ca.crt"}]},
    }
    changed = {**spec, "volumes": [*spec.get("volumes", []), volume]}
    for kind in ("initContainers", "containers"):
        if kind in spec:
            changed[kind] = [_trusting(container) for container in spec[kind]]
    return changed


def _trusting(container: Manifest) -> Manifest:
    present = {variable["name"] for variable in container.get("env", [])}
    added = env({name: BUNDLE_FILE for name in _VARIABLES if name not in present})
    mounted = mount(BUNDLE_VOLUME, BUNDLE_FOLDER, read_only=True)
    return {
        **container,
        "env": [*container.get("env", []), *added],
        "volumeMounts": [*container.get("volumeMounts", []), mounted],
    }
