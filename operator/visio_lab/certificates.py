"""The lab's own certificate authority, the API server's certificate, client identities and their kubeconfigs.

Everything is made fresh for one lab and dies with its directory. Keys are ECDSA P-256: an RSA key would take longer to
find than etcd takes to start.
"""

import base64
import datetime
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from visio_lab.context import CLUSTER_DOMAIN, KUBERNETES_SERVICE_IP, NODE_IP

VALIDITY = datetime.timedelta(days=365)
SERVER_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
    "localhost",
)
SERVER_ADDRESSES = ("127.0.0.1", KUBERNETES_SERVICE_IP, NODE_IP)


@dataclass(frozen=True)
class Authority:
    """A certificate authority that can sign."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate that clients trust."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes


def new_authority(common_name: str) -> Authority:
    """A self-signed authority which may sign certificates and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = _name(common_name, None)
    usage = _key_usage(sign_certificates=True)
    certificate = (
        _builder(name, name, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Authority(certificate, key)


def server_certificate(authority: Authority) -> KeyPair:
    """The API server's certificate, valid for every name and address under which the lab reaches it."""
    names: list[x509.GeneralName] = [x509.DNSName(name) for name in SERVER_NAMES]
    names += [x509.IPAddress(ipaddress.ip_address(address)) for address in SERVER_ADDRESSES]
    return _leaf(authority, "kube-apiserver", None, ExtendedKeyUsageOID.SERVER_AUTH, names)


def kubelet_certificate(authority: Authority, addresses: Sequence[str]) -> KeyPair:
    """The serving certificate of the lab's kubelet, for the addresses of its nodes."""
    names = [x509.IPAddress(ipaddress.ip_address(address)) for address in addresses]
    return _leaf(authority, "system:node:visio-lab", "system:nodes", ExtendedKeyUsageOID.SERVER_AUTH, names)


def host_certificate(authority: Authority, hosts: Sequence[str]) -> KeyPair:
    """A server's certificate for public host names."""
    return _leaf(authority, hosts[0], None, ExtendedKeyUsageOID.SERVER_AUTH, [x509.DNSName(host) for host in hosts])


def client_certificate(authority: Authority, user: str, group: str | None = None) -> KeyPair:
    """An identity: Kubernetes takes the user from the common name and the group from the organization."""
    return _leaf(authority, user, group, ExtendedKeyUsageOID.CLIENT_AUTH, [])


def signing_key() -> bytes:
    """A private key (PEM) with which the API server signs ServiceAccount tokens.

    In the older format "EC PRIVATE KEY": the API server also reads its public half from it, and not from PKCS 8.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def kubeconfig(server: str, authority_pem: bytes, identity: KeyPair) -> str:
    """A kubeconfig (YAML) for `identity`, with all keys inside, so that it can be copied."""
    user = {"client-certificate-data": _base64(identity.certificate), "client-key-data": _base64(identity.key)}
    return kubeconfig_for_user(server, authority_pem, user)


def kubeconfig_for_user(server: str, authority_pem: bytes, user: dict[str, str], namespace: str = "default") -> str:
    """A kubeconfig (YAML) with `user` as its only user entry and `namespace` as the default one."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "lab", "cluster": {"server": server, "certificate-authority-data": _base64(authority_pem)}}
        ],
        "users": [{"name": "lab", "user": user}],
        "contexts": [{"name": "lab", "context": {"cluster": "lab", "user": "lab", "namespace": namespace}}],
        "current-context": "lab",
    }
    return yaml.safe_dump(document, sort_keys=False)


def write_private(path: Path, content: bytes | str) -> None:
    """Write a file that only its owner may read, from its first byte on."""
    path.touch(mode=0o600)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def _leaf(
    authority: Authority,
    common_name: str,
    group: str | None,
    usage: x509.ObjectIdentifier,
    names: Sequence[x509.GeneralName],
) -> KeyPair:
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        _builder(_name(common_name, group), authority.certificate.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(sign_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    certificate = builder.sign(authority.key, hashes.SHA256())
    return KeyPair(certificate.public_bytes(serialization.Encoding.PEM), _key_pem(key))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        # A clock that steps back a little while the lab starts must not make it refuse its own certificates.
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + VALIDITY)
    )


def _name(common_name: str, group: str | None) -> x509.Name:
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, common_name)]
    if group is not None:
        attributes.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, group))
    return x509.Name(attributes)


def _key_usage(*, sign_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not sign_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=sign_certificates,
        crl_sign=sign_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
