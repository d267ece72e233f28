"""Placeholder pods: placed like the pods they stand in for, and worth less than any of these."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rendered import named, templates

from builders import DeploymentBuilder, a_deployment, healthy_plan, release
from visio_operator.plan.plan import PoolPlan
from visio_operator.workloads.common import Manifest
from visio_operator.workloads.placeholders import deployment_name
from visio_operator.workloads.pods import KEEP_SESSIONS
from visio_operator.workloads.render import render

PRIVATE = "registry.example.gouv.fr/visio"


def manifests(built: DeploymentBuilder, *pools: str) -> tuple[Manifest, ...]:
    """What is rendered when each of these pools shall have three nodes, one of them for a real pod."""
    plans = tuple(PoolPlan(name, "clusterAutoscaler", 3, 0, 4, placeholders=2) for name in pools)
    return render(built.site(), replace(healthy_plan(built.site()), pools=plans))


def the_pod(built: DeploymentBuilder, pool: str = "captions") -> dict[str, Any]:
    found = named(manifests(built, pool), "Deployment", deployment_name(built.site(), pool))
    template: dict[str, Any] = found["spec"]["template"]
    return template


def test_only_a_pool_that_follows_pods_has_placeholders() -> None:
    built = a_deployment().with_captions()
    told = replace(healthy_plan(built.site()), pools=(PoolPlan("captions", "oks", 3, 0, 4),))
    assert render(built.site(), told) == built.manifests()


def test_their_number_and_the_nodes_that_were_ordered_stand_on_their_deployment() -> None:
    found = named(manifests(a_deployment().with_captions(), "captions"), "Deployment", "visio-placeholder-captions")
    assert found["spec"]["replicas"] == 2
    assert found["metadata"]["annotations"]["visio-operator.dev/nodes"] == "3"


def test_each_asks_for_a_gpu_of_the_pool_and_gives_way_at_once() -> None:
    template = the_pod(a_deployment().with_captions())
    spec = template["spec"]
    [container] = spec["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert spec["nodeSelector"] == {"visio-operator.dev/pool": "captions"}
    assert spec["tolerations"] == [{"key": "nvidia.com/gpu", "operator": "Exists"}]
    assert spec["priorityClassName"] == "visio-operator-placeholder"
    assert spec["terminationGracePeriodSeconds"] == 0
    assert not set(template["metadata"].get("annotations", {})) & KEEP_SESSIONS.keys(), "an autoscaler may move it"


def test_they_are_placed_like_the_pods_that_they_stand_in_for() -> None:
    extra = {"nodeSelector": {"disk": "fast"}, "tolerations": [{"key": "gpu", "operator": "Exists"}]}
    built = a_deployment().with_captions(pool="one").with_transcription(pool="two").overriding("captions", **extra)
    real = dict(templates(built.manifests()))
    for pool, part in (("one", "captions"), ("two", "transcription")):
        for field in ("nodeSelector", "tolerations"):
            assert the_pod(built, pool)["spec"][field] == real[part]["spec"][field]


def test_their_image_keeps_the_rule_of_registries() -> None:
    built = a_deployment().with_captions().having(sovereignty={"registries": [PRIVATE]})
    [container] = the_pod(built)["spec"]["containers"]
    assert container["image"] == release(built.spec()).images["operator"]
    assert container["image"].startswith(PRIVATE)


def test_they_are_admitted_by_pod_security_restricted() -> None:
    spec = the_pod(a_deployment().with_captions())["spec"]
    [container] = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert spec["automountServiceAccountToken"] is False


@pytest.mark.parametrize("pools", [("a", "b"), ("x" * 63, "y" * 63)], ids=["short", "long"])
def test_two_pools_never_share_a_name_or_a_pod(pools: tuple[str, ...]) -> None:
    built = a_deployment().named("n" * 40).with_captions(pool=pools[0]).with_transcription(pool=pools[1])
    names = {deployment_name(built.site(), pool) for pool in pools}
    assert len(names) == 2
    rendered = manifests(built, *pools)
    for manifest in rendered:
        if manifest["metadata"]["name"] not in names:
            continue
        assert len(manifest["metadata"]["name"]) <= 63
        assert all(len(value) <= 63 for value in manifest["metadata"]["labels"].values())
        if manifest["kind"] == "Deployment":
            wanted = manifest["spec"]["selector"]["matchLabels"].items()
            selected = [part for part, one in templates(rendered) if wanted <= one["metadata"]["labels"].items()]
            assert len(selected) == 1
