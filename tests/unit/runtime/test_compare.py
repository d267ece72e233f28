"""A live object is compared with what is wanted of it."""

import copy
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visio_operator.runtime.compare import differences, digest, merge_patch

NAMES = st.text(string.ascii_lowercase, min_size=1, max_size=6)
SCALARS = st.one_of(st.integers(1, 10_000), st.text(string.ascii_letters, min_size=1, max_size=8), st.just(True))
OBJECTS = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.dictionaries(NAMES, inner, max_size=4), st.lists(inner, min_size=1, max_size=4)),
    max_leaves=20,
).flatmap(lambda inner: st.dictionaries(NAMES, st.just(inner), min_size=1, max_size=3))


def with_server_defaults(value: Any) -> Any:
    """The same object with fields that nobody asked for, as the API server adds them."""
    if isinstance(value, dict):
        return {**{key: with_server_defaults(inner) for key, inner in value.items()}, "addedByServer": "x"}
    return [with_server_defaults(inner) for inner in value] if isinstance(value, list) else value


@given(OBJECTS)
def test_an_object_does_not_differ_from_itself(value: dict[str, Any]) -> None:
    assert differences(value, copy.deepcopy(value)) == ()


@given(OBJECTS)
def test_what_the_server_adds_is_no_difference(value: dict[str, Any]) -> None:
    assert differences(value, with_server_defaults(value)) == ()


@given(OBJECTS, st.data())
def test_every_changed_field_is_seen(value: dict[str, Any], data: st.DataObject) -> None:
    live = copy.deepcopy(value)
    key = data.draw(st.sampled_from(sorted(live)))
    live[key] = "something else"
    if value[key] != "something else":
        assert differences(value, live)


@given(OBJECTS, st.data())
def test_every_missing_field_is_seen(value: dict[str, Any], data: st.DataObject) -> None:
    live = copy.deepcopy(value)
    key = data.draw(st.sampled_from(sorted(live)))
    del live[key]
    # What an object is stands in the request's path, and lists of the API server leave it out.
    if key not in ("kind", "apiVersion") and value[key] not in ({}, []) and digest(value[key]) != digest({}):
        found = differences(value, live)
        assert found or all(not leaf for leaf in leaves(value[key]))


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [leaf for inner in value.values() for leaf in leaves(inner)]
    return [value]


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        ({"cpu": "0.5"}, {"cpu": "500m"}),
        ({"cpu": 2}, {"cpu": "2"}),
        ({"memory": "1024Mi"}, {"memory": "1Gi"}),
        ({"port": "80"}, {"port": 80}),
        ({"emptyDir": {}}, {}),
        ({"value": ""}, {}),
        ({"hostNetwork": False}, {}),
        ({"args": []}, {}),
        ({"tmp": {"emptyDir": {}}}, {}),
        ({"apiVersion": "v1", "kind": "Service", "a": 1}, {"a": 1}),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "B"}, {"name": "A", "value": "1"}]}),
        ({"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]}),
    ],
)
def test_other_spellings_of_the_same_are_no_difference(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    assert differences(wanted, live) == ()


@pytest.mark.parametrize(
    ("wanted", "live"),
    [
        ({"cpu": "500m"}, {"cpu": "501m"}),
        ({"image": "a:1"}, {"image": "a:2"}),
        ({"replicas": 0}, {"replicas": 1}),
        ({"enabled": True}, {"enabled": 1}),
        ({"enabled": False}, {"enabled": True}),
        ({"args": ["a", "b"]}, {"args": ["b", "a"]}),
        ({"args": ["a"]}, {"args": ["a", "b"]}),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A", "value": "2"}]}),
        ({"env": [{"name": "A", "value": "1"}]}, {"env": []}),
        ({"labels": {"a": "1"}}, {}),
        ({"version": "1.10"}, {"version": "1.10.0"}),
    ],
)
def test_a_difference_is_seen(wanted: dict[str, Any], live: dict[str, Any]) -> None:
    assert differences(wanted, live)


def test_a_difference_names_its_field_and_what_is_there() -> None:
    wanted = {"spec": {"containers": [{"name": "main", "image": "a:2"}]}}
    live = {"spec": {"containers": [{"name": "main", "image": "a:1"}]}}
    assert differences(wanted, live) == ('spec.containers[main].image="a:1"',)


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_leads_from_one_object_to_the_other(before: dict[str, Any], after: dict[str, Any]) -> None:
    assert applied(before, merge_patch(before, after)) == after


@given(OBJECTS)
def test_no_patch_is_needed_for_what_is_equal(value: dict[str, Any]) -> None:
    assert merge_patch(value, copy.deepcopy(value)) == {}


def applied(target: Any, patch: Any) -> Any:
    """RFC 7386, section 2."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = applied(result.get(key), value)
    return result
