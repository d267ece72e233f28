"""What a decision says about parts, releases, refusals and conditions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from plan_world import LADDER, NOW, a_healthy_world, a_spec, a_workload, an_empty_world, condition, with_captions

from visio_operator.api.releases import find_release
from visio_operator.plan.decide import decide
from visio_operator.plan.node_ports import FIRST_PORT
from visio_operator.plan.observed import Observed, Pool
from visio_operator.plan.pace import Pace
from visio_operator.plan.reasons import ConditionType, Reason


def decided(spec: Any, observed: Observed) -> Any:
    return decide(spec, observed, NOW, LADDER)


def without(world: Observed, *parts: str) -> Observed:
    return replace(world, workloads={name: w for name, w in world.workloads.items() if name not in parts})


def changed(world: Observed, part: str, **changes: Any) -> Observed:
    return replace(world, workloads={**world.workloads, part: replace(world.workloads[part], **changes)})


def written(plan: Any) -> set[str]:
    return {name for name, part in plan.parts.items() if part.write}


def test_a_first_installation_starts_with_the_services_and_says_what_the_rest_waits_for() -> None:
    spec = a_spec()
    plan = decided(spec, an_empty_world(spec))
    assert written(plan) == {"preflight", "postgres", "redis", "garage"}
    assert plan.parts["backend"].waiting_for == "waits for garage, migrate, sfu"
    assert condition(plan, "Ready")[:2] == ("False", "PartsNotReady")
    assert condition(plan, "Progressing")[:2] == ("True", "Creating")


def test_services_outside_the_platform_count_as_up() -> None:
    spec = a_spec(
        database={"host": "db.example.fr", "secretRef": {"name": "db"}},
        redis={"host": "redis.example.fr"},
        objectStorage={"endpoint": "https://s3.example.fr", "secretRef": {"name": "s3"}},
    )
    plan = decided(spec, an_empty_world(spec))
    assert written(plan) == {"preflight", "sfu", "migrate"}
    assert [need.name for need in plan.secrets] == ["main-keys", "main-composed"]


@dataclass(frozen=True)
class Gate:
    name: str
    absent: tuple[str, ...]
    changes: dict[str, dict[str, Any]] = field(default_factory=dict)
    want_held: frozenset[str] = frozenset()


GATES = [
    Gate("all is up", absent=("frontend",)),
    Gate(
        "migrations not done",
        absent=("backend", "celery-backend", "clean-pending-files", "frontend"),
        changes={"migrate": {"succeeded": False}},
        want_held=frozenset({"backend", "celery-backend", "clean-pending-files", "frontend"}),
    ),
    Gate(
        "migrate Job of another release",
        absent=("backend",),
        changes={"migrate": {"images": ("docker.io/lasuite/meet-backend:v1.26.0",)}},
        want_held=frozenset({"backend"}),
    ),
    Gate(
        "SFU down",
        absent=("backend", "egress"),
        changes={"sfu": {"ready": 0}},
        want_held=frozenset({"backend", "egress"}),
    ),
    Gate("SFU down, but its users exist", absent=(), changes={"sfu": {"ready": 0}}),
    Gate("backend down", absent=("frontend",), changes={"backend": {"ready": 0}}),
]


@pytest.mark.parametrize("case", GATES, ids=lambda case: case.name)
def test_a_closed_gate_holds_back_creation_and_nothing_else(case: Gate) -> None:
    spec = a_spec()
    world = without(a_healthy_world(spec), *case.absent)
    for part, changes in case.changes.items():
        world = changed(world, part, **changes)
    plan = decided(spec, world)
    assert set(plan.parts) - written(plan) == case.want_held


def test_a_healthy_deployment_is_ready_settled_and_has_nothing_to_write() -> None:
    spec = a_spec()
    plan = decided(spec, a_healthy_world(spec))
    assert {item.type: item.status for item in plan.conditions} == {
        "Ready": "True", "Progressing": "False", "Degraded": "False", "CapacityLimited": "False",
        "ScalingFrozen": "False", "ApprovalPending": "False", "PolicyCompliant": "True", "UpgradeHeld": "False",
        "EmergencyStop": "False",
    }  # fmt: skip
    assert (plan.pools, plan.pods, plan.nodes) == ((), (), ())
    assert plan.memory == {FIRST_PORT: plan.node_port}
    assert plan.recheck_after == Pace().idle


def test_each_condition_is_stated_once_with_a_reason_of_the_vocabulary() -> None:
    spec = a_spec(**with_captions(min=1))
    for world in (a_healthy_world(spec), an_empty_world(spec), Observed(uid="u", namespace="n", name="m")):
        plan = decided(spec, world)
        assert sorted(item.type for item in plan.conditions) == sorted(kind.value for kind in ConditionType)
        assert {item.reason for item in plan.conditions} <= {reason.value for reason in Reason}


def test_ready_names_the_part_and_its_cause() -> None:
    spec = a_spec()
    plan = decided(spec, changed(a_healthy_world(spec), "backend", ready=1, failed="ImagePullBackOff"))
    assert condition(plan, "Ready") == (
        "False",
        "PartsNotReady",
        "backend has 1 of 2 replicas ready: ImagePullBackOff",
    )
    assert condition(plan, "Degraded") == ("True", "PartFailed", "backend: ImagePullBackOff")


def test_a_rollout_is_progress_and_does_not_end_readiness() -> None:
    spec = a_spec()
    plan = decided(spec, changed(a_healthy_world(spec), "frontend", updated=1))
    assert condition(plan, "Ready")[0] == "True"
    assert condition(plan, "Progressing")[:2] == ("True", "RollingOut")


def test_captions_without_a_minimum_are_ready_without_a_server_and_with_one_they_wait_for_it() -> None:
    none, one = a_spec(**with_captions()), a_spec(**with_captions(min=1))
    pools = {"l40": Pool("l40", True)}
    assert condition(decided(none, a_healthy_world(none, pools=pools)), "Ready")[0] == "True"
    status, reason, message = condition(decided(one, a_healthy_world(one, pools=pools)), "Ready")
    assert (status, reason) == ("False", "WaitingForNodes")
    assert message == "captions has 0 of 1 replicas ready on GPU nodes (waits for GPU nodes)"


@dataclass(frozen=True)
class Refused:
    name: str
    spec: dict[str, Any]
    world: dict[str, Any]
    want_reason: str
    want: str


POOL = {"name": "l40", "provider": "oks"}
REFUSED = [
    Refused(
        "missing Secret",
        {},
        {"secret_keys": {}},
        "SecretMissing",
        "spec.oidc.secretRef.name: Secret oidc does not exist in namespace visio; create it with the key clientSecret",
    ),
    Refused(
        "missing key",
        {},
        {"secret_keys": {"oidc": frozenset({"secret"})}},
        "SecretMissing",
        "spec.oidc.secretRef.key: Secret oidc lacks the key clientSecret; add it or name another key",
    ),
    Refused(
        "no such pool",
        with_captions(),
        {"pools": {"l40": Pool("l40", False)}},
        "PoolMissing",
        "spec.gpuPools[0].name: there is no NodePool l40 in nodepools.oks.dev;"
        " create it with desiredNodes 0 and autoscaling false, or set provider none",
    ),
    Refused(
        "no such MachineDeployment",
        {"gpuPools": [{"name": "l40", "provider": "clusterAPI"}]},
        {},
        "PoolMissing",
        "spec.gpuPools[0].name: there is no MachineDeployment l40 in machinedeployments.cluster.x-k8s.io;"
        " create it with replicas 0 and the label visio-operator.dev/pool: l40 in spec.template.metadata,"
        " or set provider none",
    ),
    Refused(
        "a pool that is not fit",
        {"gpuPools": [{"name": "l40", "provider": "ovh"}]},
        {"pools": {"l40": Pool("l40", False, error="NodePool l40 lacks a label")}},
        "PoolMissing",
        "spec.gpuPools[0].name: NodePool l40 lacks a label; create it with desiredNodes 0, autoscale false and the"
        " label visio-operator.dev/pool: l40 in spec.template.metadata, or set provider none",
    ),
    Refused(
        "no digests",
        {"sovereignty": {"requireDigests": True}},
        {},
        "DigestMissing",
        "spec.sovereignty.requireDigests: release 1.27.0 has no digest for ",
    ),
    Refused(
        "zone outside",
        {"sovereignty": {"regions": ["cloudgouv-eu-west-1"]}, "gpuPools": [{**POOL, "zone": "eu-west-2a"}]},
        {"pools": {"l40": Pool("l40", True)}},
        "ZoneOutsideRegions",
        "spec.gpuPools[0].zone: zone eu-west-2a is outside cloudgouv-eu-west-1;",
    ),
    Refused(
        "time zone",
        {"upgrade": {"windows": [{"days": ["Sun"], "start": "02:00", "duration": "2h", "timeZone": "Mars/Base"}]}},
        {},
        "TimeZoneUnknown",
        "spec.upgrade.windows[0].timeZone: Mars/Base is not a known time zone;",
    ),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_cannot_be_is_refused_with_field_problem_and_next_step_and_nothing_is_written(case: Refused) -> None:
    spec = a_spec(**case.spec)
    empty = an_empty_world(spec, **case.world)
    running = replace(empty, workloads={"backend": a_workload(a_spec(), "backend")}, memory={"captions.less": 1.0})
    for world in (empty, running):
        plan = decided(spec, world)
        assert len(plan.invalid) == 1
        assert plan.invalid[0].startswith(case.want)
        assert condition(plan, "Ready")[:2] == ("False", case.want_reason)
        assert written(plan) == set()
        assert (plan.secrets, plan.pools, plan.pods, plan.nodes) == ((), (), (), ())
        assert plan.memory == world.memory
    assert list(plan.parts) == ["backend"]


def test_images_move_to_the_first_registry_and_others_are_refused() -> None:
    spec = a_spec(sovereignty={"registries": ["registry.example.fr/visio"]})
    plan = decided(spec, an_empty_world(spec))
    assert plan.release.images["backend"] == "registry.example.fr/visio/lasuite/meet-backend:v1.27.0"
    entry = find_release(LADDER, "1.27.0")
    assert entry is not None
    moved = replace(entry, images={**entry.images, "frontend": "elsewhere.example.org/front:v1"})
    plan = decide(spec, an_empty_world(spec), NOW, (moved,))
    assert plan.invalid == (
        "spec.sovereignty.registries: elsewhere.example.org/front:v1 come from none of them;"
        " mirror them and name the copies in a VisioRelease, or extend the list",
    )
    assert condition(plan, "PolicyCompliant")[:2] == ("False", "ImageOutsideRegistries")


def test_a_deleted_migrate_job_does_not_take_parts_away() -> None:
    spec = a_spec()
    plan = decided(spec, without(a_healthy_world(spec), "migrate"))
    assert written(plan) == set(plan.parts)
