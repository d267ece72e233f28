"""What is read of the deployments of earlier rings, and what status says of an own upgrade."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from builders import a_deployment, healthy_plan
from visio_operator.api.status import UpgradeStatus
from visio_operator.plan.observed import RingPeer, Workload
from visio_operator.plan.plan import Plan, UpgradePlan
from visio_operator.plan.reasons import Reason
from visio_operator.runtime.kube import KubeError
from visio_operator.runtime.rings import peer, ring_peers, upgrade_wanted
from visio_operator.runtime.upgrade_status import upgrade_status

EARLY, LATE = 1_800_000_000.0, 1_800_000_600.0
EARLY_TEXT, LATE_TEXT = "2027-01-15T08:00:00Z", "2027-01-15T08:10:00Z"


def a_body(name: str, namespace: str = "a", *, held: str = "", ready: bool = True, **fields: Any) -> dict[str, Any]:
    conditions = [
        {"type": "Ready", "status": "True" if ready else "False", "reason": "X"},
        {"type": "UpgradeHeld", "status": "True" if held else "False", "reason": held or "NotHeld"},
    ]
    upgrade = {"from": "1.26.0", "to": "1.27.0", "runningSince": EARLY_TEXT}
    return {
        "metadata": {"name": name, "namespace": namespace, "uid": f"{namespace}/{name}"},
        "spec": {"version": "1.27.0", "upgrade": {"ring": "pilot", "soak": "1h"}, **fields},
        "status": {"upgrade": upgrade, "conditions": conditions},
    }


class Cluster:
    """VisioDeployments by namespace; an operator may list those that it looks after only."""

    def __init__(self, *bodies: dict[str, Any], allowed: tuple[str, ...] | None = None) -> None:
        self.bodies, self.allowed, self.reads = bodies, allowed, 0

    async def list(self, kind: str, *, namespace: str | None = None) -> list[dict[str, Any]]:
        self.reads += 1
        assert kind == "VisioDeployment"
        if self.allowed is not None and namespace not in self.allowed:
            raise KubeError(403, "Forbidden", f"cannot list visiodeployments in {namespace}")
        return [body for body in self.bodies if namespace in (None, body["metadata"]["namespace"])]


def seen(cluster: Any, ring: str = "broad", namespaces: tuple[str, ...] = ()) -> tuple[RingPeer, ...]:
    site = a_deployment().having(upgrade={"ring": ring}).site()
    return asyncio.run(ring_peers(cluster, site, namespaces))


def names(found: tuple[RingPeer, ...]) -> list[str]:
    return [str(one) for one in found]


def test_a_deployment_is_read_as_its_spec_and_status_say() -> None:
    assert peer(a_body("x", held="OutsideWindow")) == RingPeer(
        "a", "x", "pilot", wanted="1.27.0", running="1.26.0", since=EARLY, soak=3600.0, held="OutsideWindow"
    )
    assert peer(a_body("x", held="MigrationFailed")).stuck
    assert not peer(a_body("x", held="Paused", upgrade={"paused": True})).stuck
    assert peer(a_body("x", upgrade={"paused": True})).stopped == "spec.upgrade.paused"
    assert peer(a_body("x", emergencyStop=True)).stopped == "spec.emergencyStop"
    assert not peer(a_body("x", ready=False)).ready


def test_one_that_says_little_is_read_with_the_defaults() -> None:
    bare = peer({"metadata": {"name": "x", "namespace": "a"}, "spec": {"version": "1.27.0"}})
    assert bare == RingPeer("a", "x", "broad", "1.27.0", running="", since=0.0, soak=1800.0, ready=False)
    odd = peer(a_body("x", upgrade={"ring": "outer", "soak": "soon"}))
    assert (odd.ring, odd.soak) == ("broad", 1800.0)
    assert peer(a_body("x", version="latest")).wanted == "0.0.0", "it is behind whatever is asked of it"


def test_an_installation_that_is_not_finished_runs_nothing_yet() -> None:
    body = a_body("x")
    del body["status"]["upgrade"]["runningSince"]
    assert peer(body).running == ""


def test_rings_before_the_own_one_are_read_and_nothing_else() -> None:
    own = {
        **a_body("visio", "visio"),
        "metadata": {"name": "visio", "namespace": "v", "uid": a_deployment().site().uid},
    }
    leaving = a_body("gone")
    leaving["metadata"]["deletionTimestamp"] = EARLY_TEXT
    early = a_body("y", "b", upgrade={"ring": "early"})
    cluster = Cluster(a_body("x"), early, a_body("z", upgrade={}), leaving, own)
    assert names(seen(cluster)) == ["pilot a/x", "early b/y"]
    assert names(seen(cluster, "early")) == ["pilot a/x"]
    before = cluster.reads
    assert seen(cluster, "pilot") == ()
    assert cluster.reads == before, "a pilot waits for nobody, so nobody is asked for"


def test_an_operator_of_some_namespaces_looks_into_these_only() -> None:
    cluster = Cluster(a_body("x"), a_body("x", "b"), a_body("x", "c"), allowed=("a", "b"))
    assert names(seen(cluster, namespaces=("a", "b"))) == ["pilot a/x", "pilot b/x"]
    with pytest.raises(KubeError, match="cannot list"):
        seen(cluster, namespaces=("a", "c"))


def test_nobody_is_waited_for_while_all_parts_run_what_is_asked_for() -> None:
    spec = a_deployment().spec()
    part = Workload("Deployment", "visio-backend", "backend", release=spec.version)
    job = Workload("Job", "visio-migrate", "migrate", release="1.26.0")
    assert not upgrade_wanted(spec, {"backend": part, "migrate": job})
    assert upgrade_wanted(spec, {"backend": replace(part, release="1.26.0")})
    assert upgrade_wanted(spec, {"backend": replace(part, release="")}), "one that does not say it may be older"


def said(
    upgrade: UpgradePlan | None,
    before: dict[str, Any] | None = None,
    *,
    now: float = EARLY,
    ready: bool = True,
    **more: Any,
) -> dict[str, Any]:
    plan: Plan = replace(healthy_plan(a_deployment().site()), upgrade=upgrade, **more)
    status = upgrade_status({"upgrade": before} if before else {}, "1.27.0", plan, now, all_ready=ready)
    UpgradeStatus.model_validate(status.get("upgrade", {}))
    return dict(status.get("upgrade", {}))


def test_a_release_runs_since_all_of_its_parts_were_ready_once() -> None:
    first = said(None, ready=False)
    assert first == {"from": "1.27.0", "to": "1.27.0"}
    done = said(None, first)
    assert done == {"from": "1.27.0", "to": "1.27.0", "runningSince": EARLY_TEXT}
    assert said(None, done, now=LATE, ready=False) == done, "a part that is not ready for a while changes nothing"


def test_a_release_that_follows_another_runs_since_its_rung_was_done() -> None:
    way = UpgradePlan("1.26.0", "1.27.0", path=("1.27.0",))
    before = said(way)
    climbing = said(replace(way, rung="1.27.0", step="api", waits_for="backend"), before, now=LATE, ready=False)
    assert (climbing["from"], climbing["runningSince"], climbing["since"]) == ("1.26.0", EARLY_TEXT, LATE_TEXT)
    assert (climbing["rung"], climbing["step"], climbing["message"]) == ("1.27.0", "api", "backend")
    # A drain goes on, so not every replica is ready; the rung was verified all the same.
    assert said(None, climbing, now=LATE, ready=False)["runningSince"] == LATE_TEXT


def test_what_holds_an_upgrade_is_said_with_times_that_stay() -> None:
    held = UpgradePlan(
        "1.25.0", "1.27.0", ("1.26.0", "1.27.0"), held=(Reason.WAITING_FOR_RING, "why"), next_start=LATE,
        approval="abc", blockers=("pilot visio/x runs 1.25.0",),
    )  # fmt: skip
    first = said(held)
    assert first == {
        "from": "1.25.0", "to": "1.27.0", "runningSince": EARLY_TEXT, "path": ["1.26.0", "1.27.0"],
        "held": "WaitingForRing", "message": "why", "since": EARLY_TEXT, "nextStart": LATE_TEXT,
        "approvalDigest": "abc", "blockers": ["pilot visio/x runs 1.25.0"],
    }  # fmt: skip
    assert said(held, first, now=LATE) == first
    later = said(replace(held, held=(Reason.SOAKING, "why")), first, now=LATE)
    assert (later["since"], later["runningSince"]) == (LATE_TEXT, EARLY_TEXT)


def test_the_digest_that_was_taken_up_stays_until_the_next_one() -> None:
    taken = said(None, approved_upgrade="abc")
    assert taken["approved"] == "abc"
    assert said(None, taken)["approved"] == "abc"


def test_a_spec_that_is_refused_leaves_what_was_said() -> None:
    before = said(None)
    assert said(None, before, now=LATE, invalid=("no",)) == before
    assert said(None, release=None) == {}
