"""Pieces of containers: ports, probes, volumes, amounts, users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .common import Manifest, container_security
from .quantities import canonical_amounts

GPU = "nvidia.com/gpu"
TMP = "/tmp"  # noqa: S108 - a path inside the container, on a volume of its own
PROXY_METRICS_PORT = 8091


@dataclass(frozen=True)
class User:
    """The numeric user, group and volume group of a pod; the kubelet cannot check that a named user is not root."""

    uid: int
    gid: int


VISIO = User(1001, 127)
"""All five Visio images (facts/visio.md 0)."""
PLAIN = User(1000, 1000)
"""Images that ask for no certain user."""


def container(name: str, image: str, **fields: Any) -> Manifest:
    """A container with the restricted security context; `fields` are those of the API, and empty ones are left out."""
    security = fields.pop("securityContext", None) or container_security()
    kept = {field: value for field, value in fields.items() if value}
    return {"name": name, "image": image, **kept, "securityContext": security}


def port(name: str, number: int, protocol: str = "TCP") -> Manifest:
    """A container port. The protocol is always written: the API server tells ports apart by it."""
    return {"name": name, "containerPort": number, "protocol": protocol}


def amounts(requests: Mapping[str, str], limits: Mapping[str, str]) -> Manifest:
    """Requests and limits in canonical spelling."""
    return {"requests": canonical_amounts(requests), "limits": canonical_amounts(limits)}


def http_probe(path: str, port_name: str, *, period: int, failures: int, timeout: int = 5) -> Manifest:
    """A probe by HTTP GET; `period` and `timeout` in seconds, given up after `failures` in a row."""
    return {"httpGet": {"path": path, "port": port_name}, **_timing(period, failures, timeout)}


def tcp_probe(port_name: str, *, period: int, failures: int, timeout: int = 5) -> Manifest:
    """A probe by connecting only; a server that is busy in one thread still passes it."""
    return {"tcpSocket": {"port": port_name}, **_timing(period, failures, timeout)}


def exec_probe(command: list[str], *, period: int, failures: int, timeout: int = 5) -> Manifest:
    """A probe by a command inside the container."""
    return {"exec": {"command": command}, **_timing(period, failures, timeout)}


def _timing(period: int, failures: int, timeout: int) -> Manifest:
    return {"periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": timeout}


def linger(seconds: int) -> Manifest:
    """Go on serving for some seconds after a pod was told to end, until all proxies have stopped sending to it.

    By the kubelet's own sleep, since some images have no shell.
    """
    return {"preStop": {"sleep": {"seconds": seconds}}}


def scratch(name: str, size: str) -> Manifest:
    """A volume that lives as long as its pod and never grows over `size`."""
    return {"name": name, "emptyDir": {"sizeLimit": size}}


def mount(name: str, path: str, *, sub_path: str = "", read_only: bool = False) -> Manifest:
    """Where a volume appears in a container."""
    mounted: Manifest = {"name": name, "mountPath": path}
    if sub_path:
        mounted["subPath"] = sub_path
    if read_only:
        mounted["readOnly"] = True
    return mounted
