"""Which node ports media get: the same ones for good, and never another Service's."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plan_world import LADDER, NOW, a_healthy_world, a_spec, an_empty_world, condition

from visio_operator.api.media import MEDIA_PORTS, NODE_PORTS
from visio_operator.plan.decide import decide
from visio_operator.plan.node_ports import BLOCKS, FIRST_PORT, NodePorts, choose, derived


def chosen(refused: set[int] | None = None, memory: dict[str, float] | None = None, **sfu: Any) -> NodePorts:
    spec = a_spec(sfu=sfu)
    world = an_empty_world(spec, refused_node_ports=frozenset(refused or ()), memory=memory or {})
    return choose(spec.sfu, world)


def own(attempt: int = 0) -> int:
    world = an_empty_world(a_spec())
    return derived(world.namespace, world.name, attempt)


def test_the_name_gives_the_ports_and_they_are_remembered():
    assert chosen() == NodePorts(own(), {FIRST_PORT: own()})


@pytest.mark.parametrize("offset", range(MEDIA_PORTS))
def test_a_port_of_another_service_moves_the_block(offset):
    ports = chosen({own() + offset})
    assert ports.first == own(1)
    assert ports.memory == {FIRST_PORT: own(1)}
    assert ports.trace == (f"sfu: node ports from {own(1)}, since {own() + offset} is another Service's",)


def test_each_refusal_leads_on():
    assert chosen({own(), own(1) + 3}, {FIRST_PORT: own(1)}).first == own(2)


def test_ports_stay_when_those_of_the_name_get_free():
    assert chosen(memory={FIRST_PORT: own(5)}) == NodePorts(own(5), {FIRST_PORT: own(5)})


def test_the_users_port_is_taken_as_it_is_and_what_is_wrong_with_it_is_said():
    assert chosen(nodePort=30_500) == NodePorts(30_500)
    spec = a_spec(sfu={"network": "nodePorts", "nodePort": 30_500})
    plan = decide(spec, a_healthy_world(spec, refused_node_ports=frozenset({30_503})), NOW, LADDER)
    assert plan.node_port == 30_500
    status, reason, message = condition(plan, "CapacityLimited")
    assert (status, reason) == ("True", "PortTaken")
    assert message.startswith("spec.sfu.nodePort 30500: the cluster has no node port 30503 to give")


@pytest.mark.parametrize(
    "sfu", [{"expose": "hostNetwork"}, {"expose": "loadBalancer"}, {"network": "turnTLS", "expose": "loadBalancer"}]
)
def test_other_ways_have_no_node_port_and_forget_it(sfu):
    assert chosen(memory={FIRST_PORT: 30_008}, **sfu) == NodePorts()


def test_when_all_are_refused_the_name_decides_again():
    assert chosen(set(NODE_PORTS)).first == own()


@given(st.text(min_size=1), st.text(min_size=1))
def test_every_block_is_tried_once_and_lies_in_the_range(namespace, name):
    blocks = [derived(namespace, name, attempt) for attempt in range(BLOCKS)]
    assert len(set(blocks)) == BLOCKS
    assert all(first in NODE_PORTS and first + MEDIA_PORTS - 1 in NODE_PORTS for first in blocks)
