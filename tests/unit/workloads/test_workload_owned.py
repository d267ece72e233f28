"""What a manager applied is read back from a live object, without what others added or changed."""

from __future__ import annotations

from typing import Any

import pytest
from applied import MANAGER, applied
from rendered import CASES

from visio_operator.workloads.owned import applied_by


def live(fields: dict[str, Any], operation: str = "Apply", **more: Any) -> dict[str, Any]:
    entry = {"manager": MANAGER, "operation": operation, "fieldsV1": fields}
    return {"metadata": {"name": "a", "managedFields": [entry]}, **more}


@pytest.mark.parametrize("case", CASES)
def test_every_manifest_is_read_back_as_it_was_applied(case: str) -> None:
    for manifest in CASES[case].manifests():
        found = applied_by(MANAGER, applied(manifest))
        assert found.get("spec") == manifest.get("spec")
        assert found.get("data") == manifest.get("data")


def test_defaults_and_fields_of_others_are_left_out() -> None:
    fields = {
        "f:spec": {
            "f:replicas": {},
            "f:containers": {'k:{"name":"a"}': {".": {}, "f:image": {}, "f:name": {}}},
            "f:ports": {'k:{"containerPort":80,"protocol":"TCP"}': {".": {}, "f:containerPort": {}}},
            "f:finalizers": {'v:"ours"': {}},
            "f:empty": {},
            "f:open": {".": {}},
        }
    }
    spec = {
        "replicas": 2,
        "paused": False,
        "containers": [{"name": "a", "image": "i", "terminationMessagePath": "x"}, {"name": "injected"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}],
        "finalizers": ["theirs", "ours"],
        "empty": {"whole": 1},
        "open": {"theirs": 1},
    }
    assert applied_by(MANAGER, live(fields, spec=spec)) == {
        "spec": {
            "replicas": 2,
            "containers": [{"name": "a", "image": "i"}],
            "ports": [{"containerPort": 80}],
            "finalizers": ["ours"],
            "empty": {"whole": 1},
            "open": {},
        }
    }


def test_a_field_that_somebody_took_over_is_missing_and_an_update_owns_nothing() -> None:
    assert applied_by(MANAGER, live({"f:spec": {"f:a": {}, "f:gone": {}}}, spec={"a": 1, "b": 2})) == {"spec": {"a": 1}}
    assert applied_by(MANAGER, live({"f:spec": {"f:a": {}}}, "Update", spec={"a": 1})) == {}
    assert applied_by("somebody", live({"f:spec": {"f:a": {}}}, spec={"a": 1})) == {}
    assert applied_by(MANAGER, {"metadata": {"name": "a"}, "spec": {"a": 1}}) == {}
