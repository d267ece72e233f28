"""Status: transition times, what is kept, which changes become events."""

import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import UID, a_deployment, healthy_plan
from visio_operator.api.status import VisioDeploymentStatus
from visio_operator.plan.impact import Calls, RungImpact, UpgradeImpact
from visio_operator.plan.observed import Observed, Workload
from visio_operator.plan.plan import Condition, PartPlan, Plan, PoolChange, Proposal
from visio_operator.runtime.compare import merge_patch
from visio_operator.runtime.plan_status import Undone
from visio_operator.runtime.report import image_version, instant, merge_conditions, refusal, report, transitions
from visio_operator.workloads.adoption import Waiting

EARLY, LATE = 1_800_000_000.0, 1_800_000_600.0
OBSERVED = Observed(uid=UID, namespace="visio", name="visio")
STATES = st.sampled_from(["True", "False", "Unknown"])


def condition(kind: str = "Ready", status: str = "True", reason: str = "Fine", message: str = "") -> Condition:
    return Condition(kind, status, reason, message)


def a_status(*conditions: Condition, now: float = EARLY) -> dict[str, Any]:
    return {"observedGeneration": 1, "conditions": merge_conditions((), conditions, 1, now)}


def a_plan(**fields: Any) -> Plan:
    return Plan(**{"release": None, "parts": {}, "conditions": (condition(), condition("Degraded", "False")), **fields})


def reported(plan: Plan, previous: dict[str, Any] | None = None, errors: tuple[str, ...] = ()) -> dict[str, Any]:
    return report(previous or {}, a_deployment().spec(), plan, errors, OBSERVED, 2, LATE)


