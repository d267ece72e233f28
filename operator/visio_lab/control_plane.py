"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler: their files and their command lines.

RBAC is on and the admission plugins stay at their defaults (PodSecurity included), so what this control plane accepts a
real one accepts too. Sources of the flags: the components' own reference pages for Kubernetes 1.37 and etcd 3.7.
"""

from dataclasses import dataclass
from pathlib import Path

import yaml

from visio_lab import certificates
from visio_lab.context import API_PORT, CLUSTER_DOMAIN, NODE_ADDRESSES, NODE_IP, POD_CIDR, SERVICE_CIDR

ETCD_CLIENT_URL = "http://127.0.0.1:2379"
INNER_SERVER = f"https://{NODE_IP}:{API_PORT}"
ADMIN_GROUP = "system:masters"
HOST_ADMIN = "visio-lab-admin"
FRONT_PROXY = "front-proxy-client"
LAB_USER = "system:visio-lab"
"""The lab's own programs (cloud, pods, kubelet simulation): a `system:` name keeps them out of the audited users."""

SYSTEM_USERS = (
    "system:apiserver",
    "system:kube-controller-manager",
    "system:kube-scheduler",
    "system:kube-proxy",
    LAB_USER,
)
CLIENT_QPS = 200
CLIENT_BURST = 400
"""Client-side limits of the controllers: their defaults (20/30 and 50/100) are made for large clusters and make a small
one wait."""


@dataclass(frozen=True)
class Component:
    """One program of the lab: its log is `<logs>/<name>.log`, its end is the end of the lab."""

    name: str
    argv: list[str]


def write_files(directory: Path, port: int) -> None:
    """Write certificates, kubeconfigs and configuration files for a lab that the host reaches on 127.0.0.1:`port`."""
    pki, config = directory / "pki", directory / "config"
    for each in (pki, config, directory / "logs"):
        each.mkdir(mode=0o700, exist_ok=True)
    authority = certificates.new_authority("visio-lab")
    server = certificates.server_certificate(authority)
    certificates.write_private(pki / "ca.crt", authority.pem)
    certificates.write_private(pki / "apiserver.crt", server.certificate)
    certificates.write_private(pki / "apiserver.key", server.key)
    certificates.write_private(pki / "service-account.key", certificates.signing_key())
    lab = certificates.client_certificate(authority, LAB_USER, ADMIN_GROUP)
    certificates.write_private(pki / "lab.crt", lab.certificate)
    certificates.write_private(pki / "lab.key", lab.key)
    kubelet = certificates.kubelet_certificate(authority, [NODE_IP, *NODE_ADDRESSES.values()])
    client = certificates.client_certificate(authority, "kube-apiserver-kubelet-client")
    # Extension API servers, such as KEDA's adapter, believe what this authority's one client says of its callers.
    front = certificates.new_authority("visio-lab-front-proxy")
    certificates.write_private(pki / "front-proxy-ca.crt", front.pem)
    proxy = certificates.client_certificate(front, FRONT_PROXY)
    for name, pair in (("kubelet", kubelet), ("kubelet-client", client), ("front-proxy", proxy)):
        certificates.write_private(pki / f"{name}.crt", pair.certificate)
        certificates.write_private(pki / f"{name}.key", pair.key)
    certificates.write_private(
        directory / "kubeconfig.inner", certificates.kubeconfig(INNER_SERVER, authority.pem, lab)
    )
    for path, address, user, group in (
        (directory / "kubeconfig", f"https://127.0.0.1:{port}", HOST_ADMIN, ADMIN_GROUP),
        (pki / "controller-manager.kubeconfig", INNER_SERVER, "system:kube-controller-manager", None),
        (pki / "scheduler.kubeconfig", INNER_SERVER, "system:kube-scheduler", None),
    ):
        identity = certificates.client_certificate(authority, user, group)
        certificates.write_private(path, certificates.kubeconfig(address, authority.pem, identity))
    (config / "audit-policy.yaml").write_text(yaml.safe_dump(audit_policy()))
    (config / "scheduler.yaml").write_text(yaml.safe_dump(scheduler_configuration(pki / "scheduler.kubeconfig")))


