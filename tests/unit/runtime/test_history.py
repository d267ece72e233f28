"""What the planners have learned, as it is kept in the cluster."""

from __future__ import annotations

import json

import pytest

from builders import a_deployment
from visio_operator.plan.planners import Planners
from visio_operator.runtime.history import KEY, manifest, read_planners


class OneConfigMap:
    """As much of a cluster as is asked for."""

    def __init__(self, text: str | None) -> None:
        self.text = text

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
    again = await read_planners(OneConfigMap(written["data"][KEY]), a_deployment().site())  # type: ignore[arg-type]
    assert again.state() == planners.state()


@pytest.mark.parametrize(
    "text", [None, "", "{", "[]", "null", "{}", '{"captions": {}}', "x" * 1_000_000, "[" * 100_000]
)
async def test_what_nobody_can_read_is_as_good_as_nothing(text: str | None) -> None:
    found = await read_planners(OneConfigMap(text), a_deployment().site())  # type: ignore[arg-type]
    assert json.dumps(found.state()) == json.dumps(Planners().state())
