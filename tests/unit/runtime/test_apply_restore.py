"""A restore is written down before anything stops; a database that recovers is made and never changed; and what stood
still comes back with the template that is wanted then."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from builders import UID, a_deployment
from visio_operator.plan.observed import Observed, Workload
from visio_operator.plan.plan import Plan, UpgradePlan
from visio_operator.plan.steps import BACKUP_JOB
from visio_operator.runtime.apply import Outcome, apply
from visio_operator.runtime.kube import KubeError
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.observe import Snapshot

NOTE = "0123456789ab CronJob load"


class Api:
    """An API server that notes what is written, in order; `refused` are verbs that it refuses."""

    def __init__(self, *refused: str) -> None:
        self.writes: list[tuple[str, str, Any]] = []
        self.refused = refused

    def _note(self, verb: str, kind: str, body: Any) -> dict[str, Any]:
        if verb in self.refused:
            raise KubeError(403, "Forbidden", f"may not {verb}")
        self.writes.append((verb, kind, body))
        return {**body, "metadata": {**body.get("metadata", {}), "resourceVersion": str(len(self.writes))}}

    async def create(self, manifest: dict[str, Any]) -> dict[str, Any]:
        return self._note("create", manifest["kind"], manifest)

    async def apply(self, manifest: dict[str, Any], **_: Any) -> dict[str, Any]:
        return self._note("apply", manifest["kind"], manifest)

    async def merge(self, kind: str, name: str, namespace: str, patch: dict[str, Any]) -> dict[str, Any]:
        return self._note("merge", kind, patch)


async def applied(api: Api, plan: Plan, manifests: list[dict[str, Any]], live: list[dict[str, Any]]) -> Outcome:
    saved = Workload("Job", "visio-upgrade-backup-1-25-0", BACKUP_JOB, release="1.25.0", succeeded=True)
    for one in live:
        one["metadata"]["uid"] = "22222222-2222-2222-2222-222222222222"
    seen = {(one["kind"], one["metadata"]["name"]): one for one in live}
    observed = Observed(uid=UID, namespace="visio", name="visio", workloads={BACKUP_JOB: saved})
    kube: Any = api
    return await apply(kube, a_deployment().site(), plan, manifests, Snapshot(observed, seen, {}, {}, {}), Memory())


def a_plan(**upgrade: Any) -> Plan:
    restoring = UpgradePlan("1.24.0", "1.25.0", ("1.25.0",), "1.25.0", "restore", **upgrade)
    return replace(a_deployment().plan(), secrets=(), upgrade=restoring)


def backend(replicas: int | None) -> dict[str, Any]:
    body = next(
        copy.deepcopy(one)
        for one in a_deployment().manifests()
        if (one["kind"], one["metadata"]["name"]) == ("Deployment", "visio-backend")
    )
    return body if replicas is None else {**body, "spec": {**body["spec"], "replicas": replicas}}


async def test_the_approval_is_written_on_the_backup_before_anything_stops() -> None:
    api = Api()
    await applied(api, a_plan(restores=NOTE, stops=("backend",)), [backend(0)], [backend(3)])
    note = {"metadata": {"annotations": {"visio-operator.dev/restored-by": NOTE}}}
    assert [(verb, kind) for verb, kind, _ in api.writes] == [("merge", "Job"), ("apply", "Deployment")]
    assert api.writes[0][2] == note
    assert api.writes[1][2]["spec"]["replicas"] == 0


async def test_nothing_stops_when_the_approval_cannot_be_written_down() -> None:
    api = Api("merge")
    outcome = await applied(api, a_plan(restores=NOTE, stops=("backend",)), [backend(0)], [backend(3)])
    assert outcome.errors
    assert api.writes == []


async def test_a_cluster_is_created_since_the_operator_may_change_none() -> None:
    api, site = Api("apply"), a_deployment().site()
    meta = {"name": "db-restored-1-25-0", "namespace": site.namespace, "labels": {}}
    cluster = {"apiVersion": "postgresql.cnpg.io/v1", "kind": "Cluster", "metadata": meta, "spec": {"instances": 3}}
    outcome = await applied(api, a_plan(), [cluster], [])
    assert not outcome.errors
    assert [(verb, kind) for verb, kind, _ in api.writes] == [("create", "Cluster")]


async def test_what_an_autoscaler_has_comes_back_in_one_write_with_the_template_that_is_wanted_now() -> None:
    api = Api()
    await applied(api, a_plan(), [backend(None)], [backend(0)])
    [(verb, _, body)] = api.writes
    assert verb == "apply"
    assert body["spec"]["replicas"] == 2
    assert body["spec"]["template"]
