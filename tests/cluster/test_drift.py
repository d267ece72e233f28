"""What somebody changes or deletes by hand comes back; what leaves the spec is pruned; a deleted deployment is gone."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import live
from visio_lab.operator_process import make_namespace

RESTORED_WITHIN = live.limit("restoredWithin")


@pytest.fixture(scope="module")
def settled(lab, operator_identity, session_operator) -> Iterator[str]:
    """A Ready platform that the tests of this module share; each leaves it as it found it."""
    make_namespace(lab, "settled")
    live.apply(lab, live.deployment("minimal.yaml", "settled"))
    live.wait_ready(lab, "settled")
    yield "settled"
    lab.kubectl("delete", "vd", "visio", "--namespace", "settled", "--timeout=60s")
    lab.kubectl("delete", "namespace", "settled", "--wait=false")


def test_each_deleted_object_is_restored_within_5_seconds(lab, operator, settled) -> None:
    before = live.owned(lab, settled)
    victims = [key for key in before if key[0] != "PersistentVolumeClaim"]
    assert len(victims) > 40
    slow = []
    # One object of every kind is timed alone, then all of them are deleted in one go.
    for kind, name in {kind: (kind, name) for kind, name in victims}.values():
        uid = before[(kind, name)]["metadata"]["uid"]
        lab.kubectl("delete", kind, name, "--namespace", settled, "--wait=false")
        took = _time_until(lambda kind=kind, name=name, uid=uid: _uid(lab, kind, name, settled) not in ("", uid))
        print(f"{kind} {name}: back after {took:.2f} s")
        if took > RESTORED_WITHIN:
            slow.append((kind, name, round(took, 1)))
    assert slow == []
    live.wait_ready(lab, settled)


def test_everything_deleted_at_once_comes_back(lab, operator, settled) -> None:
    before = live.owned(lab, settled)
    names = [f"{kind.lower()}/{name}" for kind, name in before if kind != "PersistentVolumeClaim"]
    lab.kubectl("delete", *names, "--namespace", settled, "--wait=false")
    live.eventually("all objects are back", lambda: set(live.owned(lab, settled)) == set(before), 30)
    live.wait_ready(lab, settled)


def _uid(lab, kind: str, name: str, namespace: str) -> str:
    found = live.get(lab, kind, name, namespace)
    return found["metadata"]["uid"] if found and not found["metadata"].get("deletionTimestamp") else ""


def _time_until(check) -> float:
    start = time.monotonic()
    while not check():
        if time.monotonic() - start > 30:
            break
        time.sleep(0.1)
    return time.monotonic() - start


@pytest.mark.parametrize(
    ("kind", "part", "patch", "path"),
    [
        ("deployment", "backend", '{"spec":{"revisionHistoryLimit":7}}', ("spec", "revisionHistoryLimit")),
        ("horizontalpodautoscaler", "backend", '{"spec":{"maxReplicas":77}}', ("spec", "maxReplicas")),
        ("deployment", "frontend", '{"spec":{"template":{"spec":{"terminationGracePeriodSeconds":7}}}}',
         ("spec", "template", "spec", "terminationGracePeriodSeconds")),
        ("service", "backend", '{"spec":{"ports":[{"port":80,"targetPort":9999}]}}', ("spec", "ports")),
        ("networkpolicy", "backend", '{"spec":{"ingress":[{}]}}', ("spec", "ingress")),
        ("poddisruptionbudget", "backend", '{"spec":{"maxUnavailable":"100%"}}', ("spec", "maxUnavailable")),
    ],
)  # fmt: skip
def test_a_changed_field_is_restored_within_5_seconds(lab, operator, settled, kind, part, patch, path) -> None:
    def value():
        node = live.get(lab, kind, f"visio-{part}", settled)
        for key in path:
            node = node[key]
        return node

    before = value()
    lab.kubectl("patch", kind, f"visio-{part}", "--namespace", settled, "--type=merge", "-p", patch)
    took = _time_until(lambda: value() == before)
    assert took <= RESTORED_WITHIN, f"{value()} instead of {before} after {took:.1f} s"


def test_removing_a_part_from_the_spec_prunes_exactly_that_part(lab, operator, settled) -> None:
    before = set(live.owned(lab, settled))
    assert ("Deployment", "visio-egress") in before
    lab.kubectl(
        "patch",
        "vd",
        "visio",
        "--namespace",
        settled,
        "--type=merge",
        "-p",
        '{"spec":{"recording":{"enabled":false}}}',
    )
    gone_part = live.eventually(
        "egress is pruned",
        lambda: (now := set(live.owned(lab, settled))) and not any("egress" in name for _, name in now) and now,
    )
    removed = before - gone_part
    # Recordings are what the media routes serve.
    parts = {"egress", "metadata", "media"}
    assert removed
    assert {key for key in removed if not any(part in key[1] for part in parts)} == set()
    assert gone_part - before == set()
    lab.kubectl(
        "patch", "vd", "visio", "--namespace", settled, "--type=merge", "-p", '{"spec":{"recording":{"enabled":true}}}'
    )
    live.eventually("the part is back", lambda: set(live.owned(lab, settled)) == before)
    live.wait_ready(lab, settled)


@pytest.mark.parametrize("policy", ["Retain", "Delete"])
def test_deleting_the_deployment_leaves_only_what_the_policy_retains(lab, operator, namespace, policy) -> None:
    live.apply(lab, live.deployment("minimal.yaml", namespace, change=lambda spec: spec.update(deletionPolicy=policy)))
    live.wait_ready(lab, namespace)
    lab.kubectl("delete", "vd", "visio", "--namespace", namespace, "--timeout=30s")
    allowed = {"Secret", "PersistentVolumeClaim"} if policy == "Retain" else set()
    live.eventually(
        "only the retained kinds are left", lambda: {kind for kind, _ in live.owned(lab, namespace)} == allowed, 45
    )
    live.eventually("no pods are left", lambda: not live.items(lab, "pods", namespace), 60)


def test_a_deployment_deleted_while_the_operator_was_gone_does_not_hang(
    lab, operator, namespace, restart_operator
) -> None:
    live.apply(lab, live.deployment("minimal.yaml", namespace))
    live.wait_ready(lab, namespace)
    operator.kill()
    lab.kubectl("delete", "vd", "visio", "--namespace", namespace, "--wait=false")
    time.sleep(3)
    restart_operator()
    live.eventually("the deployment is gone", lambda: live.get(lab, "vd", "visio", namespace) is None, 45)
    live.eventually(
        "its objects are gone",
        lambda: {kind for kind, _ in live.owned(lab, namespace)} <= {"Secret", "PersistentVolumeClaim"},
        45,
    )


def test_recreating_a_retained_deployment_takes_its_secrets_up_again(lab, operator, namespace) -> None:
    live.apply(lab, live.deployment("minimal.yaml", namespace))
    live.wait_ready(lab, namespace)
    before = {name: item["data"] for (kind, name), item in live.owned(lab, namespace).items() if kind == "Secret"}
    lab.kubectl("delete", "vd", "visio", "--namespace", namespace, "--timeout=30s")
    live.apply(lab, live.deployment("minimal.yaml", namespace))
    live.wait_ready(lab, namespace)
    after = {name: item["data"] for (kind, name), item in live.owned(lab, namespace).items() if kind == "Secret"}
    assert after == before
    assert Path(lab.audit_log).exists()
