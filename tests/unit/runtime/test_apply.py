"""What is written, what is pruned and what is left alone, as far as it can be said without a cluster."""

import copy
from dataclasses import replace
from typing import Any

import pytest

from builders import UID, a_deployment
from visio_operator.plan.observed import Observed
from visio_operator.plan.plan import NodeMark, PodMark, SecretNeed
from visio_operator.runtime.apply import superfluous, with_digest
from visio_operator.runtime.attempts import Attempts
from visio_operator.runtime.compare import DIGEST, differences
from visio_operator.runtime.generated import correct_secret
from visio_operator.runtime.kube import KubeError
from visio_operator.runtime.nodepools import node_patch, pod_patch
from visio_operator.runtime.observe import Snapshot
from visio_operator.runtime.secret_values import encode
from visio_operator.workloads.common import metadata

OWNER = "visio/visio"


def live_objects(*manifests: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """The manifests as if they were applied."""
    return {(m["kind"], m["metadata"]["name"]): copy.deepcopy(m) for m in manifests}


def a_snapshot(live: dict[tuple[str, str], dict[str, Any]]) -> Snapshot:
    return Snapshot(Observed(uid=UID, namespace="visio", name="visio"), live, {}, {}, {})


def names(bodies: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(body["kind"], body["metadata"]["name"]) for body in bodies}


def test_nothing_is_superfluous_when_all_of_it_is_wanted() -> None:
    built = a_deployment()
    seen = a_snapshot(live_objects(*built.manifests()))
    assert superfluous(built.site(), built.plan(), built.manifests(), seen) == []


def test_a_part_that_is_gone_from_the_spec_loses_exactly_its_objects() -> None:
    before, after = a_deployment(), a_deployment().having(recording={"enabled": False})
    seen = a_snapshot(live_objects(*before.manifests()))
    found = names(superfluous(after.site(), after.plan(), after.manifests(), seen))
    kept = {(m["kind"], m["metadata"]["name"]) for m in after.manifests()}
    assert found == set(seen.live) - kept
    assert ("Deployment", "visio-egress") in found
    assert {name for kind, name in found if not name.startswith("visio-egress")} == {"visio-media", "visio-media-files"}


def test_a_part_whose_gate_closed_loses_nothing() -> None:
    built = a_deployment()
    plan = built.plan()
    closed = replace(plan, parts={**plan.parts, "sfu": replace(plan.parts["sfu"], write=False)})
    manifests = [m for m in built.manifests() if m["metadata"]["labels"]["app.kubernetes.io/component"] != "sfu"]
    seen = a_snapshot(live_objects(*built.manifests()))
    assert superfluous(built.site(), closed, manifests, seen) == []


def test_a_secret_that_only_repeats_others_is_pruned_whatever_the_policy() -> None:
    built = a_deployment()
    owner = {"uid": built.site().uid, "controller": True}
    labels = {"visio-operator.dev/deployment": "visio", "app.kubernetes.io/component": "captions"}
    meta = {"name": "visio-captions-0", "labels": labels, "ownerReferences": [owner]}
    seen = a_snapshot({("Secret", "visio-captions-0"): {"metadata": meta}})
    assert names(superfluous(built.site(), built.plan(), (), seen)) == {("Secret", "visio-captions-0")}


def test_secrets_are_pruned_only_under_delete() -> None:
    built = a_deployment()
    labels = {"visio-operator.dev/deployment": "visio", "app.kubernetes.io/component": "gone"}
    meta = {"name": "old", "labels": labels}
    seen = a_snapshot({("Secret", "old"): {"metadata": meta}})
    assert superfluous(built.site(), built.plan(), (), seen) == []
    deleting = built.having(deletionPolicy="Delete")
    assert names(superfluous(deleting.site(), deleting.plan(), (), seen)) == {("Secret", "old")}


@pytest.mark.parametrize(
    "change",
    [
        {"labels": {"visio-operator.dev/deployment": "other", "app.kubernetes.io/component": "gone"}},
        {"ownerReferences": [{"uid": "a CronJob", "controller": True}]},
        {"deletionTimestamp": "2026-01-01T00:00:00Z"},
    ],
)
def test_what_is_not_ours_or_goes_already_is_not_pruned(change: dict[str, Any]) -> None:
    built = a_deployment()
    labels = {"visio-operator.dev/deployment": "visio", "app.kubernetes.io/component": "gone"}
    base = {"name": "old", "labels": labels}
    assert superfluous(built.site(), built.plan(), (), a_snapshot({("Job", "old"): {"metadata": base}}))
    assert not superfluous(built.site(), built.plan(), (), a_snapshot({("Job", "old"): {"metadata": base | change}}))


def test_every_manifest_carries_its_digest_and_does_not_differ_from_itself() -> None:
    for manifest in a_deployment().complete().manifests():
        wanted = with_digest(manifest)
        assert len(wanted["metadata"]["annotations"][DIGEST]) == 64
        assert differences(wanted, copy.deepcopy(wanted)) == ()
        assert DIGEST not in (manifest["metadata"].get("annotations") or {}), "the manifest itself was changed"


def test_a_pod_is_marked_once() -> None:
    mark = PodMark("p", serving=False, deletion_cost=-10)
    pod = {"metadata": {"name": "p", "labels": {"visio-operator.dev/serving": "true"}}}
    patch = pod_patch(mark, pod)
    assert patch["metadata"]["labels"] == {"visio-operator.dev/serving": "false"}
    assert patch["metadata"]["annotations"] == {"controller.kubernetes.io/pod-deletion-cost": "-10"}
    marked = {"metadata": {"name": "p", **patch["metadata"]}}
    assert pod_patch(mark, marked) == {}
    assert pod_patch(mark, None) == {}


def test_only_our_own_cordon_is_taken_back() -> None:
    open_node = {"metadata": {"name": "n"}, "spec": {}}
    patch = node_patch(OWNER, NodeMark("n", cordon=True), open_node)
    assert patch["spec"] == {"unschedulable": True}
    ours = {"metadata": {"name": "n", **patch["metadata"]}, "spec": patch["spec"]}
    assert node_patch(OWNER, NodeMark("n", cordon=True), ours) == {}
    assert node_patch(OWNER, NodeMark("n", cordon=False), ours)["spec"] == {"unschedulable": None}
    theirs = {"metadata": {"name": "n"}, "spec": {"unschedulable": True}}
    assert node_patch(OWNER, NodeMark("n", cordon=False), theirs) == {}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


async def test_a_refused_write_waits_longer_each_time_until_it_changes() -> None:
    clock, calls = Clock(), 0
    attempts = Attempts(clock=clock)

    async def refused() -> None:
        nonlocal calls
        calls += 1
        raise KubeError(422, "Invalid", "spec.x: wrong")

    tried = []
    for second in range(40):
        clock.now = float(second)
        before = calls
        assert await attempts.run(("Service", "a"), "one", refused) == "Service a: spec.x: wrong"
        if calls > before:
            tried.append(second)
    assert tried == [0, 1, 3, 7, 15, 31]
    await attempts.run(("Service", "a"), "two", refused)
    assert calls == 7


async def test_a_write_that_succeeds_is_forgotten() -> None:
    attempts = Attempts(clock=Clock())

    async def refused() -> None:
        raise KubeError(409, "Conflict", "busy")

    async def accepted() -> None:
        pass

    await attempts.run(("Service", "a"), "one", refused)
    assert attempts.next_in() == 1.0
    assert await attempts.run(("Service", "a"), "two", accepted) == ""
    assert attempts.refused == {}


async def test_a_kept_value_is_neither_changed_nor_removed() -> None:
    patches: list[Any] = []

    class Recorder:
        async def merge(self, kind: str, name: str, namespace: str, patch: Any) -> None:
            patches.append((kind, name, patch))

    site = a_deployment().site()
    need = SecretNeed(
        "main-composed", "backend", composed={"livekitKeys": ("{}",)}, derived=True, kept=frozenset({"redisUrl"})
    )
    meta = metadata(site, "backend", need.name)
    live = {"metadata": meta, "data": encode({"livekitKeys": "{}", "redisUrl": "redis://old", "left": "over"})}
    assert await correct_secret(Recorder(), site, need, live, {})  # type: ignore[arg-type]
    assert [patch["data"] for _, _, patch in patches] == [{"left": None}]
