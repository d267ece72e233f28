"""A stand-in for KEDA in the lab, where nobody wants to build it: external metrics for the real autoscalers."""

from __future__ import annotations

import base64
import sys
from typing import Any

import yaml

from visio_lab import certificates
from visio_lab.handle import Lab
from visio_lab.keda import API_SERVICE, START_S, is_available
from visio_lab.operator_process import make_namespace, wait_for

NAMESPACE = "lab-metrics"
NAME = "external-metrics"
PORT = 6443

Json = dict[str, Any]


def install_standin(lab: Lab) -> None:
    """Start it, and return when it serves external metrics; LabError if it does not."""
    make_namespace(lab, NAMESPACE)
    lab.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(objects()))
    wait_for("external metrics of the lab", lambda: is_available(lab), START_S)


def remove_standin(lab: Lab) -> None:
    """Take it away. An API service without a server would hold up every deletion of a namespace."""
    lab.kubectl("delete", "apiservice", API_SERVICE, "--ignore-not-found")
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false", "--ignore-not-found")


def objects() -> list[Json]:
    """Its pod with a fresh certificate, and the right of the autoscalers to ask it."""
    authority = certificates.new_authority(NAME)
    pair = certificates.host_certificate(authority, [f"{NAME}.{NAMESPACE}.svc"])
    return [
        _object(
            "v1", "Secret", type="kubernetes.io/tls",
            data={"tls.crt": _base64(pair.certificate), "tls.key": _base64(pair.key)},
        ),
        _object("apps/v1", "Deployment", spec=_pods()),
        _object("v1", "Service", spec={"selector": {"app": NAME}, "ports": [{"port": 443, "targetPort": PORT}]}),
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": API_SERVICE},
            "spec": {
                "service": {"name": NAME, "namespace": NAMESPACE},
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "caBundle": _base64(authority.pem),
            },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": NAME},
            "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["*"], "verbs": ["get", "list"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": NAME},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": NAME},
            "subjects": [
                {"kind": "ServiceAccount", "name": "horizontal-pod-autoscaler", "namespace": "kube-system"}
            ],
        },
    ]  # fmt: skip


def _pods() -> Json:
    module = "visio_lab.standins.external_metrics"
    container = {
        "name": NAME,
        "image": f"lab/lab-process:{NAME}",
        "command": [sys.executable, "-m", module, "--port", str(PORT), "--certificates", "/certs"],
        "ports": [{"containerPort": PORT}],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "certificates", "mountPath": "/certs", "readOnly": True}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    security = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    volume = {"name": "certificates", "secret": {"secretName": NAME}}
    spec = {"containers": [container], "volumes": [volume], "securityContext": security}
    return {
        "selector": {"matchLabels": {"app": NAME}},
        "template": {"metadata": {"labels": {"app": NAME}}, "spec": spec},
    }


def _object(version: str, kind: str, **content: Any) -> Json:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": NAME, "namespace": NAMESPACE}, **content}


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
