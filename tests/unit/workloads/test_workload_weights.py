"""Models that are there before a pod starts: where they come from, and that nothing is left open to fetch them."""

from __future__ import annotations

import pytest
from rendered import ALL, container, named, templates

from builders import a_deployment
from visio_operator.workloads.common import Manifest
from visio_operator.workloads.flows import WORLD, flows

CACHES = {"HF_HUB_OFFLINE", "TORCH_HOME", "PYANNOTE_CACHE", "NLTK_DATA"}


def _volume(manifests: tuple[Manifest, ...], part: str) -> Manifest:
    [template] = [template for found, template in templates(manifests) if found == part]
    return next(dict(volume) for volume in template["spec"]["volumes"] if volume["name"] == "models")


def test_without_weights_each_pod_downloads_its_own() -> None:
    manifests = ALL["embedded"].manifests()
    assert _volume(manifests, "captions") == {"name": "models", "emptyDir": {"sizeLimit": "20Gi"}}
    assert not CACHES & {one["name"] for one in container(manifests, "captions")["env"]}
    assert {flow.source for flow in flows(ALL["embedded"].site()) if flow.reason.startswith("model weights")} == {
        "captions", "transcription",
    }  # fmt: skip


def test_a_claim_is_shared_for_reading() -> None:
    volume = _volume(ALL["weights"].manifests(), "transcription")
    assert volume == {"name": "models", "persistentVolumeClaim": {"claimName": "whisper", "readOnly": True}}


@pytest.mark.parametrize("storage_class", [None, "bsu-gp2"])
def test_of_a_snapshot_each_pod_gets_a_volume(storage_class: str | None) -> None:
    weights = {"snapshot": "kyutai", "storage": "20Gi"} | ({"storageClass": storage_class} if storage_class else {})
    built = a_deployment().with_captions().having(captions={"weights": weights})
    [claim] = _volume(built.manifests(), "captions")["ephemeral"].values()
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "20Gi"}},
        "dataSource": {"apiGroup": "snapshot.storage.k8s.io", "kind": "VolumeSnapshot", "name": "kyutai"},
        **({"storageClassName": storage_class} if storage_class else {}),
    }


@pytest.mark.parametrize("part", ["captions", "whisperx"])
def test_weights_are_only_read_and_nobody_asks_the_internet_for_newer_ones(part: str) -> None:
    found = container(ALL["weights"].manifests(), part)
    [models] = [mount for mount in found["volumeMounts"] if mount["name"] == "models"]
    assert models == {"name": "models", "mountPath": "/data/models", "readOnly": True}
    variables = {one["name"]: one.get("value") for one in found["env"]}
    assert variables["HF_HUB_OFFLINE"] == "1"
    assert {variables[name].startswith("/data/models/") for name in CACHES - {"HF_HUB_OFFLINE"}} == {True}
    assert found["resources"]["limits"]["ephemeral-storage"] in ("2Gi", "22Gi")


def test_with_weights_no_gpu_pod_reaches_the_world() -> None:
    built = ALL["weights"]
    opened = {flow.source for flow in flows(built.site()) if flow.target == WORLD}
    assert not opened & {"captions", "transcription"}
    policy = named(built.manifests(), "NetworkPolicy", "visio-captions")
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == {53}
