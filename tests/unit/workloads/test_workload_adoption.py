"""A new version of the operator changes no pod by itself; what a user asks for is followed at once all the same."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable
from typing import Any

import pytest
from applied import MANAGER, cluster
from rendered import named

from builders import DeploymentBuilder, a_deployment
from visio_operator.plan.plan import LivekitKeys
from visio_operator.workloads.adoption import HELD, RENDERED_BY, RENDERING, WAITING, Settled, rendering_of, settle
from visio_operator.workloads.common import Manifest
from visio_operator.workloads.restarts import KEY_PAIRS, SECRETS_DIGEST, with_key_pairs, with_secrets_digest

OLD, NEW = "0.1.0", "0.2.0"
BACKEND = ("Deployment", "visio-backend")
World = dict[tuple[str, str], dict[str, Any]]


def rendered_otherwise(manifests: tuple[Manifest, ...]) -> tuple[Manifest, ...]:
    """What a newer operator renders: another grace period for all pods of Deployments, and another configuration."""
    changed = copy.deepcopy(manifests)
    for manifest in changed:
        if manifest["kind"] == "Deployment":
            manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] += 1
        if manifest["kind"] == "Job":
            manifest["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] += 1
            manifest["metadata"]["name"] += "" if "preflight" in manifest["metadata"]["name"] else "-x"
        if manifest["kind"] == "ConfigMap":
            manifest["data"] = {key: text + "#\n" for key, text in manifest["data"].items()}
    return changed


def by(version: str, built: DeploymentBuilder, manifests: tuple[Manifest, ...], live: World, **given: Any) -> Settled:
    options = {"same_spec": True, "adopt": False, **given}
    return settle(built.site(), manifests, live, version, MANAGER, **options)


def first(built: DeploymentBuilder) -> World:
    """The cluster after the old operator has applied everything."""
    return later(by(OLD, built, built.manifests(), {}).manifests)


def later(manifests: Iterable[Manifest]) -> World:
    """The cluster after the manifests were applied and all Jobs have run."""
    live = cluster(manifests)
    for (kind, _), body in live.items():
        if kind == "Job":
            body["status"] = {"conditions": [{"type": "Complete", "status": "True"}]}
    return live


def changes(settled: Settled, live: World) -> set[tuple[str, str]]:
    """The objects whose pods, or what they read, would change."""
    return {
        key
        for one in settled.manifests
        if (key := (one["kind"], one["metadata"]["name"])) not in live
        or (rendering_of(one) is not None and rendering_of(one) != _without_default(rendering_of(live[key])))
    }


def _without_default(rendering: Any) -> Any:
    found = copy.deepcopy(rendering)
    (found.get("template", found).get("spec") or {}).pop("dnsPolicy", None)
    return found


def notes(settled: Settled, key: tuple[str, str]) -> dict[str, str]:
    return dict(named(settled.manifests, *key)["metadata"].get("annotations") or {})


def test_the_same_rendering_only_gets_the_name_of_the_newer_version() -> None:
    built = a_deployment().complete()
    live = first(built)
    settled = by(NEW, built, built.manifests(), live)
    assert not settled.waiting
    assert changes(settled, live) == set()
    assert notes(settled, BACKEND)[RENDERED_BY] == NEW


def test_another_rendering_waits_and_names_what_it_would_restart() -> None:
    built = a_deployment().complete().with_network("turnTLS")
    live = first(built)
    settled = by(NEW, built, rendered_otherwise(built.manifests()), live)
    assert changes(settled, live) == set()
    assert settled.waiting.version == NEW
    assert len(settled.waiting.digest) == 12
    assert BACKEND in settled.waiting.objects
    assert ("ConfigMap", "visio-turn") in settled.waiting.objects
    assert settled.waiting.pods["frontend"] == live[("Deployment", "visio-frontend")]["spec"].get("replicas", 1)
    assert {kind for kind, _ in settled.waiting.objects} == {"Deployment", "ConfigMap"}
    assert notes(settled, BACKEND)[RENDERED_BY] == OLD
    assert notes(settled, BACKEND)[WAITING].startswith(NEW + " ")


def test_a_steady_cluster_stays_as_it_is_pass_after_pass() -> None:
    built = a_deployment().complete()
    live = first(built)
    newer = rendered_otherwise(built.manifests())
    once = by(NEW, built, newer, live)
    again = by(NEW, built, newer, later(once.manifests))
    assert again == once
    assert by(NEW, built, newer, later(again.manifests), same_spec=False) == once, "the note is enough"


def test_it_is_adopted_when_its_time_comes_or_on_approval_of_exactly_this_rendering() -> None:
    built = a_deployment()
    live = first(built)
    newer = rendered_otherwise(built.manifests())
    held = by(NEW, built, newer, live)
    live = later(held.manifests)
    for settled in (
        by(NEW, built, newer, live, adopt=True),
        by(NEW, built, newer, live, approved=held.waiting.digest),
    ):
        assert not settled.waiting
        assert set(held.waiting.objects) == changes(settled, live)
        assert notes(settled, BACKEND).keys() >= {RENDERED_BY, RENDERING}
        assert notes(settled, BACKEND).keys().isdisjoint({WAITING, HELD})
        after = by(NEW, built, newer, later(settled.manifests))
        assert (after.waiting.objects, changes(after, later(settled.manifests))) == ((), set())
    assert by(NEW, built, newer, live, approved="0" * 12).waiting


def test_a_job_that_has_run_is_not_run_again_for_the_way_it_is_written() -> None:
    built = a_deployment().with_superuser()
    live = first(built)
    names = {key for key in live if key[0] == "Job"}
    assert len(names) == 3
    newer = rendered_otherwise(built.manifests())
    for adopt in (False, True):
        settled = by(NEW, built, newer, live, adopt=adopt)
        assert {(one["kind"], one["metadata"]["name"]) for one in settled.manifests if one["kind"] == "Job"} == names
        assert changes(settled, live).isdisjoint(names)
    [migrate] = [key for key in names if "migrate" in key[1]]
    live[migrate]["status"] = {"conditions": [{"type": "Failed", "status": "True"}]}
    failed = by(NEW, built, newer, live)
    assert migrate not in {(one["kind"], one["metadata"]["name"]) for one in failed.manifests}, "it is run anew"
    [check] = [key for key in names if "preflight" in key[1]]
    live[check]["status"] = {}
    assert check in changes(by(NEW, built, newer, live), live), (
        "a check that does not pass is tried as it is written now"
    )
    checked = copy.deepcopy(newer)
    named(checked, *check)["metadata"]["name"] += "-other"
    assert ("Job", check[1] + "-other") in changes(by(NEW, built, checked, first(built)), first(built))


def test_drift_is_repaired_to_what_was_applied_last_while_another_rendering_waits() -> None:
    built = a_deployment()
    newer = rendered_otherwise(built.manifests())
    live = later(by(NEW, built, newer, first(built)).manifests)
    before = live[BACKEND]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    live[BACKEND]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] = 7
    owned = live[BACKEND]["metadata"]["managedFields"][0]["fieldsV1"]
    del owned["f:spec"]["f:template"]["f:spec"]["f:terminationGracePeriodSeconds"]
    again = named(by(NEW, built, newer, live).manifests, *BACKEND)
    assert again["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] == before
    assert "dnsPolicy" not in again["spec"]["template"]["spec"], "what the server added is not ours"
    live[BACKEND]["metadata"]["annotations"][HELD] = "spoiled"
    assert named(by(NEW, built, newer, live).manifests, *BACKEND)["spec"]["template"]["spec"]["containers"]


def test_what_is_no_pod_and_how_many_there_are_is_followed_while_another_rendering_waits() -> None:
    built = a_deployment()
    live = first(built)
    more = built.having(sfu={"min": 3}, recording={"spare": 2})
    settled = by(NEW, built, rendered_otherwise(more.manifests()), live)
    egress = named(settled.manifests, "Deployment", "visio-egress")
    assert egress["spec"]["replicas"] == 2
    assert ("Deployment", "visio-egress") not in changes(settled, live)


def test_a_change_of_the_spec_restarts_the_parts_that_it_concerns_and_no_others() -> None:
    built = a_deployment()
    live = later(by(NEW, built, rendered_otherwise(built.manifests()), first(built)).manifests)
    edited = built.overriding("frontend", extraEnv=[{"name": "A", "value": "b"}])
    settled = by(NEW, built, rendered_otherwise(edited.manifests()), live, same_spec=False)
    assert changes(settled, live) == {("Deployment", "visio-frontend")}
    assert BACKEND in settled.waiting.objects
    assert ("Deployment", "visio-frontend") not in settled.waiting.objects


def test_a_new_release_is_followed_at_once() -> None:
    built = a_deployment().having(version="1.26.0")
    live = later(by(NEW, built, rendered_otherwise(built.manifests()), first(built)).manifests)
    newer = built.having(version="1.27.0")
    settled = by(NEW, built, rendered_otherwise(newer.manifests()), live)
    assert {BACKEND, ("Deployment", "visio-frontend")} <= changes(settled, live)
    assert ("Deployment", "visio-egress") in settled.waiting.objects


def test_keys_are_followed_in_the_rendering_that_is_kept() -> None:
    built = a_deployment()
    signing = tuple(with_key_pairs("visio", one, LivekitKeys(("a",), "a")) for one in built.manifests())
    once = by(NEW, built, rendered_otherwise(signing), first(built))
    live = later(with_secrets_digest(one, {}, None) for one in once.manifests)
    rotated = tuple(
        with_key_pairs("visio", one, LivekitKeys(("b", "a"), "b")) for one in rendered_otherwise(built.manifests())
    )
    settled = by(NEW, built, rotated, live)
    assert changes(settled, live) == set()
    held = named(settled.manifests, *BACKEND)
    assert held["spec"]["template"]["metadata"]["annotations"][KEY_PAIRS] == "b"
    assert SECRETS_DIGEST not in json.dumps(held["spec"]["template"]), "it is added to what is kept, when it is applied"


def test_an_older_operator_that_comes_back_is_at_home() -> None:
    built = a_deployment()
    live = later(by(NEW, built, rendered_otherwise(built.manifests()), first(built)).manifests)
    settled = by(OLD, built, built.manifests(), live)
    assert not settled.waiting
    assert changes(settled, live) == set()
    assert WAITING not in notes(settled, BACKEND)


def test_a_third_version_takes_over_what_waits_and_keeps_what_runs() -> None:
    built = a_deployment()
    live = later(by(NEW, built, rendered_otherwise(built.manifests()), first(built)).manifests)
    settled = by("0.3.0", built, rendered_otherwise(rendered_otherwise(built.manifests())), live)
    assert changes(settled, live) == set()
    assert settled.waiting.version == "0.3.0"


@pytest.mark.parametrize("change", ["deleted", "no note"])
def test_what_is_gone_or_says_nothing_is_written_as_it_is(change: str) -> None:
    built = a_deployment()
    live = first(built)
    if change == "deleted":
        live[BACKEND]["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    else:
        del live[BACKEND]["metadata"]["annotations"][RENDERED_BY]
    settled = by(NEW, built, rendered_otherwise(built.manifests()), live)
    assert BACKEND not in settled.waiting.objects
    assert notes(settled, BACKEND)[RENDERED_BY] == NEW


def test_what_older_pods_still_need_is_kept() -> None:
    built = a_deployment().with_network("turnTLS")
    live = first(built)
    newer = tuple(one for one in rendered_otherwise(built.manifests()) if one["kind"] != "ConfigMap")
    assert ("ConfigMap", "visio-turn") in by(NEW, built, newer, live).kept
    assert by(NEW, built, newer, live, adopt=True).kept == frozenset()