def by_type(status: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {entry["type"]: entry for entry in status["conditions"]}


@given(STATES, STATES, st.text(max_size=5))
def test_the_transition_time_moves_only_with_the_status(old: str, new: str, message: str) -> None:
    before = merge_conditions((), [condition(status=old)], 1, EARLY)
    (after,) = merge_conditions(before, [condition(status=new, reason="Other", message=message)], 2, LATE)
    assert after["lastTransitionTime"] == instant(EARLY if old == new else LATE)
    assert after["observedGeneration"] == 2
    assert after["reason"] == "Other"


def test_messages_and_traces_are_cut_to_what_the_schema_allows() -> None:
    plan = a_plan(conditions=(condition(message="x" * 5000),), trace=tuple("y" * 900 for _ in range(99)))
    status = reported(plan)
    assert len(status["conditions"][0]["message"]) == 1024
    assert [len(line) for line in status["trace"]] == [300] * 40


def test_the_same_pass_twice_gives_the_same_status() -> None:
    first = reported(a_plan())
    assert reported(a_plan(), first) == first


def test_what_could_not_be_written_degrades() -> None:
    status = by_type(reported(a_plan(), errors=("Ingress visio-web: refused",)))
    assert status["Degraded"]["status"] == "True"
    assert status["Degraded"]["reason"] == "ApplyFailed"
    assert "Ingress visio-web: refused" in status["Degraded"]["message"]


def test_a_deployment_that_was_ready_stays_so_when_a_write_is_refused() -> None:
    ready = a_status(condition())
    assert by_type(reported(a_plan(), ready, ("refused",)))["Ready"]["status"] == "True"
    assert by_type(reported(a_plan(), None, ("refused",)))["Ready"]["status"] == "False"


def test_a_refused_plan_keeps_what_was_said_of_the_parts() -> None:
    previous = {"version": "1.26.0", "parts": [{"name": "sfu", "state": "Ready"}]}
    status = reported(a_plan(invalid=("spec.version: unknown",)), previous)
    assert status["version"] == "1.26.0"
    assert status["parts"] == previous["parts"]


def test_the_version_is_told_when_all_parts_run_it() -> None:
    site = a_deployment().site()
    plan = healthy_plan(site)
    assert plan.release is not None
    images = tuple(plan.release.images.values())
    workloads = {
        name: Workload("Deployment", f"visio-{name}", name, part.replicas, part.replicas, part.replicas, images, True)
        for name, part in plan.parts.items()
    }
    full = Observed(uid=UID, namespace="visio", name="visio", workloads=workloads)
    assert report({}, site.spec, plan, (), full, 1, LATE)["version"] == site.spec.version
    del workloads["sfu"]
    assert report({}, site.spec, plan, (), full, 1, LATE)["version"] == ""


def test_a_part_behind_a_closed_gate_says_what_it_waits_for() -> None:
    part = PartPlan("sfu", 2, write=False, waiting_for="waits for redis")
    (told,) = reported(a_plan(parts={"sfu": part}))["parts"]
    assert (told["state"], told["message"], told["ready"], told["desired"]) == ("Waiting", "waits for redis", 0, 2)


@pytest.mark.parametrize(("asked", "state"), [(0, "Ready"), (1, "Ready"), (2, "Progressing")])
def test_a_part_of_which_more_are_wanted_than_were_asked_for_is_not_ready(asked: int, state: str) -> None:
    running = Workload("Deployment", "visio-captions", "captions", 1, 1, 1, (), True)
    seen = Observed(uid=UID, namespace="visio", name="visio", workloads={"captions": running})
    plan = a_plan(parts={"captions": PartPlan("captions", asked)})
    (told,) = report({}, a_deployment().site().spec, plan, (), seen, 1, LATE)["parts"]
    assert (told["state"], told["ready"], told["desired"]) == (state, 1, asked)


def test_a_refused_spec_keeps_all_else_that_was_known() -> None:
    previous = {**a_status(condition(), condition("PolicyCompliant")), "version": "1.26.0", "memory": {"a": 1.0}}
    status = refusal(previous, "InvalidSpec", "spec.host: wrong; correct it", 2, LATE)
    assert status["version"] == "1.26.0"
    assert status["memory"] == {"a": 1.0}
    assert status["observedGeneration"] == 2
    told = by_type(status)
    assert told["Ready"]["status"] == "False"
    assert told["Ready"]["message"] == "spec.host: wrong; correct it"
    assert told["PolicyCompliant"]["lastTransitionTime"] == instant(EARLY)


def test_a_failed_pass_does_not_claim_to_have_looked_at_the_spec() -> None:
    assert refusal({"observedGeneration": 3}, "ApiServerError", "lost", None, LATE)["observedGeneration"] == 3


def test_only_transitions_become_events() -> None:
    before = a_status(condition(status="False"), condition("Progressing", "True"))
    after = a_status(condition(status="True"), condition("Progressing", "True", message="more"))
    assert [entry["type"] for entry in transitions(before, after)] == ["Ready"]
    assert transitions(after, after) == []


def test_at_first_only_bad_news_become_events() -> None:
    first = a_status(
        condition(status="False"),
        condition("Degraded", "True"),
        condition("CapacityLimited", "False"),
        condition("PolicyCompliant", "False"),
        condition("Progressing", "True"),
    )
    assert [entry["type"] for entry in transitions({}, first)] == ["Degraded", "PolicyCompliant"]


def test_a_proposal_is_told_within_its_bounds_and_goes_when_it_is_taken_up() -> None:
    changes = (PoolChange("l40", 3, 1, "x" * 5000, Decimal("-112.8")), PoolChange("h100", 0, 1, "jobs wait"))
    waiting = reported(a_plan(proposal=Proposal("0123456789ab", changes, approvable=True)))
    told = VisioDeploymentStatus.model_validate(waiting).plan
    assert told is not None
    assert [(p.name, p.from_nodes, p.to_nodes, p.euros_per_day) for p in told.pools] == [
        ("l40", 3, 1, "-112.80"),
        ("h100", 0, 1, "unknown"),
    ]
    assert (told.digest, told.euros_per_day, len(told.pools[0].reason)) == ("0123456789ab", "unknown", 1024)
    taken = reported(a_plan(approved="0123456789ab"), waiting)
    assert merge_patch(waiting, taken)["plan"] is None
    assert reported(a_plan(), taken)["approvedPlan"] == "0123456789ab"


@pytest.mark.parametrize(
    ("image", "version"),
    [
        ("docker.io/lasuite/meet-backend:v1.27.0", "1.27.0"),
        ("registry.example.fr:5000/visio/redis:8.2", "8.2"),
        ("registry.example.fr:5000/visio/redis@sha256:0011", ""),
        ("docker.io/livekit/egress:v1.14.1@sha256:0011", "1.14.1"),
    ],
)
def test_the_version_of_a_part_is_what_its_image_names(image: str, version: str) -> None:
    assert image_version(image) == version


@pytest.mark.parametrize(
    ("waiting", "longest", "said"),
    [(3, 12.9, {"waiting": 3, "longestWait": 12}), (0, 0.0, {"waiting": 0, "longestWait": 0}), (None, None, {})],
)
def test_captions_say_how_many_streams_wait_and_how_long(
    waiting: int | None, longest: float | None, said: dict[str, int]
) -> None:
    spec = a_deployment().with_captions().spec()
    seen = replace(OBSERVED, captions_waiting=waiting, captions_longest_wait=longest)
    status = report({}, spec, a_plan(), (), seen, 2, LATE)
    assert status["captions"] == {"used": 0, "total": 0, "serving": 0, **said}


def test_captions_say_since_when_they_are_in_panic() -> None:
    spec = a_deployment().with_captions().spec()
    status = report({}, spec, a_plan(panic_since=EARLY), (), OBSERVED, 2, LATE)
    assert status["captions"]["panicSince"] == instant(EARLY)
    VisioDeploymentStatus.model_validate_json(json.dumps(status))


def test_a_rendering_that_waits_is_a_condition_and_a_plan() -> None:
    objects = (("Deployment", "visio-sfu"), ("Deployment", "visio-backend"))
    waiting = Waiting("0.2.0", objects, {"sfu": 3, "backend": 2}, "d" * 12)
    spec = a_deployment().spec()
    status = report({}, spec, a_plan(), (), OBSERVED, 2, LATE, Undone(waiting))
    told = by_type(status)["RenderingPending"]
    assert (told["status"], told["reason"]) == ("True", "ApprovalNeeded")
    assert "renders 2 objects differently, which would restart 5 pods (sfu 3, backend 2)" in told["message"]
    assert status["plan"]["rendering"] == {
        "operator": "0.2.0",
        "digest": "d" * 12,
        "objects": 2,
        "restarts": [{"name": "sfu", "pods": 3}, {"name": "backend", "pods": 2}],
    }
    VisioDeploymentStatus.model_validate(status)
    windows = {"windows": [{"days": ["Sun"], "start": "03:00", "duration": "2h"}]}
    windowed = a_deployment().having(upgrade=windows).spec()
    later = report({}, windowed, a_plan(), (), OBSERVED, 2, LATE, Undone(waiting))
    assert by_type(later)["RenderingPending"]["reason"] == "OutsideWindow"
    calm = report({}, spec, a_plan(), (), OBSERVED, 2, LATE)
    assert (by_type(calm)["RenderingPending"]["status"], "plan" in calm) == ("False", False)


def test_an_upgrade_that_waits_is_in_the_plan_and_what_could_not_be_read_is_left_out() -> None:
    rung = RungImpact("1.28.0", {"backend": 3}, 130.0)
    impact = UpgradeImpact("d" * 12, (rung,), Calls(rooms=None, participants=None, recordings=1), 190.0)
    status = report({}, a_deployment().spec(), a_plan(), (), OBSERVED, 2, LATE, Undone(upgrade=impact))
    assert status["plan"] == {
        "upgrade": {
            "digest": "d" * 12,
            "rungs": [{"version": "1.28.0", "minutes": 3, "restarts": [{"name": "backend", "pods": 3}]}],
            "streams": 0,
            "recordings": 1,
            "transcriptions": 0,
            "minutes": 4,
            "nodes": 0,
            "eurosPerDay": "+0.00",
        }
    }
    VisioDeploymentStatus.model_validate(status)
