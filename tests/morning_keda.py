"""The baseline of the laboratory: a real HorizontalPodAutoscaler, fed by the real KEDA, in place of our operator.

The platform is the one that the operator made; then the operator is stopped and the captions Deployment is KEDA's.
With our captions proxies it reads them: streams and those that wait, against 60 % of the slots. Without, agents connect
to an ordinary Service, as they would if nobody had written a proxy, and KEDA reads the slots that the servers use.
Nodes come from the lab's cluster-autoscaler, with the lead of the other pools.
"""

from __future__ import annotations

import json
from typing import Any

import live
from morning_live import SPEED, SUBTITLES
from visio_lab.cloud_autoscaler import GROUP
from visio_operator.plan.secrets import CAPTIONS_PATH
from visio_operator.runtime.signals import CAPTIONS_PORT, PROXY_METRICS_PORT, WAITING_METRIC

TARGET = 0.6
WINDOW_S = round(300 / SPEED)
GRACE_S = 3
"""Seconds that a server has for its streams to leave. The 30 s of the operator's manifest would hold its GPU for half
an hour of the planners' clock; speech is not compressed, and a move takes a second or two of it."""
_AT_ONCE = {"type": "Percent", "value": 100, "periodSeconds": 1}
BEHAVIOR: dict[str, Any] = {
    "scaleDown": {"stabilizationWindowSeconds": WINDOW_S, "policies": [_AT_ONCE]},
    "scaleUp": {
        "stabilizationWindowSeconds": 0,
        "policies": [_AT_ONCE, {"type": "Pods", "value": 4, "periodSeconds": 1}],
    },
}
"""Kubernetes' own policies, as much faster as everything else; a period cannot be shorter than a second."""
CAPTIONS, AGENTS = "visio-captions", "visio-subtitles"
PROXIES = "captions-proxies"
SERVERS = "captions-servers"


def platform(namespace: str, slots: int, nodes: int) -> list[dict[str, Any]]:
    """Captions alone, on nodes of one group of the lab's cluster-autoscaler."""
    name = group(namespace)

    def change(spec: dict[str, Any]) -> None:
        spec["captions"] |= {"slotsPerGpu": slots, "max": nodes, "pool": name}
        spec["transcription"] = {"enabled": False}
        spec["recording"] = {"enabled": False}
        spec["gpuPools"] = [{"name": name, "provider": "clusterAutoscaler", "max": nodes}]

    labels = json.dumps({"visio-operator.dev/pool": name})
    sold = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": "kube-system", "labels": {GROUP: ""}},
        "data": {"nodeType": "inference7-l40.medium", "labels": labels, "maxSize": str(nodes)},
    }
    objects = live.deployment("evaluation-captions.yaml", namespace, change=change)
    return [sold, *(each for each in objects if each["kind"] != "NodePool")]


def group(namespace: str) -> str:
    """The name of the node group."""
    return f"{namespace}-group"


def hand_over(lab: Any, namespace: str, slots: int, servers: int, *, proxies: bool, keda: bool) -> None:
    """Give the captions Deployment to an autoscaler fed by KEDA, or by the lab's stand-in for it.

    The operator has been stopped. Returns when one server is Ready.
    """
    scope = ("--namespace", namespace)
    lab.kubectl("scale", "deployment", f"visio-placeholder-{group(namespace)}", *scope, "--replicas=0")
    grace = {"spec": {"replicas": 1, "template": {"spec": {"terminationGracePeriodSeconds": GRACE_S}}}}
    lab.kubectl("patch", "deployment", CAPTIONS, *scope, "--type=merge", "-p", json.dumps(grace))
    scaler = (_scaled_object if keda else _autoscaler)(namespace, slots, servers, proxies=proxies)
    live.apply(lab, [*_services(namespace), scaler])
    if not proxies:
        url = f"KYUTAI_STT_BASE_URL=ws://{SERVERS}.{namespace}.svc.cluster.local:{CAPTIONS_PORT}{CAPTIONS_PATH}"
        lab.kubectl("set", "env", f"deployment/{AGENTS}", *scope, "--containers=subtitles", url)
        lab.kubectl("rollout", "status", f"deployment/{AGENTS}", *scope, "--timeout=120s")
        live.eventually("the agents before have left", lambda: _left(lab, namespace), 60)
    if keda:
        lab.kubectl("wait", "--for=condition=Ready", "scaledobject/captions", *scope, "--timeout=60s")
    lab.kubectl("rollout", "status", f"deployment/{CAPTIONS}", *scope, "--timeout=120s")
    live.eventually("the autoscaler reads its metric", lambda: _reads(lab, namespace), 60)


