"""A canary media server is a media server for everything that selects one, and a Deployment of its own."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from rendered import named

from builders import UID, DeploymentBuilder, a_deployment, release
from visio_operator.plan.canary import CANARY
from visio_operator.plan.observed import Observed
from visio_operator.plan.plan import CanaryPlan, Plan
from visio_operator.runtime.apply import superfluous
from visio_operator.runtime.observe import Snapshot
from visio_operator.runtime.projections import workloads
from visio_operator.workloads.render import render

IMAGE = "docker.io/livekit/livekit-server:v9.9.9"
CASES = {
    "one port on nodes": a_deployment(),
    "a load balancer each": a_deployment().having(sfu={"expose": "loadBalancer", "min": 2}),
    "the node's network": a_deployment().with_network("udpMux", host_network=True),
    "through TURN": a_deployment().with_network("turnTLS"),
}


def trying(built: DeploymentBuilder, image: str = IMAGE) -> Plan:
    plan = built.plan()
    now = release(built.spec())
    return replace(plan, canary=CanaryPlan(replace(now, images={**now.images, "livekit": image})))


def matches(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def selecting(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """The label selectors of pods in a manifest."""
    spec = manifest.get("spec", {})
    found = {
        "Service": [spec.get("selector", {})],
        "PodDisruptionBudget": [spec.get("selector", {}).get("matchLabels", {})],
        "NetworkPolicy": [spec.get("podSelector", {}).get("matchLabels", {})],
    }
    return found.get(manifest["kind"], [])


@pytest.mark.parametrize("built", CASES.values(), ids=CASES.keys())
def test_everything_but_one_deployment_is_as_without_it(built: DeploymentBuilder) -> None:
    before = {(one["kind"], one["metadata"]["name"]): one for one in built.manifests()}
    after = {(one["kind"], one["metadata"]["name"]): one for one in render(built.site(), trying(built))}
    canary = after.pop(("Deployment", "visio-sfu-canary"))
    assert after == before
    main = after["Deployment", "visio-sfu"]
    labels = canary["spec"]["template"]["metadata"]["labels"]
    assert matches(canary["spec"]["selector"]["matchLabels"], labels)
    assert not matches(canary["spec"]["selector"]["matchLabels"], main["spec"]["template"]["metadata"]["labels"]), (
        "it never takes pods of the others"
    )
    of_main = main["spec"]["template"]["metadata"]["labels"]
    for manifest in before.values():
        for selector in selecting(manifest):
            if matches(selector, of_main):
                assert matches(selector, labels), manifest["metadata"]["name"]
    assert canary["spec"]["replicas"] == 1


@pytest.mark.parametrize("built", CASES.values(), ids=CASES.keys())
def test_it_differs_from_the_others_in_release_and_label_alone(built: DeploymentBuilder) -> None:
    manifests = render(built.site(), trying(built))
    main = named(manifests, "Deployment", "visio-sfu")["spec"]
    canary = named(manifests, "Deployment", "visio-sfu-canary")["spec"]
    usual = release(built.spec()).images["livekit"]

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(each) for key, each in value.items() if key != "visio-operator.dev/track"}
        if isinstance(value, list):
            return [plain(each) for each in value]
        return usual if value == IMAGE else value

    assert plain(canary["template"]) == plain(main["template"])
    assert canary["strategy"] == main["strategy"]
    # The anti-affinity of servers that have their node's ports keeps it away from nodes with a server.
    assert ("affinity" in canary["template"]["spec"]) == ("affinity" in main["template"]["spec"])


def test_it_is_a_workload_beside_the_others_and_never_in_their_place() -> None:
    built = a_deployment()
    live = {
        (one["kind"], one["metadata"]["name"]): {
            **one,
            "metadata": {**one["metadata"], "uid": one["metadata"]["name"], "creationTimestamp": created},
        }
        for one, created in (
            (named(render(built.site(), trying(built)), "Deployment", "visio-sfu"), "2026-01-01T00:00:00Z"),
            (named(render(built.site(), trying(built)), "Deployment", "visio-sfu-canary"), "2026-02-01T00:00:00Z"),
        )
    }
    found = workloads(live)
    assert (found["sfu"].name, found[CANARY].name) == ("visio-sfu", "visio-sfu-canary")
    assert IMAGE in found[CANARY].images


def test_it_goes_when_it_is_planned_no_more_and_stays_while_media_servers_may_not_be_written() -> None:
    built = a_deployment()
    plan = built.plan()
    canary = named(render(built.site(), trying(built)), "Deployment", "visio-sfu-canary")
    seen = Snapshot(
        observed=Observed(uid=UID, namespace="visio", name="visio"),
        live={("Deployment", "visio-sfu-canary"): canary},
        pods={},
        nodes={},
        secrets={},
    )
    gone = superfluous(built.site(), plan, built.manifests(), seen)
    assert [body["metadata"]["name"] for body in gone] == ["visio-sfu-canary"]
    held = replace(plan, parts={**plan.parts, "sfu": replace(plan.parts["sfu"], write=False)})
    assert superfluous(built.site(), held, (), seen) == []
