"""`visio-operator approve`: what it shows, whom it asks, what it refuses, and what it writes."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from visio_operator.cli import main
from visio_operator.cli.approve import judged
from visio_operator.cli.status import show_status
from visio_operator.plan.propose import IGNORED, number_of
from visio_operator.runtime.kube import Kube, KubeError

DIGEST, OTHER = "0123456789ab", "ba9876543210"
PLAN = {
    "digest": DIGEST,
    "approvable": True,
    "eurosPerDay": "+112.80",
    "pools": [{"name": "l40", "fromNodes": 0, "toNodes": 2, "eurosPerDay": "+112.80", "reason": "need 2 (captions 2)"}],
}


UPGRADE = {"from": "1.25.0", "to": "1.27.0", "path": ["1.26.0", "1.27.0"], "approvalDigest": OTHER}


class Cluster:
    """One VisioDeployment behind an API server that honours resourceVersion, and the operator that answers."""

    def __init__(self, plan: dict[str, Any] | None, mode: str = "Propose") -> None:
        self.live: dict[str, Any] = {
            "metadata": {"name": "visio", "namespace": "ns", "resourceVersion": "7"},
            "spec": {"capacity": {"mode": mode}},
            "status": {} if plan is None else {"plan": plan},
        }
        self.answer: dict[str, Any] = {"approvedPlan": DIGEST}
        self.between: list[dict[str, Any]] = []
        """Status that others write between the next reads and writes."""
        self.patches: list[dict[str, Any]] = []

    async def get(self, kind: str, name: str, namespace: str) -> dict[str, Any] | None:
        assert kind == "VisioDeployment"
        return copy.deepcopy(self.live) if (name, namespace) == ("visio", "ns") else None

    async def merge(self, kind: str, name: str, namespace: str, patch: dict[str, Any]) -> None:
        if self.between:
            self.live["status"] = self.between.pop(0)
            self.live["metadata"]["resourceVersion"] += "1"
        if patch["metadata"]["resourceVersion"] != self.live["metadata"]["resourceVersion"]:
            raise KubeError(409, "Conflict", "the object has been modified")
        self.patches.append(patch["metadata"]["annotations"])
        self.live["status"] = self.answer

    async def close(self) -> None:
        """Nothing is open."""


def approve(cluster: Cluster, monkeypatch: pytest.MonkeyPatch, *arguments: str, answer: str | None = None) -> int:
    async def connect(kubeconfig: object) -> Cluster:
        return cluster

    monkeypatch.setattr(Kube, "connect", connect)
    monkeypatch.setattr("sys.stdin.isatty", lambda: answer is not None, raising=False)
    monkeypatch.setattr("builtins.input", lambda _: answer)
    return main(["approve", "visio", "-n", "ns", *arguments])


def test_the_plan_is_shown_and_its_digest_approved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(PLAN)
    assert approve(cluster, monkeypatch, "--digest", DIGEST) == 0
    assert cluster.patches == [{"visio-operator.dev/approved-plan": DIGEST}]
    assert capsys.readouterr().out.splitlines() == [
        f"ns/visio: plan {DIGEST}, +112.80 euros a day",
        "  pool l40             0 -> 2 nodes, +112.80 euros a day",
        "       why: need 2 (captions 2)",
        f"approved {DIGEST}; waits for the operator, Ctrl-C ends only the waiting",
        "taken up: the operator asks the provider for these sizes; see `visio-operator status`",
    ]


@pytest.mark.parametrize(("answer", "code", "writes"), [("y", 0, 1), ("Yes", 0, 1), ("", 1, 0), ("n", 1, 0)])
def test_on_a_terminal_it_asks(monkeypatch: pytest.MonkeyPatch, answer: str, code: int, writes: int) -> None:
    cluster = Cluster(PLAN)
    assert approve(cluster, monkeypatch, answer=answer) == code
    assert len(cluster.patches) == writes


@pytest.mark.parametrize(
    ("cluster", "arguments", "code", "words"),
    [
        (Cluster(PLAN), ["--digest", OTHER], 1, f"{OTHER} is stale, nothing is approved: the present plan is {DIGEST}"),
        (Cluster(PLAN), [], 2, f"nobody can be asked here; give --digest {DIGEST} to approve this plan"),
        (Cluster(PLAN), ["-o", "json"], 2, f"give --digest {DIGEST}"),
        (Cluster(None), ["--digest", DIGEST], 1, "no plan of ns/visio waits for approval"),
        (Cluster(None, "Auto"), [], 1, "spec.capacity.mode is Auto, so plans are carried out at once"),
        (Cluster({**PLAN, "approvable": False}, "ForecastOnly"), ["--digest", DIGEST], 1, "set it to Propose first"),
        (Cluster(PLAN), ["-n", "elsewhere"], 2, "there is no VisioDeployment visio in namespace elsewhere"),
    ],
)
def test_what_cannot_be_approved_is_one_line_and_no_write(
    cluster: Cluster,
    arguments: list[str],
    code: int,
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert approve(cluster, monkeypatch, *arguments) == code
    [line] = capsys.readouterr().err.splitlines()
    assert words in line
    assert cluster.patches == []


def test_a_plan_that_changes_before_the_write_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(PLAN)
    cluster.between = [{"plan": {**PLAN, "digest": OTHER}}]
    assert approve(cluster, monkeypatch, "--digest", DIGEST) == 1
    assert cluster.patches == []
    assert f"the present plan is {OTHER}" in capsys.readouterr().err


def test_a_status_that_changes_in_other_words_only_is_no_obstacle(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster(PLAN)
    cluster.between = [{"plan": {**PLAN, "eurosPerDay": "unknown"}}] * 2
    assert approve(cluster, monkeypatch, "--digest", DIGEST) == 0
    cluster = Cluster(PLAN)
    cluster.between = [{"plan": PLAN}] * 9
    assert approve(cluster, monkeypatch, "--digest", DIGEST) == 1
    assert cluster.patches == []


def test_an_approval_that_the_operator_ignores_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(PLAN)
    cluster.answer = {"plan": {**PLAN, "digest": OTHER}, "memory": {IGNORED: number_of(DIGEST)}}
    assert approve(cluster, monkeypatch, "--digest", DIGEST, "-o", "json") == 1
    out, err = capsys.readouterr()
    assert json.loads(out) == {"deployment": "ns/visio", "plan": PLAN, "takenUp": False}
    assert f"the present plan is {OTHER}" in err


def test_a_status_of_before_the_approval_tells_nothing() -> None:
    assert judged({"plan": PLAN}, DIGEST) is None
    assert judged({"approvedPlan": OTHER, "plan": {**PLAN, "digest": OTHER}}, DIGEST) is None
    assert judged({"approvedPlan": DIGEST}, DIGEST) == ""


def test_without_an_operator_the_waiting_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = Cluster(PLAN)
    cluster.answer = {"plan": PLAN}
    monkeypatch.setattr("visio_operator.cli.approve._FOLLOW_SECONDS", 0.1)
    assert approve(cluster, monkeypatch, "--digest", DIGEST) == 1
    assert "is the operator running?" in capsys.readouterr().err


def test_the_status_names_the_plan_and_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    show_status(Cluster(PLAN).live, as_json=False)
    assert f"approve: visio-operator approve visio -n ns --digest {DIGEST}" in capsys.readouterr().out
    show_status(Cluster({**PLAN, "approvable": False}).live, as_json=False)
    shown = capsys.readouterr().out
    assert "only shown, since spec.capacity.mode is ForecastOnly" in shown
    assert "approve:" not in shown


def an_upgrading(plan: dict[str, Any] | None = None) -> Cluster:
    """A deployment whose upgrade waits, beside a plan of its pools if there is one."""
    cluster = Cluster(plan)
    cluster.live["status"]["upgrade"] = UPGRADE
    cluster.answer = {"upgrade": {"approved": OTHER}, "approvedPlan": DIGEST}
    return cluster


def test_an_upgrade_is_shown_with_its_way_and_approved_by_an_annotation_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = an_upgrading()
    assert approve(cluster, monkeypatch, "--digest", OTHER) == 0
    assert cluster.patches == [{"visio-operator.dev/approved-upgrade": OTHER}]
    assert capsys.readouterr().out.splitlines() == [
        f"ns/visio: upgrade {OTHER}",
        "  1.25.0 -> 1.26.0 -> 1.27.0 (2 rungs)",
        f"approved {OTHER}; waits for the operator, Ctrl-C ends only the waiting",
        "taken up: rungs start as soon as nothing else keeps them; see `visio-operator status`",
    ]


def test_of_two_plans_the_one_that_is_named_is_approved(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = an_upgrading(PLAN)
    assert approve(cluster, monkeypatch, "--digest", DIGEST) == 0
    assert cluster.patches == [{"visio-operator.dev/approved-plan": DIGEST}]
    assert "upgrade" not in capsys.readouterr().out.splitlines()[0]


def test_on_a_terminal_it_asks_about_each_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = an_upgrading(PLAN)
    cluster.answer = {**cluster.live["status"], **cluster.answer, "upgrade": {**UPGRADE, "approved": OTHER}}
    assert approve(cluster, monkeypatch, answer="y") == 0
    assert [next(iter(patch)) for patch in cluster.patches] == [
        "visio-operator.dev/approved-upgrade", "visio-operator.dev/approved-plan"
    ]  # fmt: skip


def test_two_plans_and_nobody_to_ask(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert approve(an_upgrading(PLAN), monkeypatch) == 2
    assert f"give --digest {OTHER} or --digest {DIGEST} to approve one of them" in capsys.readouterr().err
    assert approve(an_upgrading(PLAN), monkeypatch, "--digest", "0" * 12) == 1
    assert f"{'0' * 12} is stale, nothing is approved: the present plan is {OTHER} and {DIGEST}" in (
        capsys.readouterr().err
    )


OFFER = {
    "digest": OTHER,
    "backup": "visio-upgrade-backup-1-25-0",
    "savedAt": "2026-11-26T09:00:00Z",
    "by": "CronJob load",
    "stops": ["backend", "celery-backend"],
    "minutes": 9,
}
HELD = {"from": "1.24.0", "to": "1.25.0", "rung": "1.25.0", "held": "MigrationFailed"}


def an_offering(plan: dict[str, Any] | None = None) -> Cluster:
    """A deployment that is held after a migration and could restore its backup."""
    cluster = Cluster({**(plan or {}), "restore": OFFER}, "Auto" if plan is None else "Propose")
    cluster.live["status"]["upgrade"] = HELD
    cluster.answer = {"upgrade": {**HELD, "approvedRestore": OTHER}}
    return cluster


def test_a_restore_is_shown_with_what_is_lost_and_what_stands_still_and_approved_by_an_annotation_of_its_own(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = an_offering()
    assert approve(cluster, monkeypatch, "--digest", OTHER) == 0
    assert cluster.patches == [{"visio-operator.dev/approved-restore": OTHER}]
    assert capsys.readouterr().out.splitlines() == [
        f"ns/visio: restore {OTHER}",
        f"  the backup {OFFER['backup']} by CronJob load: all that was written since 2026-11-26T09:00:00Z is lost",
        "  meanwhile backend, celery-backend stand still; calls that run go on; about 9 minutes",
        f"approved {OTHER}; waits for the operator, Ctrl-C ends only the waiting",
        "taken up: what writes to the database stops, then the backup is restored; see `visio-operator status`",
    ]


def test_a_restore_is_not_approved_by_the_digest_of_another_plan(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster = an_offering(PLAN)
    assert approve(cluster, monkeypatch, "--digest", "0" * 12) == 1
    assert f"the present plan is {OTHER} and {DIGEST}" in capsys.readouterr().err
    assert cluster.patches == []
    cluster = an_offering(PLAN)
    cluster.answer = {"approvedPlan": DIGEST}
    assert approve(cluster, monkeypatch, "--digest", DIGEST) == 0
    assert cluster.patches == [{"visio-operator.dev/approved-plan": DIGEST}]
    late = {"plan": {"restore": {**OFFER, "digest": DIGEST}}, "memory": {"restore.ignored": number_of(OTHER)}}
    assert f"the present plan is {DIGEST}" in (judged(late, OTHER) or "")


def test_the_status_names_the_restore_that_is_offered_and_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    show_status(an_offering().live, as_json=False)
    shown = capsys.readouterr().out
    assert f"  offered: restore {OTHER}" in shown
    assert f"approve: visio-operator approve visio -n ns --digest {OTHER}" in shown


def test_an_approval_of_an_upgrade_that_came_too_late_is_named() -> None:
    status = {"upgrade": UPGRADE, "memory": {"upgrade.ignored": number_of(DIGEST)}}
    assert judged(status, DIGEST) == (
        f"{DIGEST} became stale before the operator saw the approval, so nothing was done: the present plan is {OTHER}"
    )
    assert judged({"upgrade": UPGRADE}, DIGEST) is None