def take_back(lab: Any, namespace: str) -> None:
    """End the autoscaler's hold for the operator that comes back, and return the nodes."""
    for kind in ("scaledobjects.keda.sh", "horizontalpodautoscalers"):
        lab.kubectl("delete", kind, "--all", "--namespace", namespace, "--timeout=30s", check=False)
    lab.kubectl("delete", "configmap", group(namespace), "--namespace", "kube-system", "--wait=false", check=False)


def sizes(lab: Any, namespace: str) -> str:
    """The sizes that the HorizontalPodAutoscaler asked for, one after the other, as its events tell."""
    events = live.items(lab, "events", namespace, fields="reason=SuccessfulRescale")
    told = sorted((each["metadata"]["creationTimestamp"], each["message"]) for each in events)
    return " ".join(message.partition("New size: ")[2].partition(";")[0] for _, message in told)


def _services(namespace: str) -> list[dict[str, Any]]:
    """By which KEDA finds the proxies or the servers, and the agents the servers."""

    def service(name: str, component: str, port: int, **more: str) -> dict[str, Any]:
        ports = [{"name": "http", "port": port}]
        spec = {"selector": {"app.kubernetes.io/component": component}, "ports": ports, **more}
        meta = {"name": name, "namespace": namespace}
        return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}

    return [
        service(PROXIES, "subtitles", PROXY_METRICS_PORT, clusterIP="None"),
        service(SERVERS, "captions", CAPTIONS_PORT),
    ]


def _scaled_object(namespace: str, slots: int, servers: int, *, proxies: bool) -> dict[str, Any]:
    def trigger(name: str, url: str, form: str, value: str) -> dict[str, Any]:
        metadata = {
            "url": url,
            "format": form,
            "valueLocation": value,
            "aggregateFromKubeServiceEndpoints": "true",
            "aggregationType": "sum",
            "targetValue": "1",
        }
        return {"type": "metrics-api", "name": name, "metadata": metadata}

    # KEDA takes the namespace from between the first two dots, so the port may not follow it.
    told = f"http://{PROXIES}.{namespace}.svc:{PROXY_METRICS_PORT}/metrics"
    if proxies:
        triggers = [
            trigger("streams", told, "prometheus", "visio_captions_streams"),
            trigger("waiting", told, "prometheus", WAITING_METRIC),
        ]
    else:
        url = f"http://{SERVERS}.{namespace}.svc:{CAPTIONS_PORT}/api/modules_info"
        triggers = [trigger("streams", url, "json", "0.used_slots")]
    return {
        "apiVersion": "keda.sh/v1alpha1",
        "kind": "ScaledObject",
        "metadata": {"name": "captions", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": CAPTIONS},
            "pollingInterval": 1,
            "minReplicaCount": 1,
            "maxReplicaCount": servers,
            "triggers": triggers,
            "advanced": {
                # Two metrics would each be answered alone, and the higher answer taken; those who wait need slots too.
                "scalingModifiers": {
                    "formula": " + ".join(each["name"] for each in triggers),
                    "target": f"{TARGET * slots:g}",
                    "metricType": "AverageValue",
                },
                "horizontalPodAutoscalerConfig": {"behavior": BEHAVIOR},
            },
        },
    }


def _autoscaler(namespace: str, slots: int, servers: int, *, proxies: bool) -> dict[str, Any]:
    """The HorizontalPodAutoscaler that KEDA would have made, for the lab's stand-in."""
    target = {"type": "AverageValue", "averageValue": f"{1000 * TARGET * slots:.0f}m"}
    metric = {"metric": {"name": "proxies" if proxies else "servers"}, "target": target}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "captions", "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": CAPTIONS},
            "minReplicas": 1,
            "maxReplicas": servers,
            "metrics": [{"type": "External", "external": metric}],
            "behavior": BEHAVIOR,
        },
    }


def _left(lab: Any, namespace: str) -> bool:
    pods = live.items(lab, "pods", namespace, SUBTITLES)
    return all("deletionTimestamp" not in pod["metadata"] for pod in pods)


def _reads(lab: Any, namespace: str) -> bool:
    for each in live.items(lab, "horizontalpodautoscalers", namespace):
        if each["spec"]["scaleTargetRef"]["name"] == CAPTIONS:
            told = {one["type"]: one["status"] for one in each.get("status", {}).get("conditions", [])}
            return told.get("ScalingActive") == "True"
    return False
