"""The same mornings with somebody who approves each plan a minute later, or with nobody who does."""

from __future__ import annotations

import random
from dataclasses import dataclass, replace

import pytest
from plan_simulation import World
from plan_world import LADDER, a_spec, with_captions
from test_plan_morning import morning

from visio_operator.plan.decide import decide
from visio_operator.plan.pace import Pace
from visio_operator.plan.plan import Plan


@dataclass
class Approver(World):
    """A world in mode Propose or ForecastOnly and the person in front of it."""

    patience: float = 60.0
    annotation: str = ""
    digest: str = ""
    since: float = 0.0
    taken: int = 0

    def decide(self, pace: Pace) -> Plan:
        """One pass, and a look at what waits."""
        plan = decide(self.spec, replace(self.observe(), approved=self.annotation), self.now, LADDER, pace)
        if not (plan.approved or self._stands()):
            assert not [mark for mark in plan.nodes if mark.cordon]
        assert len(plan.pools) <= (1 if plan.approved or self._stands() else 0)
        self.taken += bool(plan.approved)
        self.apply(plan)
        digest = plan.proposal.digest if plan.proposal else ""
        if digest != self.digest:
            self.digest, self.since = digest, self.now
        elif digest and self.now - self.since >= self.patience:
            self.annotation = digest
        return plan

    def _stands(self) -> bool:
        """Whether an approval is being carried out."""
        return any(key.startswith("approved.") for key in self.memory)


def an_approver(seed: int, mode: str, patience: float, **captions: int) -> Approver:
    spec = a_spec(**with_captions(**captions) | {"capacity": {"mode": mode, "blockedTarget": "0.5"}})
    return Approver(spec, random.Random(seed), lead=lambda chance: chance.uniform(60, 400), patience=patience)


@pytest.mark.parametrize("least", [0, 1])
def test_with_an_approver_nodes_come_and_go_and_nobody_is_cut(least: int) -> None:
    world = an_approver(least, "Propose", 60, min=least)
    morning(world, hours=1, peak=25)
    assert world.cut == 0
    assert world.most_nodes >= 3
    assert (len(world.nodes), world.desired_nodes) == (least, least)
    assert sum(pod.serving for pod in world.pods) == least, "what always runs is back after its pause"
    assert 3 <= world.taken <= 12


@pytest.mark.parametrize(("mode", "patience"), [("Propose", float("inf")), ("ForecastOnly", 60.0)])
def test_without_an_approval_nothing_is_ever_bought_or_returned(mode: str, patience: float) -> None:
    world = an_approver(1, mode, patience)
    world.desired_nodes = 2
    morning(world, hours=0.5, peak=12)
    assert (world.cut, world.bought, world.desired_nodes, world.taken) == (0, 2, 2, 0)
    assert not world.ends, "the two nodes that were there carried the streams"
