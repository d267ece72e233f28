"""KEDA in the lab: its operator and its metrics adapter, built from its module, in pods from its own manifests.

Only the images are exchanged, for processes of the lab, and the admission webhooks are left out. The autoscalers of the
controller-manager then get external metrics through the API server, as in a real cluster. A lab has it only when
somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from visio_lab.handle import Lab
from visio_lab.operator_process import make_namespace, wait_for
from visio_lab.progress import Progress
from visio_lab.tools import ensure_tool

NAMESPACE = "keda"
PARTS = ("crds", "rbac", "operator", "adapter")
"""The folders of its manifests (tools/keda/crds.json), in the order in which they are applied."""
API_SERVICE = "v1beta1.external.metrics.k8s.io"
PROGRAMS = {"/keda": "keda-operator", "/keda-adapter": "keda-adapter"}
"""The programs of KEDA's images, and what they are called here."""
START_S = 180.0
"""Its manifests wait 20 seconds before they ask a new operator whether it is ready, and its first certificate makes it
start once more."""

Json = dict[str, Any]


def install_keda(lab: Lab, progress: Progress) -> None:
    """Build KEDA where missing, start it, and return when it serves external metrics; LabError if it does not."""
    folder = ensure_tool("keda", progress)
    make_namespace(lab, NAMESPACE)
    for part in PARTS:
        objects = [changed(each, folder) for each in _manifests(folder / part)]
        lab.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(objects))
    wait_for("external metrics of KEDA", lambda: is_available(lab), START_S)


def remove_keda(lab: Lab) -> None:
    """Take KEDA away. An API service without a server would hold up every deletion of a namespace."""
    lab.kubectl("delete", "scaledobjects.keda.sh", "--all", "--all-namespaces", "--timeout=30s", check=False)
    lab.kubectl("delete", "apiservice", API_SERVICE, "--ignore-not-found")
    lab.kubectl("delete", "namespace", NAMESPACE, "--wait=false", "--ignore-not-found")


def changed(manifest: Json, folder: Path) -> Json:
    """A manifest of KEDA's with the programs in `folder` in place of its images."""
    if manifest["kind"] == "Deployment":
        for container in manifest["spec"]["template"]["spec"]["containers"]:
            container["image"] = "lab/lab-process:keda"
            container["command"] = [str(folder / PROGRAMS[container["command"][0]])]
    return manifest


def _manifests(folder: Path) -> Iterator[Json]:
    for file in sorted(folder.glob("*.yaml")):
        yield from (each for each in yaml.safe_load_all(file.read_text()) if each)


def is_available(lab: Lab) -> bool:
    """Whether the API server reaches a server of external metrics."""
    path = "jsonpath={.status.conditions[?(@.type=='Available')].status}"
    return lab.kubectl("get", "apiservice", API_SERVICE, "-o", path, check=False) == "True"
