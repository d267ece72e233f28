"""What every program inside one lab needs to know about that lab."""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

NODE_IP = "192.168.250.1"
"""Address of the lab's only real machine, on loopback of its network namespace; also that of every node sold later."""
NODE_ADDRESSES = {"worker-a": "192.168.250.11", "worker-b": "192.168.250.12", "worker-c": "192.168.250.13"}
"""Addresses of the ordinary nodes on that same machine, so that node ports of one lead to its own pods."""
NODE_CIDR = "192.168.250.0/24"
KUBELET_PORT = 10250
POD_CIDR = "10.244.0.0/16"
SERVICE_CIDR = "10.96.0.0/16"
KUBERNETES_SERVICE_IP = "10.96.0.1"
"""First address of SERVICE_CIDR: the API server gives it to the Service `kubernetes`."""
DNS_SERVICE_IP = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"
API_PORT = 6443

CONTROL_IMAGES = frozenset({"redis", "visio-operator", "moshi-server", "whisper-api", "lab-process"})
"""Last path components of the image repositories that are always real processes; `lab-process` is the lab's own."""
REAL_IMAGES = CONTROL_IMAGES | {
    "postgres",
    "garage",
    "livekit-server",
    "egress",
    "coturn",
    "meet-backend",
    "meet-frontend",
    "meet-summary",
    "meet-agents",
    "traefik",
}
"""The same for a lab whose pods are all real."""


def node_address(name: str) -> str:
    """The address of a node."""
    return NODE_ADDRESSES.get(name, NODE_IP)


@dataclass(frozen=True)
class LeadTime:
    """How long the lab's cloud takes to sell a node, in seconds, both counted from the order."""

    node_ready_s: float = 3.0
    gpu_ready_s: float = 5.0


@dataclass(frozen=True)
class LabContext:
    """One running lab as seen by the programs inside its namespaces.

    `real_images` names the images that are real processes (programs.py). `visio_homes` are folders with Visio's own
    programs, which run in place of the stand-ins, by release from the oldest on (visio_source.py). `hpa_sync_s` is the
    controller-manager's pace with autoscalers where it is not Kubernetes' own. `bin` holds every binary (kubectl,
    kube-proxy, kwok, coredns, nft, redis-server, ...). `visio_operator_command` starts the command line of this
    package, so `[*ctx.visio_operator_command, "captions-proxy"]` is the real proxy.
    """

    directory: Path
    bin: Path
    inner_kubeconfig: Path
    logs: Path
    node_ip: str = NODE_IP
    lead_time: LeadTime = field(default_factory=LeadTime)
    python: str = sys.executable
    visio_operator_command: tuple[str, ...] = (sys.executable, "-m", "visio_operator")
    real_images: frozenset[str] = CONTROL_IMAGES
    visio_homes: Mapping[str, Path] = field(default_factory=dict)
    hpa_sync_s: float | None = None

    @property
    def real_pods(self) -> bool:
        """Whether every pod of the platform is a real process, and not only what the control plane needs."""
        return self.real_images == REAL_IMAGES

    @property
    def settings_file(self) -> Path:
        """The lab's own settings, written by `up` before anything starts."""
        return self.directory / "lab.json"


def load_context(directory: Path) -> LabContext:
    """The context of the lab in `directory`; settings that `lab.json` does not name keep their defaults."""
    settings_file = directory / "lab.json"
    settings = json.loads(settings_file.read_text()) if settings_file.exists() else {}
    lead_time = settings.get("lead_time", {})
    return LabContext(
        directory=directory,
        bin=directory / "bin",
        inner_kubeconfig=directory / "kubeconfig.inner",
        logs=directory / "logs",
        lead_time=LeadTime(
            node_ready_s=float(lead_time.get("node_ready_s", LeadTime.node_ready_s)),
            gpu_ready_s=float(lead_time.get("gpu_ready_s", LeadTime.gpu_ready_s)),
        ),
        real_images=REAL_IMAGES if settings.get("pods") == "real" else CONTROL_IMAGES,
        visio_homes={version: Path(home) for version, home in settings.get("visio_homes", {}).items()},
        hpa_sync_s=settings.get("hpa_sync_s"),
    )