def audit_policy() -> dict[str, object]:
    """Everything at level Metadata, except what the control plane only says to itself, and health checks."""
    return {
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {
                "level": "None",
                "users": list(SYSTEM_USERS),
                "resources": [
                    {"group": "coordination.k8s.io", "resources": ["leases"]},
                    {"group": "", "resources": ["events"]},
                    {"group": "events.k8s.io", "resources": ["events"]},
                ],
            },
            {"level": "None", "nonResourceURLs": ["/healthz*", "/livez*", "/readyz*"]},
            {"level": "Metadata"},
        ],
    }


def scheduler_configuration(kubeconfig: Path) -> dict[str, object]:
    """The scheduler's configuration: no election, and short back-offs, because a lab's node appears within seconds."""
    return {
        "apiVersion": "kubescheduler.config.k8s.io/v1",
        "kind": "KubeSchedulerConfiguration",
        "clientConnection": {"kubeconfig": str(kubeconfig), "qps": CLIENT_QPS, "burst": CLIENT_BURST},
        "leaderElection": {"leaderElect": False},
        "podInitialBackoffSeconds": 1,
        "podMaxBackoffSeconds": 2,
    }


def etcd(directory: Path) -> Component:
    """The store. Without fsync: a lab is never worth more than its own run."""
    return Component(
        "etcd",
        [
            str(directory / "bin" / "etcd"),
            f"--data-dir={directory / 'etcd'}",
            f"--listen-client-urls={ETCD_CLIENT_URL}",
            f"--advertise-client-urls={ETCD_CLIENT_URL}",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--unsafe-no-fsync",
            "--log-level=warn",
        ],
    )


def kube_apiserver(directory: Path) -> Component:
    """The API server, on every address of the lab's network namespace."""
    pki = directory / "pki"
    issuer = f"https://kubernetes.default.svc.{CLUSTER_DOMAIN}"
    return Component(
        "kube-apiserver",
        [
            str(directory / "bin" / "kube-apiserver"),
            f"--etcd-servers={ETCD_CLIENT_URL}",
            f"--advertise-address={NODE_IP}",
            f"--secure-port={API_PORT}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--authorization-mode=RBAC",
            "--allow-privileged=true",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'kubelet-client.key'}",
            # Node names are in no DNS of the lab.
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
            f"--requestheader-allowed-names={FRONT_PROXY}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki / 'front-proxy.crt'}",
            f"--proxy-client-key-file={pki / 'front-proxy.key'}",
            f"--service-account-issuer={issuer}",
            f"--service-account-key-file={pki / 'service-account.key'}",
            f"--service-account-signing-key-file={pki / 'service-account.key'}",
            f"--audit-policy-file={directory / 'config' / 'audit-policy.yaml'}",
            f"--audit-log-path={audit_log(directory)}",
            "--audit-log-maxsize=4096",
        ],
    )


def kube_controller_manager(directory: Path, hpa_sync_s: float | None = None) -> Component:
    """Every default controller, each under its own ServiceAccount as in a real cluster.

    `hpa_sync_s`: seconds between two looks at a HorizontalPodAutoscaler, for a lab whose time is compressed.
    """
    pki = directory / "pki"
    kubeconfig = pki / "controller-manager.kubeconfig"
    return Component(
        "kube-controller-manager",
        [
            str(directory / "bin" / "kube-controller-manager"),
            f"--kubeconfig={kubeconfig}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'service-account.key'}",
            f"--cluster-cidr={POD_CIDR}",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--allocate-node-cidrs=false",
            # A laptop that stalls for minutes must not make the lab evict its pods.
            "--node-monitor-grace-period=10m",
            "--pvclaimbinder-sync-period=1s",
            f"--kube-api-qps={CLIENT_QPS}",
            f"--kube-api-burst={CLIENT_BURST}",
            *([] if hpa_sync_s is None else [f"--horizontal-pod-autoscaler-sync-period={hpa_sync_s:g}s"]),
        ],
    )


def kube_scheduler(directory: Path) -> Component:
    """The scheduler with the configuration of `scheduler_configuration`."""
    kubeconfig = directory / "pki" / "scheduler.kubeconfig"
    return Component(
        "kube-scheduler",
        [
            str(directory / "bin" / "kube-scheduler"),
            f"--config={directory / 'config' / 'scheduler.yaml'}",
            f"--authentication-kubeconfig={kubeconfig}",
            f"--authorization-kubeconfig={kubeconfig}",
            "--bind-address=127.0.0.1",
        ],
    )


def audit_log(directory: Path) -> Path:
    """Where the API server writes one JSON line per request."""
    return directory / "logs" / "audit.jsonl"
