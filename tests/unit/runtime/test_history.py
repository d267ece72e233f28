"""What the planners have learned, as it is kept in the cluster."""

from __future__ import annotations

import json

import pytest

from builders import a_deployment
from visio_operator.plan.observed import Observed
from visio_operator.plan.pace import Pace
from visio_operator.plan.planners import Planners
from visio_operator.runtime import metrics
from visio_operator.runtime.history import KEY, keep_planners, manifest, read_planners
from visio_operator.runtime.memory import Memory
from visio_operator.workloads.common import Manifest

NOW = 1_800_000_000.0


class OneConfigMap:
    """As much of a cluster as is asked for."""

    def __init__(self, text: str | None) -> None:
        self.text = text
        self.writes = 0

    async def apply(self, body: Manifest) -> None:
        self.text = body["data"][KEY]
        self.writes += 1

    async def get(self, kind: str, name: str, namespace: str | None = None) -> dict | None:
        assert (kind, name, namespace) == ("ConfigMap", "visio-forecast", "visio")
        return None if self.text is None else {"data": {KEY: self.text}}


def a_busy_planner() -> Planners:
    planners = Planners()
    for minute in range(3000):
        planners.captions.demand.observe(1_800_000_000.0 + 60 * minute, float(minute % 97))
    planners.captions.leads.arrived(120.0)
    planners.orders["captions"].settle(2, 1_800_000_000.0)
    return planners


async def test_what_was_kept_is_read_again() -> None:
    planners = a_busy_planner()
    written = manifest(a_deployment().site(), planners)
    assert len(written["data"][KEY]) < 60_000
    assert "app.kubernetes.io/managed-by" not in written["metadata"]["labels"], "it would be pruned"
    assert written["metadata"]["ownerReferences"], "it goes with its deployment"
    again, kept = await read_planners(OneConfigMap(written["data"][KEY]), a_deployment().site())  # type: ignore[arg-type]
    assert kept
    assert again.state() == planners.state()


async def test_a_panic_is_kept_at_once_when_it_begins_and_when_it_ends() -> None:
    cluster, planners, memory = OneConfigMap(None), Planners(), Memory(kept_at=NOW)
    seen = Observed(uid="u", namespace="visio", name="visio")

    async def looked_at(since: float | None, seconds: float) -> int:
        planners.captions.panic.since = since
        await keep_planners(cluster, a_deployment().site(), planners, seen, memory, NOW + seconds, Pace())  # type: ignore[arg-type]
        return cluster.writes

    writes = [await looked_at(None, 15), await looked_at(NOW, 30), await looked_at(NOW, 45), await looked_at(None, 60)]
    assert writes == [0, 1, 1, 2]
    assert await looked_at(NOW, 75) == 3
    after, _ = await read_planners(cluster, a_deployment().site())  # type: ignore[arg-type]
    assert after.captions.panic.since == NOW


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "null", "{}", '{"captions": {}}', "x" * 1_000_000, "[" * 100_000]
)
async def test_what_nobody_can_read_is_as_good_as_nothing(text: str | None) -> None:
    found, kept = await read_planners(OneConfigMap(text), a_deployment().site())  # type: ignore[arg-type]
    assert not kept
    assert json.dumps(found.state()) == json.dumps(Planners().state())


def test_the_metrics_tell_which_deployments_are_in_panic() -> None:
    metrics.set_panic("visio/one", True)
    metrics.set_panic("visio/two", False)
    lines = metrics.text().decode().splitlines()
    assert 'visio_operator_captions_panic{deployment="visio/one"} 1.0' in lines
    assert 'visio_operator_captions_panic{deployment="visio/two"} 0.0' in lines
    metrics.set_panic("visio/one", None)
    metrics.set_panic("visio/two", None)
    assert "visio_operator_captions_panic{" not in metrics.text().decode()
