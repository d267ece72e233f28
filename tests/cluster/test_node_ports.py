"""Node ports that another Service has: a deployment finds others, keeps them, and says what the user has to change."""

from __future__ import annotations

import live
from visio_operator.plan.node_ports import derived


def test_ports_of_another_service_are_left_to_it(lab, operator, namespace, restart_operator):
    first = derived(namespace, "visio")
    live.apply(lab, [_other(namespace, first), *live.deployment("minimal.yaml", namespace)])
    live.wait_ready(lab, namespace)
    assert _media_ports(lab, namespace) == {derived(namespace, "visio", 1)}
    lab.kubectl("delete", "service", "other", "--namespace", namespace)
    operator.kill()
    restart_operator()
    live.apply(lab, live.deployment("minimal.yaml", namespace, change=lambda spec: spec.update(sfu={"min": 3})))
    live.eventually("three servers", lambda: live.get(lab, "deploy", "visio-sfu", namespace)["spec"]["replicas"] == 3)
    assert _media_ports(lab, namespace) == {derived(namespace, "visio", 1)}


def test_a_port_that_was_asked_for_and_is_taken_is_named(lab, operator, namespace):
    live.apply(lab, [_other(namespace, 30_640)])
    asked = live.deployment("minimal.yaml", namespace, change=lambda spec: spec.update(sfu={"nodePort": 30_640}))
    live.apply(lab, asked)
    live.eventually(
        "the condition", lambda: live.condition(lab, namespace, "CapacityLimited").get("reason") == "PortTaken"
    )
    live.apply(lab, live.deployment("minimal.yaml", namespace))
    live.wait_ready(lab, namespace)


def _other(namespace: str, number: int) -> dict:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "other", "namespace": namespace},
        "spec": {"type": "NodePort", "selector": {"app": "other"}, "ports": [{"port": 80, "nodePort": number}]},
    }


def _media_ports(lab, namespace: str) -> set[int]:
    return {port["nodePort"] for port in live.get(lab, "service", "visio-sfu-media", namespace)["spec"]["ports"]}
