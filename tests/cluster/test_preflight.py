"""A server outside that cannot be used is named before anything is rolled out, and what runs stays as it is."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import live
import trusted

NAMED_S = 30
"""From the change to a condition that names the field, the problem and the next step."""
PODS_OF_NOTHING_ELSE = {"preflight", "postgres", "redis", "garage"}
"""The check itself, and servers of the platform's own, which are connected to nothing."""

Spec = dict[str, Any]


@pytest.fixture
def space(real_lab: Any) -> Iterator[str]:
    with trusted.space(real_lab, "connections") as name:
        yield name


@pytest.fixture(scope="module")
def settled(real_lab: Any) -> Iterator[str]:
    """A platform that is Ready."""
    with trusted.platform(real_lab, "settled") as namespace:
        yield namespace


def _named(lab: Any, namespace: str, needles: tuple[str, ...]) -> str:
    """The message that holds all these words, once there is one."""
    began = time.monotonic()

    def found() -> str:
        ready = live.condition(lab, namespace, "Ready")
        message = str(ready.get("message", ""))
        return message if ready.get("status") == "False" and all(needle in message for needle in needles) else ""

    message = str(live.eventually(f"Ready names {needles}", found, NAMED_S))
    print(f"named after {time.monotonic() - began:.1f} s: {message}")
    return message


NOBODY = "postgres.nowhere.svc.cluster.local"


def _unreachable_database(spec: Spec) -> None:
    spec["database"] = {"host": NOBODY, "secretRef": {"name": "visio-oidc", "key": "clientSecret"}}


def _store(url: str) -> Callable[[Spec], None]:
    def change(spec: Spec) -> None:
        spec["objectStorage"] = {"endpoint": url, "bucket": "visio", "secretRef": {"name": "store"}}

    return change


def _wrong_oidc(spec: Spec) -> None:
    spec["oidc"]["jwksEndpoint"] = "https://auth.example.gouv.fr/no-such-page"


@pytest.mark.parametrize(
    ("change", "needles"),
    [
        pytest.param(_unreachable_database, ("spec.database.host", NOBODY), id="unreachable-database"),
        pytest.param(_wrong_oidc, ("spec.oidc.jwksEndpoint", "no-such-page"), id="wrong-oidc-endpoint"),
        pytest.param(
            # The front door speaks TLS on this port, as a store behind https does.
            _store("http://auth.example.gouv.fr:443"),
            ("spec.objectStorage.endpoint", "https"),
            id="http-where-tls-is-spoken",
        ),
        pytest.param(
            # Nothing but plain text here, while the front door answers TLS on any port.
            _store("https://oidc.lab-system.svc.cluster.local:80"),
            ("spec.objectStorage.endpoint", "http"),
            id="https-where-it-is-not",
        ),
    ],
)
def test_a_new_deployment_names_it_and_starts_nothing(
    real_lab: Any, space: str, change: Callable[[Spec], None], needles: tuple[str, ...]
) -> None:
    objects = trusted.deployment(real_lab, "minimal.yaml", space, change)
    keys = {"accessKeyId": "a", "secretAccessKey": "b"}
    store = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "store", "namespace": space}}
    live.apply(real_lab, [*objects, {**store, "stringData": keys}])
    message = _named(real_lab, space, needles)
    assert ";" in message, "the next step follows the problem"
    pods = live.items(real_lab, "pods", space)
    assert {pod["metadata"]["labels"]["app.kubernetes.io/component"] for pod in pods} <= PODS_OF_NOTHING_ELSE


def _pods(lab: Any, namespace: str) -> dict[tuple[str, str], int]:
    """Pods that stay, by name and identity, with how often their containers started."""
    return {
        (pod["metadata"]["name"], pod["metadata"]["uid"]): sum(
            one["restartCount"] for one in pod["status"].get("containerStatuses", [])
        )
        for pod in live.items(lab, "pods", namespace, "app.kubernetes.io/component!=preflight")
    }


def _patch(lab: Any, namespace: str, kind: str, name: str, patch: Any) -> None:
    lab.kubectl("patch", kind, name, "--namespace", namespace, "--type=merge", "-p", json.dumps(patch))


def test_a_running_platform_keeps_every_pod_while_an_endpoint_is_wrong(real_lab: Any, settled: str) -> None:
    before = _pods(real_lab, settled)
    spec = (live.get(real_lab, "vd", "visio", settled) or {})["spec"]
    wrong = {"spec": {"oidc": {"tokenEndpoint": "https://auth.example.gouv.fr/no-such-page"}}}
    _patch(real_lab, settled, "vd", "visio", wrong)
    _named(real_lab, settled, ("spec.oidc.tokenEndpoint", "backend"))
    assert _pods(real_lab, settled) == before
    right = {"spec": {"oidc": {"tokenEndpoint": spec["oidc"]["tokenEndpoint"]}}}
    _patch(real_lab, settled, "vd", "visio", right)
    live.wait_ready(real_lab, settled)
    assert _pods(real_lab, settled) == before


def test_a_running_platform_keeps_every_pod_while_a_secret_is_wrong(real_lab: Any, settled: str) -> None:
    before = _pods(real_lab, settled)
    data = (live.get(real_lab, "secret", "visio-oidc", settled) or {})["data"]
    wrong = base64.b64encode(b"a secret that nobody gave").decode()
    _patch(real_lab, settled, "secret", "visio-oidc", {"data": {"clientSecret": wrong}})
    message = _named(real_lab, settled, ("spec.oidc.secretRef",))
    assert "nobody gave" not in message
    _patch(real_lab, settled, "secret", "visio-oidc", {"data": {"clientSecret": None}})
    _named(real_lab, settled, ("spec.oidc.secretRef", "visio-oidc", "clientSecret"))
    assert _pods(real_lab, settled) == before
    _patch(real_lab, settled, "secret", "visio-oidc", {"data": data})
    live.wait_ready(real_lab, settled)
    assert _pods(real_lab, settled) == before
