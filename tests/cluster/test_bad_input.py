"""Bad input is refused or becomes a condition that names field, problem and next step; nothing that runs is touched."""

from __future__ import annotations

import pytest

import live


@pytest.fixture
def platform(lab, operator, namespace) -> str:
    live.apply(lab, live.deployment("minimal.yaml", namespace))
    live.wait_ready(lab, namespace)
    return namespace


def _patch(lab, namespace: str, patch: str) -> str:
    return lab.kubectl("patch", "vd", "visio", "--namespace", namespace, "--type=merge", "-p", patch, check=False)


@pytest.mark.parametrize(
    ("patch", "needles"),
    [
        ('{"spec":{"version":"1.99.0"}}', ("spec.version", "1.99.0", "1.33.0")),
        (
            '{"spec":{"superuser":{"email":"a@b.fr","secretRef":{"name":"nobody"}}}}',
            ("spec.superuser.secretRef", "nobody"),
        ),
        (
            '{"spec":{"gpuPools":[{"name":"ghost","provider":"oks","max":1}],"captions":{"enabled":true,"pool":"ghost"}}}',
            ("ghost", "NodePool"),
        ),
        ('{"spec":{"sovereignty":{"requireDigests":true}}}', ("digest", "spec.sovereignty")),
    ],
)
def test_an_impossible_change_is_named_and_touches_nothing(lab, platform, patch, needles) -> None:
    before = {key: item["metadata"].get("generation") for key, item in live.owned(lab, platform).items()}
    _patch(lab, platform, patch)

    def named() -> bool:
        status = (live.get(lab, "vd", "visio", platform) or {}).get("status", {})
        messages = " ".join(entry["message"] for entry in status.get("conditions", []) if entry["status"] != "")
        return status.get("observedGeneration") == 2 and all(needle in messages for needle in needles)

    live.eventually(f"a condition names {needles}", named, 20)
    after = {key: item["metadata"].get("generation") for key, item in live.owned(lab, platform).items()}
    assert after == before


def test_a_repaired_spec_goes_on(lab, platform) -> None:
    _patch(lab, platform, '{"spec":{"version":"1.99.0"}}')
    live.eventually("held", lambda: live.condition(lab, platform, "UpgradeHeld").get("status") == "True", 20)
    assert live.condition(lab, platform, "Ready").get("status") == "True", "the release that runs goes on"
    _patch(lab, platform, '{"spec":{"version":"1.27.0"}}')
    live.wait_ready(lab, platform, timeout=30)


def test_a_missing_secret_is_taken_up_when_it_appears(lab, operator, namespace) -> None:
    objects = live.deployment("minimal.yaml", namespace)
    without_secrets = [item for item in objects if item["kind"] != "Secret"]
    secrets = [item for item in objects if item["kind"] == "Secret"]
    assert secrets, "the example brings the Secrets it refers to"
    live.apply(lab, without_secrets)
    name = secrets[0]["metadata"]["name"]
    live.eventually("named", lambda: name in live.condition(lab, namespace, "Ready").get("message", ""), 20)
    assert live.owned(lab, namespace) == {}
    live.apply(lab, secrets)
    live.wait_ready(lab, namespace)
