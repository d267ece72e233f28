"""The lab's public certificate authority: what browsers and pods trust in place of the authorities of the Internet."""

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from visio_lab.certificates import Authority, host_certificate, new_authority, write_private
from visio_lab.handle import Lab

Json = dict[str, Any]

COMMON_NAME = "Lab public CA"
CONFIG_MAP_KEY = "ca.crt"


def certificate_file(directory: Path) -> Path:
    """The authority's certificate (PEM) of the lab in `directory`."""
    return directory / "pki" / "public-ca.crt"


def public_authority(directory: Path) -> Authority:
    """The public authority of the lab in `directory`, made when it is asked for the first time."""
    certificate, key = certificate_file(directory), directory / "pki" / "public-ca.key"
    if key.exists():
        private = serialization.load_pem_private_key(key.read_bytes(), None)
        assert isinstance(private, ec.EllipticCurvePrivateKey)
        return Authority(x509.load_pem_x509_certificate(certificate.read_bytes()), private)
    authority = new_authority(COMMON_NAME)
    certificate.write_bytes(authority.pem)
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    write_private(key, authority.key.private_bytes(encoding, form, serialization.NoEncryption()))
    return authority


def tls_secret(directory: Path, namespace: str, name: str, hosts: Sequence[str]) -> Json:
    """A Secret (kubernetes.io/tls) with a certificate for `hosts` by the public authority."""
    pair = host_certificate(public_authority(directory), hosts)
    data = {"tls.crt": pair.certificate, "tls.key": pair.key}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name, "namespace": namespace},
        "type": "kubernetes.io/tls",
        "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
    }


def ca_configmap(directory: Path, namespace: str, name: str) -> Json:
    """A ConfigMap with the public authority's certificate under CONFIG_MAP_KEY."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace},
        "data": {CONFIG_MAP_KEY: public_authority(directory).pem.decode()},
    }


def certificate_secret(lab: Lab, namespace: str, name: str, hosts: Sequence[str]) -> None:
    """Make the Secret `name` with a certificate for `hosts`, or replace what is in it. Raises LabError."""
    _apply(lab, tls_secret(lab.directory, namespace, name, hosts))


def public_ca_configmap(lab: Lab, namespace: str, name: str) -> None:
    """Make the ConfigMap `name` with the public authority, for `spec.caBundle`. Raises LabError."""
    _apply(lab, ca_configmap(lab.directory, namespace, name))


def _apply(lab: Lab, body: Json) -> None:
    lab.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=json.dumps(body))
