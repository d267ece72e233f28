"""The certificate of the public hosts, asked of cert-manager when the spec names an issuer."""

from __future__ import annotations

from .common import PLATFORM, Manifest, Site, metadata, object_name
from .turn import tls_secret, turn_host


def public_hosts(site: Site) -> tuple[str, ...]:
    """The hosts that the certificate has to cover."""
    hosts = (site.spec.host, site.spec.livekit_public_host)
    return (*hosts, turn_host(site)) if site.spec.sfu.network == "turnTLS" else hosts


def certificate(site: Site) -> list[Manifest]:
    """A cert-manager Certificate that fills the Secret which routes and TURN servers use."""
    issuer = site.spec.gateway.tls.issuer_ref
    if issuer is None:
        return []
    return [
        {
            "apiVersion": "cert-manager.io/v1",
            "kind": "Certificate",
            "metadata": metadata(site, PLATFORM, object_name(site, "tls")),
            "spec": {
                "secretName": tls_secret(site),
                "dnsNames": list(public_hosts(site)),
                "issuerRef": {"group": "cert-manager.io", "kind": "ClusterIssuer", "name": issuer},
                "privateKey": {"algorithm": "ECDSA", "size": 256, "rotationPolicy": "Always"},
            },
        }
    ]
