"""Live objects become the records that decisions look at."""

from typing import Any

from visio_operator.runtime import projections


def an_object(name: str, part: str, created: str = "2026-01-01T00:00:00Z", **rest: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": part}
    return {"metadata": {"name": name, "uid": name, "labels": labels, "creationTimestamp": created}, **rest}


def test_a_deployment_is_current_only_when_its_controller_has_seen_it() -> None:
    body = an_object("visio-sfu", "sfu", spec={"replicas": 2}, status={"observedGeneration": 1, "readyReplicas": 2})
    body["metadata"]["generation"] = 2
    found = projections.workload("Deployment", "sfu", body)
    assert (found.desired, found.ready, found.current) == (2, 2, False)
    body["status"]["observedGeneration"] = 2
    assert projections.workload("Deployment", "sfu", body).current


def test_a_stuck_rollout_says_why() -> None:
    conditions = [{"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "slow"}]
    body = an_object("visio-sfu", "sfu", status={"conditions": conditions})
    assert projections.workload("Deployment", "sfu", body).failed == "slow"


def test_a_job_is_done_when_it_is_complete_or_its_pod_has_succeeded() -> None:
    body = an_object("visio-migrate", "migrate", status={})
    assert not projections.workload("Job", "migrate", body).succeeded
    complete = body | {"status": {"conditions": [{"type": "Complete", "status": "True"}]}}
    assert projections.workload("Job", "migrate", complete).succeeded
    pod = {"metadata": {"ownerReferences": [{"uid": "visio-migrate"}]}, "status": {"phase": "Succeeded"}}
    assert projections.workloads({("Job", "visio-migrate"): body}, [pod])["migrate"].succeeded


def test_a_failed_job_says_why() -> None:
    failed = {"type": "Failed", "status": "True", "reason": "BackoffLimitExceeded", "message": "too often"}
    body = an_object("visio-migrate", "migrate", status={"conditions": [failed]})
    assert projections.workload("Job", "migrate", body).failed == "BackoffLimitExceeded: too often"


def test_of_several_jobs_the_newest_counts_and_a_server_before_any_job() -> None:
    live = {
        ("Job", "old"): an_object("old", "migrate", "2026-01-01T00:00:00Z"),
        ("Job", "new"): an_object("new", "migrate", "2026-01-02T00:00:00Z"),
        ("Job", "setup"): an_object("setup", "garage", "2026-01-02T00:00:00Z"),
        ("StatefulSet", "garage"): an_object("garage", "garage", "2026-01-01T00:00:00Z"),
    }
    found = projections.workloads(live)
    assert found["migrate"].name == "new"
    assert found["garage"].kind == "StatefulSet"


def test_what_is_being_deleted_does_not_count() -> None:
    body = an_object("visio-sfu", "sfu")
    body["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert projections.workloads({("Deployment", "visio-sfu"): body}) == {}


def test_a_gpu_counts_from_when_it_can_be_allocated() -> None:
    node: dict[str, Any] = {
        "metadata": {"name": "n", "labels": {"visio-operator.dev/pool": "l40"}},
        "status": {"conditions": [{"type": "Ready", "status": "True"}], "allocatable": {"cpu": "8"}},
    }
    assert (projections.gpu_node(node).ready, projections.gpu_node(node).gpus) == (True, 0)
    node["status"]["allocatable"]["nvidia.com/gpu"] = "1"
    assert projections.gpu_node(node).gpus == 1
