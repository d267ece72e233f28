"""Deployments in the real laboratory, whose servers outside have certificates of the laboratory's own authority."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import live
from visio_lab.front_door import certificate_secret, public_ca_configmap
from visio_lab.operator_process import make_namespace


def deployment(
    lab: Any, example: str, namespace: str, change: Callable[[dict[str, Any]], None] | None = None
) -> list[dict[str, Any]]:
    """The documents of an example, which trusts that authority; the certificate of its hosts is made on the way."""
    public_ca_configmap(lab, namespace, "public-ca")

    def trust(spec: dict[str, Any]) -> None:
        spec["caBundle"] = {"configMap": "public-ca", "key": "ca.crt"}
        certificate_secret(lab, namespace, "visio-tls", [spec["host"], f"livekit.{spec['host']}"])
        if change:
            change(spec)

    documents = live.deployment(example, namespace, change=trust)
    return [one for one in documents if one["metadata"]["name"] != "visio-tls"]


@contextmanager
def space(lab: Any, prefix: str) -> Iterator[str]:
    """A namespace of its own, which goes afterwards with the deployment `visio` in it."""
    namespace = f"{prefix}-{time.monotonic_ns()}"
    make_namespace(lab, namespace)
    yield namespace
    lab.kubectl("delete", "vd", "visio", "--namespace", namespace, "--timeout=60s", check=False)
    lab.kubectl("delete", "namespace", namespace, "--wait=false", check=False)


@contextmanager
def platform(
    lab: Any, prefix: str, change: Callable[[dict[str, Any]], None] | None = None, example: str = "minimal.yaml"
) -> Iterator[str]:
    """An example, Ready in a space of its own."""
    with space(lab, prefix) as namespace:
        live.apply(lab, deployment(lab, example, namespace, change))
        live.wait_ready(lab, namespace, timeout=240)
        yield namespace
