"""Changes are told field by field, and no secret is among what is told."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from rendered import ALL, named

from builders import a_deployment
from visio_operator.plan.impact import FieldChange
from visio_operator.workloads.changes import CHANGED, between, change, field_changes

IMAGE = "spec.template.spec.containers[backend].image"


def a_backend() -> dict[str, Any]:
    return copy.deepcopy(named(a_deployment().manifests(), "Deployment", "visio-backend"))


@pytest.mark.parametrize("case", ALL)
def test_a_rendering_does_not_differ_from_itself(case: str) -> None:
    manifests = ALL[case].manifests()
    assert between(manifests, copy.deepcopy(manifests)) == ()


def test_an_image_is_told_with_its_place_and_restarts_the_pods() -> None:
    before, after = a_backend(), a_backend()
    after["spec"]["template"]["spec"]["containers"][0]["image"] = "r.fr/meet-backend:v9"
    found = change(before, after)
    assert found is not None
    image = before["spec"]["template"]["spec"]["containers"][0]["image"]
    assert found.fields == (FieldChange(IMAGE, image, "r.fr/meet-backend:v9"),)
    assert (found.kind, found.name, found.part, found.restarts) == ("Deployment", "visio-backend", "backend", True)


def test_what_is_outside_the_pod_template_restarts_nothing() -> None:
    before, after = a_backend(), a_backend()
    after["spec"]["revisionHistoryLimit"] = 9
    found = change(before, after)
    assert found is not None
    assert not found.restarts
    [field] = found.fields
    assert (field.path, field.after) == ("spec.revisionHistoryLimit", "9")


def test_what_the_server_keeps_for_itself_and_our_own_notes_are_not_told() -> None:
    before, after = a_backend(), a_backend()
    before["metadata"] |= {"resourceVersion": "1", "managedFields": [{}], "uid": "u"}
    before["status"] = {"readyReplicas": 2}
    notes = {f"visio-operator.dev/{name}": "x" for name in ("digest", "rendering", "rendered-by", "held-rendering")}
    after["metadata"]["annotations"] = {**(after["metadata"].get("annotations") or {}), **notes}
    assert change(before, after) is None


def test_elements_come_and_go_by_their_names() -> None:
    before = {"metadata": {"name": "a"}, "spec": {"ports": [{"name": "a", "port": 1}, {"name": "b", "port": 2}]}}
    after = {"metadata": {"name": "a"}, "spec": {"ports": [{"name": "b", "port": 3}, {"name": "c", "port": 4}]}}
    assert field_changes(before, after) == (
        FieldChange("spec.ports[a]", '{"name":"a","port":1}', ""),
        FieldChange("spec.ports[b].port", "2", "3"),
        FieldChange("spec.ports[c]", "", '{"name":"c","port":4}'),
    )


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        ({"name": "LOG_LEVEL", "value": "DEBUG"}, "DEBUG"),
        ({"name": "LIVEKIT_CONFIG", "value": "password: $(REDIS_PASSWORD)"}, CHANGED),
        ({"name": "PRICE", "value": "5 $$(dollars)"}, "5 $$(dollars)"),
        ({"name": "SENTRY_TOKEN", "value": "hunter2"}, CHANGED),
    ],
)
def test_composed_and_secret_variables_are_only_said_to_change(variable: dict[str, Any], told: str) -> None:
    before, after = a_backend(), a_backend()
    name = variable["name"]
    before["spec"]["template"]["spec"]["containers"][0]["env"] = [{"name": name, "value": "old"}]
    after["spec"]["template"]["spec"]["containers"][0]["env"] = [variable]
    [field] = field_changes(before, after)
    assert (field.path, field.after) == (f"spec.template.spec.containers[backend].env[{name}].value", told)
    after["spec"]["template"]["spec"]["containers"].append({"name": "new", "env": [variable]})
    added = field_changes(before, after)[-1]
    assert added.path == "spec.template.spec.containers[new]"
    assert f'"value":"{told}"' in added.after


def test_digests_and_configurations_are_only_said_to_change() -> None:
    before = {"metadata": {"name": "a"}, "data": {"turnserver.conf": "a\n"}}
    after = {"metadata": {"name": "a"}, "data": {"turnserver.conf": "b\n"}}
    assert field_changes(before, after) == (FieldChange("data[turnserver.conf]", CHANGED, CHANGED),)
    one, other = a_backend(), a_backend()
    for body, mark in ((one, "0123"), (other, "4567")):
        meta = body["spec"]["template"]["metadata"]
        meta["annotations"] = {**(meta.get("annotations") or {}), "visio-operator.dev/secrets-digest": mark}
    [field] = field_changes(one, other)
    assert (field.before, field.after) == (CHANGED, CHANGED)
    assert field.path == "spec.template.metadata.annotations[visio-operator.dev/secrets-digest]"


def test_a_deployment_that_is_new_is_made_and_one_that_goes_is_deleted() -> None:
    body = a_backend()
    made, gone = change(None, body), change(body, None)
    assert made is not None and gone is not None
    assert (made.action, gone.action, made.fields, gone.fields) == ("create", "delete", (), ())
    assert change(None, None) is None
