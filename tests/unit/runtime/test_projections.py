"""Live objects become the records that decisions look at."""

from typing import Any

from visio_operator.plan.observed import PodTimes
from visio_operator.runtime import projections
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.node_times import gpu_nodes


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


def test_a_backup_holds_the_state_of_when_a_dump_began_or_a_base_backup_ended() -> None:
    note = {"visio-operator.dev/restored-by": "abc CronJob load"}
    meta = {"name": "b", "uid": "u", "annotations": note}
    dump = projections.workload(
        "Job", "upgrade-backup", {"metadata": meta, "status": {"startTime": "2026-11-26T09:00:00Z"}}
    )
    assert dump.saved_at == projections.seconds("2026-11-26T09:00:00Z")
    assert dump.restore == "abc CronJob load"
    status = {"phase": "completed", "startedAt": "2026-11-26T09:00:00Z", "stoppedAt": "2026-11-26T09:05:00Z"}
    base = projections.workload("Backup", "upgrade-backup", {"metadata": meta, "status": status})
    assert base.saved_at == projections.seconds("2026-11-26T09:05:00Z")
    assert base.succeeded


def test_a_suspended_cron_job_wants_no_run() -> None:
    body = {"metadata": {"name": "c"}, "spec": {"suspend": True}}
    assert projections.workload("CronJob", "clean-pending-files", body).desired == 0


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


def _started_pod(*containers: dict[str, Any], sidecars: tuple[dict[str, Any], ...] = ()) -> dict[str, Any]:
    conditions = [
        {"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:10Z"},
        {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:01:40Z"},
    ]
    status = {"conditions": conditions, "containerStatuses": list(containers), "initContainerStatuses": list(sidecars)}
    return an_object("p", "captions", spec={"nodeName": "n"}, status=status)


def _running(at: str, restarts: int = 0) -> dict[str, Any]:
    return {"restartCount": restarts, "state": {"running": {"startedAt": at}}}


def test_the_steps_of_a_pods_start_are_in_its_status() -> None:
    start = projections.seconds("2026-01-01T00:00:00Z")
    pod = _started_pod(_running("2026-01-01T00:00:40Z"), sidecars=(_running("2026-01-01T00:00:30Z"),))
    times = projections.pod_times(pod)
    assert (times.scheduled - start, times.started - start, times.ready - start) == (10, 30, 100)
    assert (
        projections.captions_server(pod, None, 0.0).times == projections.transcription_worker(pod, None).times == times
    )


def test_a_container_that_was_started_again_tells_no_start() -> None:
    assert projections.pod_times(_started_pod(_running("2026-01-01T00:00:40Z", restarts=1))).started == 0
    assert projections.pod_times(_started_pod({"restartCount": 0, "state": {"waiting": {}}})).started == 0
    assert projections.pod_times(an_object("p", "captions")) == PodTimes()


def test_a_gpu_is_seen_first_by_the_process_that_saw_the_node_without_it() -> None:
    def node(name: str, gpus: str) -> dict[str, Any]:
        conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]
        return an_object(name, "", status={"conditions": conditions, "allocatable": {"nvidia.com/gpu": gpus}})

    memory = Memory()

    def look(now: float, **gpus: str) -> dict[str, float]:
        return {one.name: one.gpu_at for one in gpu_nodes([node(*item) for item in gpus.items()], memory, now)}

    assert look(100.0, old="1", new="0") == {"old": 0.0, "new": 0.0}
    assert look(110.0, old="1", new="1", fast="1") == {"old": 0.0, "new": 110.0, "fast": 110.0}
    assert look(120.0, old="1", new="0", fast="1") == {"old": 0.0, "new": 110.0, "fast": 110.0}
    assert look(130.0) == {}
    assert memory.gpus_seen == {}
    [record] = gpu_nodes([node("x", "1")], Memory(), 5.0)
    assert record.ready_at == projections.seconds("2026-01-01T00:00:00Z")
