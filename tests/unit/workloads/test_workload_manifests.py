"""Rules that every manifest keeps, whatever the deployment."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from rendered import ALL, leaves, maps

from builders import UID, healthy_plan
from visio_operator.api.spec import API_VERSION
from visio_operator.plan.order import part_set
from visio_operator.plan.plan import Plan
from visio_operator.workloads.common import PLATFORM
from visio_operator.workloads.render import render

pytestmark = pytest.mark.parametrize("case", ALL)
MEANT_EMPTY = (".namespaceSelector",)
"""An empty selector of namespaces means all of them, and the API server keeps it."""


def test_every_object_carries_the_labels_and_the_owner(case: str) -> None:
    built = ALL[case]
    for manifest in built.manifests():
        meta = manifest["metadata"]
        component = meta["labels"]["app.kubernetes.io/component"]
        assert meta["namespace"] == built.namespace
        assert meta["labels"] == {
            "app.kubernetes.io/name": "visio",
            "app.kubernetes.io/instance": built.name,
            "app.kubernetes.io/component": component,
            "app.kubernetes.io/managed-by": "visio-operator",
            "visio-operator.dev/deployment": built.name,
        }
        assert component in {*part_set(built.spec()), PLATFORM, "smoke"}
        [owner] = meta["ownerReferences"]
        assert (owner["apiVersion"], owner["kind"], owner["uid"]) == (API_VERSION, "VisioDeployment", UID)
        assert owner["controller"] is True


def test_names_are_unique_and_fit_their_kind(case: str) -> None:
    manifests = ALL[case].manifests()
    names = [(one["kind"], one["metadata"]["name"]) for one in manifests]
    assert len(set(names)) == len(names)
    for kind, name in names:
        assert len(name) <= {"CronJob": 52, "StatefulSet": 52}.get(kind, 63), name
        assert name.startswith(ALL[case].name[:20])


def test_the_same_input_gives_the_same_text(case: str) -> None:
    assert json.dumps(ALL[case].manifests()) == json.dumps(ALL[case].manifests())


def test_nothing_is_said_that_the_api_server_would_drop(case: str) -> None:
    for manifest in ALL[case].manifests():
        for path, value in leaves(manifest):
            meant = path.endswith(MEANT_EMPTY)
            assert meant or value not in (None, "", {}, []), f"{manifest['kind']} {path}"


def test_ports_always_name_their_protocol(case: str) -> None:
    for manifest in ALL[case].manifests():
        for one in maps(manifest):
            if {"containerPort", "targetPort"} & one.keys():
                assert one["protocol"] in ("TCP", "UDP")


def test_no_secret_is_rendered(case: str) -> None:
    assert all(manifest["kind"] != "Secret" for manifest in ALL[case].manifests())


def test_one_part_less_in_the_plan_is_exactly_that_part_less(case: str) -> None:
    site = ALL[case].site()
    plan = healthy_plan(site)
    everything = {(one["kind"], one["metadata"]["name"]): one for one in render(site, plan)}
    for part in plan.parts:
        fewer = replace(plan, parts={name: one for name, one in plan.parts.items() if name != part})
        left = {(one["kind"], one["metadata"]["name"]): one for one in render(site, fewer)}
        assert left.items() <= everything.items()
        gone = {
            everything[key]["metadata"]["labels"]["app.kubernetes.io/component"] for key in everything.keys() - left
        }
        assert gone == {part}


def test_what_pods_will_find_is_there_before_their_turn(case: str) -> None:
    site = ALL[case].site()
    plan = healthy_plan(site)
    everything = render(site, plan)
    waiting = {name: replace(one, write=False, prepare=True) for name, one in plan.parts.items()}
    early = render(site, replace(plan, parts=waiting))
    with_pods = ("Deployment", "StatefulSet", "Job", "CronJob", "HorizontalPodAutoscaler")
    assert early == tuple(one for one in everything if one["kind"] not in with_pods)


def test_an_unknown_release_renders_nothing(case: str) -> None:
    assert render(ALL[case].site(), Plan(release=None, parts={})) == ()
