"""A whole platform in the real laboratory for the smoke test, with everything enabled that can be checked."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import live
import outside_services as outside
import trusted
from visio_lab.front_door import certificate_secret
from visio_lab.operator_process import make_namespace

OUTSIDE = "outside"
RELAY = f"services.{OUTSIDE}.svc.cluster.local"
DOCS_HOST, LLM_HOST = "docs.example.gouv.fr", "llm.example.gouv.fr"
_LABELS = {"app": "services"}


def make_outside_services(lab: Any) -> None:
    """Docs, the language model and the relay, in a namespace of their own."""
    make_namespace(lab, OUTSIDE, level="privileged")
    certificate_secret(lab, OUTSIDE, "tls", [RELAY, DOCS_HOST, LLM_HOST])
    container = {
        "name": "services",
        "image": "lab/lab-process:services",
        "command": [sys.executable, str(Path(outside.__file__)), "/tls/tls.crt", "/tls/tls.key"],
        "ports": [{"containerPort": outside.HTTP_PORT}, {"containerPort": outside.SMTP_PORT}],
        "readinessProbe": {"tcpSocket": {"port": outside.SMTP_PORT}, "periodSeconds": 1},
        "volumeMounts": [{"name": "tls", "mountPath": "/tls"}],
    }
    pod = {"containers": [container], "volumes": [{"name": "tls", "secret": {"secretName": "tls"}}]}
    ports = [
        {"name": "http", "port": 80, "targetPort": outside.HTTP_PORT},
        {"name": "smtp", "port": 587, "targetPort": outside.SMTP_PORT},
    ]
    backend = {"service": {"name": "services", "port": {"number": 80}}}
    rules = [
        {"host": host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": backend}]}}
        for host in (DOCS_HOST, LLM_HOST)
    ]
    tls = [{"hosts": [DOCS_HOST, LLM_HOST], "secretName": "tls"}]
    template = {"metadata": {"labels": _LABELS}, "spec": pod}
    deployment = {"replicas": 1, "selector": {"matchLabels": _LABELS}, "template": template}
    ingress = {"ingressClassName": "nginx", "tls": tls, "rules": rules}
    live.apply(
        lab,
        [
            _object("apps/v1", "Deployment", deployment),
            _object("v1", "Service", {"selector": _LABELS, "ports": ports}),
            _object("networking.k8s.io/v1", "Ingress", ingress),
        ],
    )
    lab.kubectl("rollout", "status", "deployment/services", "--namespace", OUTSIDE, "--timeout=60s")


def _object(version: str, kind: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": "services", "namespace": OUTSIDE}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, "spec": dict(spec)}


def make_platform(lab: Any, namespace: str, version: str | None = None) -> None:
    """The example with captions and transcription, and mail, Docs and a language model besides; waits until Ready."""
    make_namespace(lab, namespace)

    def complete(spec: dict[str, Any]) -> None:
        spec["version"] = version or spec["version"]
        # There all the time, since the wait for them is not what is tested.
        spec["captions"]["min"] = spec["transcription"]["min"] = 1
        spec["docs"] = {"url": f"https://{DOCS_HOST}", "secretRef": {"name": "docs"}}
        spec["llm"] = {"url": f"https://{LLM_HOST}/v1", "model": outside.MODEL, "secretRef": {"name": "llm"}}
        spec["mail"] = {
            "host": RELAY,
            "sender": "visio@example.gouv.fr",
            "user": outside.MAIL_USER,
            "secretRef": {"name": "mail"},
        }

    documents = trusted.deployment(lab, "evaluation-captions.yaml", namespace, complete)
    secrets = {"docs": ("apiKey", outside.DOCS_KEY), "llm": ("apiKey", outside.LLM_KEY)}
    secrets["mail"] = ("password", outside.MAIL_PASSWORD)
    documents += [secret(namespace, name, {key: value}) for name, (key, value) in secrets.items()]
    live.apply(lab, documents)
    live.wait_ready(lab, namespace, timeout=180)


def secret(namespace: str, name: str, values: Mapping[str, str]) -> dict[str, Any]:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": dict(values)}


def run_smoke(lab: Any, namespace: str, *arguments: str) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Exit code, results by check, and what was said on standard error."""
    command = [sys.executable, "-m", "visio_operator", "smoke", "visio", "--namespace", namespace, "-o", "json"]
    ended = subprocess.run(
        [*command, "--kubeconfig", str(lab.kubeconfig), *arguments], capture_output=True, text=True, check=False
    )
    results = json.loads(ended.stdout)["results"] if ended.stdout else []
    return ended.returncode, {result["check"]: result for result in results}, ended.stderr
