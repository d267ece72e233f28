"""What a deployment is rendered to in each release of the ladder, where that differs (read at Visio's tags to 1.27)."""

from __future__ import annotations

from typing import Any

import pytest
from rendered import container, variables

from builders import DeploymentBuilder, a_deployment, healthy_plan
from visio_operator.api.releases import load_releases, order
from visio_operator.workloads.render import render

VERSIONS = [entry.version for entry in load_releases()]
STORE = {
    "endpoint": "https://s3.example.gouv.fr", "bucket": "visio", "region": "fr-1", "secretRef": {"name": "s3"},
}  # fmt: skip


def since(version: str, first: str) -> bool:
    return order(version) >= order(first)


def fitting(version: str) -> DeploymentBuilder:
    """As much as the release can do."""
    built = a_deployment().without("objectStorage").with_captions()
    if since(version, "1.23.0"):
        built = built.with_transcription()
    return built.having(version=version, objectStorage=STORE, recording={"enabled": since(version, "1.22.0")})


def rendered(version: str) -> list[dict[str, Any]]:
    built = fitting(version)
    plan = healthy_plan(built.site())
    assert plan.invalid == ()
    assert plan.release is not None
    assert plan.release.version == version
    return list(render(built.site(), plan))


@pytest.fixture(scope="module")
def all_of_them() -> dict[str, list[dict[str, Any]]]:
    return {version: rendered(version) for version in VERSIONS}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_release_gets_what_it_reads(version: str, all_of_them: dict[str, list[dict[str, Any]]]) -> None:
    manifests = all_of_them[version]
    names = {one["metadata"]["name"] for one in manifests if one["kind"] == "CronJob"}
    assert bool(names) == since(version, "1.22.0"), "cleaning"

    agent = container(manifests, "subtitles")
    assert agent["image"].endswith(f"meet-agents:v{version}")
    script = "multi_user_transcriber.py" if since(version, "1.15.0") else "multi-user-transcriber.py"
    assert agent["args"] == ["python", script, "start"]

    backend = variables(container(manifests, "backend"))
    if since(version, "1.22.0"):
        assert ("RECORDING_STORAGE_EVENT_ENABLE" in backend) == (not since(version, "1.30.0"))
    if since(version, "1.23.0"):
        assert backend["SUMMARY_SERVICE_VERSION"] == "2"
        regions = {name: variables(container(manifests, name)) for name in ("summary", "transcribe", "metadata")}
        for name, first in (("summary", "1.28.0"), ("transcribe", "1.28.0"), ("metadata", "1.33.0")):
            assert regions[name].get("AWS_S3_REGION_NAME") == ("fr-1" if since(version, first) else None)
        form = "https://s3.example.gouv.fr" if since(version, "1.33.0") else "s3.example.gouv.fr"
        assert regions["metadata"]["AWS_S3_ENDPOINT_URL"] == form
    else:
        assert "SUMMARY_SERVICE_VERSION" not in backend

    media = "v1.13.5" if since(version, "1.25.0") else "v1.11.0"
    assert container(manifests, "sfu")["image"].endswith(f"livekit-server:{media}")
