"""A changed Secret replaces exactly the pods that read it, and a new LiveKit key pair comes in step by step."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from typing import Any

import pytest

import live
from visio_lab.operator_process import make_namespace

NAMESPACE = "secret-changes"
PAIRS = "visio-operator.dev/livekit-keys"
SERVERS = "deployments.apps,statefulsets.apps"


@pytest.fixture(scope="module")
def settled(lab, operator_identity, session_operator) -> Iterator[str]:
    make_namespace(lab, NAMESPACE)
    live.apply(lab, live.deployment("minimal.yaml", NAMESPACE))
    live.wait_ready(lab, NAMESPACE)
    yield NAMESPACE
    lab.kubectl("delete", "vd", "visio", "--namespace", NAMESPACE, "--timeout=60s")
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false")


def templates(lab) -> dict[str, dict[str, Any]]:
    """Pod templates of the servers by part."""
    found = live.items(lab, SERVERS, NAMESPACE, "visio-operator.dev/deployment=visio")
    return {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["template"]
        for one in found
    }  # fmt: skip


def pairs(lab) -> dict[str, str]:
    annotated = {part: template["metadata"].get("annotations", {}) for part, template in templates(lab).items()}
    return {part: found[PAIRS] for part, found in annotated.items() if PAIRS in found}


def values(lab, name: str) -> dict[str, str]:
    data = (live.get(lab, "secret", name, NAMESPACE) or {}).get("data", {})
    return {key: base64.b64decode(value).decode() for key, value in data.items()}


def patch(lab, kind: str, name: str, change: dict[str, Any]) -> None:
    lab.kubectl("patch", kind, name, "--namespace", NAMESPACE, "--type=merge", "-p", json.dumps(change))


def test_a_changed_client_secret_replaces_the_api_alone(lab, operator, settled) -> None:
    before = templates(lab)
    patch(lab, "secret", "visio-oidc", {"stringData": {"clientSecret": "another one, not guessed from its digest"}})
    live.eventually("the API has a new template", lambda: templates(lab)["backend"] != before["backend"], 30)
    live.eventually("its worker too", lambda: templates(lab)["celery-backend"] != before["celery-backend"], 30)
    live.wait_ready(lab, NAMESPACE)
    after = templates(lab)
    assert {part for part in before if before[part] != after[part]} == {"backend", "celery-backend"}


def test_a_new_livekit_pair_is_accepted_everywhere_before_anybody_signs_with_it(lab, operator, settled) -> None:
    old = values(lab, "visio-keys")["livekitApiKey"]
    assert set(pairs(lab).values()) == {"visio-keys"}
    patch(lab, "vd", "visio", {"spec": {"livekit": {"keyGeneration": 2}}})
    both = "visio-livekit-2,visio-keys"
    live.eventually("media servers accept both", lambda: pairs(lab)["sfu"] == both, 30)
    new = values(lab, "visio-livekit-2")["apiKey"]

    def everybody_signs_with_the_new_pair() -> bool:
        found = pairs(lab)
        return {pair for part, pair in found.items() if part != "sfu"} == {"visio-livekit-2"}

    live.eventually("everybody signs with the new pair", everybody_signs_with_the_new_pair, 90)
    live.wait_ready(lab, NAMESPACE)
    composed = values(lab, "visio-composed")
    assert json.loads(composed["livekitKeys"]).keys() == {old, new}
    assert composed["livekitApiKey"] == new
    # The old pair stays for as long as tokens that are signed with it live.
    assert pairs(lab)["sfu"] == both


def test_what_repeats_secrets_ends_with_the_deployment_and_generated_keys_stay(lab, operator, settled) -> None:
    owners = {
        name: (live.get(lab, "secret", name, NAMESPACE) or {})["metadata"].get("ownerReferences")
        for name in ("visio-composed", "visio-keys", "visio-livekit-2")
    }
    assert owners["visio-composed"]
    assert not owners["visio-keys"]
    assert not owners["visio-livekit-2"]
