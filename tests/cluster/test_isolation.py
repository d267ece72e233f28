"""Several deployments side by side, and pods that a hardened namespace admits."""

from __future__ import annotations

import json

import live
from visio_lab.operator_process import make_namespace


def test_two_deployments_in_one_namespace_and_one_in_another_do_not_touch_each_other(lab, operator, namespace) -> None:
    other = f"{namespace}-other"
    make_namespace(lab, other)
    for where, name in ((namespace, "north"), (namespace, "south"), (other, "north")):
        live.apply(lab, live.deployment("minimal.yaml", where, name))
    for where, name in ((namespace, "north"), (namespace, "south"), (other, "north")):
        live.wait_ready(lab, where, name)
    south = live.owned(lab, namespace, "south")
    far = live.owned(lab, other, "north")
    assert _shape(south, "south") == _shape(far, "north")

    lab.kubectl("delete", "vd", "north", "--namespace", namespace, "--timeout=60s")
    live.eventually(
        "north is gone",
        lambda: {kind for kind, _ in live.owned(lab, namespace, "north")} <= {"Secret", "PersistentVolumeClaim"},
        45,
    )
    assert _identity(live.owned(lab, namespace, "south")) == _identity(south)
    assert _identity(live.owned(lab, other, "north")) == _identity(far)
    lab.kubectl("delete", "vd", "north", "--namespace", other, "--timeout=60s")
    lab.kubectl("delete", "namespace", other, "--wait=false")


def _shape(objects: dict, name: str) -> set[tuple[str, str]]:
    """Kinds and names without the deployment's own; the name of a Job ends in a digest of what it runs."""
    plain = {(kind, each.replace(name, "NAME")) for kind, each in objects}
    return {(kind, each.rsplit("-", 1)[0] if kind == "Job" else each) for kind, each in plain}


def _identity(objects: dict) -> dict:
    return {key: (item["metadata"]["uid"], item["metadata"].get("generation")) for key, item in objects.items()}


def test_every_pod_is_admitted_where_podsecurity_restricted_is_enforced(lab, operator, namespace) -> None:
    live.apply(lab, live.deployment("complete.yaml", namespace))
    live.eventually("the parts are written", lambda: len(live.owned(lab, namespace)) > 60, 60)
    live.wait_ready(lab, namespace)
    refused = [
        event["message"]
        for event in live.items(lab, "events", namespace)
        if event["reason"] in ("FailedCreate", "FailedAttach") and "PodSecurity" in event["message"]
    ]
    assert refused == []
    label = json.loads(lab.kubectl("get", "namespace", namespace, "-o", "json"))["metadata"]["labels"]
    assert label["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_media_server_on_the_host_network_is_an_opt_in_that_restricted_refuses(lab, operator, namespace) -> None:
    free = f"{namespace}-free"
    make_namespace(lab, free, level="privileged")

    def host_network(spec: dict) -> None:
        spec["sfu"] = {**spec.get("sfu", {}), "hostNetwork": True}

    live.apply(lab, live.deployment("minimal.yaml", free, change=host_network))
    live.wait_ready(lab, free)
    live.apply(lab, live.deployment("minimal.yaml", namespace, change=host_network))
    refused = live.eventually(
        "the refusal is named",
        lambda: (
            (entry := live.condition(lab, namespace, "Ready")).get("status") == "False"
            and "sfu" in entry["message"]
            and entry
        ),
        30,
    )
    assert "sfu" in refused["message"]
    lab.kubectl("delete", "vd", "visio", "--namespace", free, "--timeout=60s")
    lab.kubectl("delete", "namespace", free, "--wait=false")
