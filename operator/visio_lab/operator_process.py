"""The operator under its own identity: its chart rendered by Helm, and `visio-operator run` as a process of the lab."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from visio_lab.context import load_context
from visio_lab.errors import LabError
from visio_lab.handle import EnteredProcess, Lab

NAMESPACE = "visio-operator"
SERVICE_ACCOUNT = "visio-operator"
USER = f"system:serviceaccount:{NAMESPACE}:{SERVICE_ACCOUNT}"
CHART = Path(__file__).resolve().parents[2] / "charts" / "visio-operator"

PACE: Mapping[str, str] = {
    # On a busy machine it may not get to its lease for seconds.
    "VISIO_OPERATOR_LEASE_SECONDS": "30",
    # The lab sells nodes in seconds instead of minutes, so the operator's patience is shortened in proportion.
    "VISIO_OPERATOR_HOLD_SECONDS": "5",
    "VISIO_OPERATOR_RECHECK_SECONDS": "1",
    "VISIO_OPERATOR_SETTLE_SECONDS": "3",
    # Its nodes come after five seconds; the planners think in minutes.
    "VISIO_OPERATOR_CLOCK_SPEED": "60",
}
ENDED_BY_ITSELF = 1
"""Exit code of an operator that lost its lease, or has no answer from the cluster when it starts. Its setting is at
fault where the code is 2, and another start would not help."""
MOST_RESTARTS, RESTART_AFTER_S = 5, 1.0
REAL_PODS_SPEED = "20"
"""The clock of the planners where pods are real. From the order of its node to its first slot a server takes about
fifteen seconds there, since its program starts beside all others on one machine: the five minutes that the planners
expect. Sixty times as fast they would take every first order for a failed one."""


@dataclass
class OperatorProcess:
    """A running `visio-operator run`; `log` holds what it prints.

    Where `start` is given, one that ended by itself, since it lost its lease or found no cluster, is started again as
    by a kubelet, but not for ever: a machine that stood still for half a minute, or a laptop that slept, is no reason
    to end a lab.
    """

    process: EnteredProcess
    log: Path
    start: Callable[[], EnteredProcess] | None = None
    _told: bool = False
    """Whether somebody ended it."""
    _restarts: int = 0

    def __post_init__(self) -> None:
        """Watch it, in a thread that ends with it."""
        if self.start is not None:
            threading.Thread(target=self._keep, args=(self.start,), daemon=True).start()

    def _keep(self, start: Callable[[], EnteredProcess]) -> None:
        while self._is_due_again(self.process.wait()):
            time.sleep(RESTART_AFTER_S)
            self._restarts += 1
            try:
                self.process = start()
            except OSError:
                # The lab is gone.
                return
            if self._told:
                self._end()

    @property
    def alive(self) -> bool:
        """Whether the process runs, or is about to again."""
        code = self.process.poll()
        return code is None or self._is_due_again(code)

    def _is_due_again(self, code: int) -> bool:
        restartable = self.start is not None and self._restarts < MOST_RESTARTS
        return restartable and code == ENDED_BY_ITSELF and not self._told

    def last_words(self) -> str:
        """The last line of its log."""
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return lines[-1] if lines else "nothing"

    def stop(self, timeout: float = 15.0) -> None:
        """End it as a kubelet would: SIGTERM, then SIGKILL after `timeout` seconds."""
        self._told = True
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout)
            except subprocess.TimeoutExpired:
                self._end()

    def kill(self) -> None:
        """End it by SIGKILL, as a crash would."""
        self._told = True
        self._end()

    def _end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(10)


@dataclass
class Restartable:
    """An operator of a lab that can be stopped and started again, and is started at most once at a time."""

    lab: Lab
    process: OperatorProcess | None = None

    def start(self) -> None:
        """Start it unless it runs."""
        if self.process is None or not self.process.alive:
            self.process = start_operator(self.lab)

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None:
            self.process.stop()


def free_lease(lab: Lab) -> None:
    """Take the lease of a killed operator away, so that the next one need not wait until it is over."""
    from visio_operator.runtime.leader import LEASE  # here, since it brings the Kubernetes client, which takes seconds

    lab.kubectl("delete", "lease", LEASE, "--namespace", NAMESPACE, "--ignore-not-found")


def install_operator(lab: Lab) -> None:
    """Install the CRDs, the ServiceAccount and the RBAC rules from the chart, as rendered by the real Helm.

    The Deployment of the chart is applied too, with no replicas: the operator itself runs as a process of the lab.
    """
    if not CHART.is_dir():
        raise LabError(f"chart not found at {CHART.name}; run the lab from a checkout of the project")
    template = [str(lab.bin / "helm"), "template", "visio-operator", str(CHART)]
    values = "replicaCount=0,poolProviders={oks,clusterAPI,ovh,karpenter}"
    rendered = subprocess.run(
        [*template, "--namespace", NAMESPACE, "--set", values], check=False, capture_output=True, text=True
    )
    if rendered.returncode != 0:
        raise LabError(f"helm could not render the chart: {rendered.stderr.strip().splitlines()[-1]}")
    make_namespace(lab, NAMESPACE)
    lab.kubectl("apply", "--server-side", "--namespace", NAMESPACE, "-f", "-", input=rendered.stdout)
    lab.kubectl("wait", "--for=condition=Established", "crd/visiodeployments.visio-operator.dev", "--timeout=20s")


def make_namespace(lab: Lab, name: str, *, level: str = "restricted") -> None:
    """Create a namespace that enforces a PodSecurity level; one that exists is left as it is."""
    manifest = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": level}},
    }
    lab.kubectl("apply", "--server-side", "-f", "-", input=json.dumps(manifest))


def start_operator(lab: Lab, *, name: str = "operator", env: Mapping[str, str] | None = None) -> OperatorProcess:
    """Start `visio-operator run` inside the lab under the chart's ServiceAccount; does not wait until it works.

    It is started again when it loses its lease.
    """
    kubeconfig = lab.service_account_kubeconfig(NAMESPACE, SERVICE_ACCOUNT)
    log = lab.directory / "logs" / f"{name}.log"
    pace = {**PACE, "VISIO_OPERATOR_CLOCK_SPEED": REAL_PODS_SPEED} if load_context(lab.directory).real_pods else PACE

    def start() -> EnteredProcess:
        return lab.enter(
            [sys.executable, "-m", "visio_operator", "run", "--lease-namespace", NAMESPACE],
            env={**os.environ, "KUBECONFIG": str(kubeconfig), **pace, **(env or {})},
            log=log,
        )

    return OperatorProcess(start(), log, start)


def wait_for(what: str, condition: Callable[[], bool], timeout: float, *, every: float = 0.2) -> None:
    """Wait until `condition()` is true; LabError names `what` when it does not become so within `timeout` seconds."""
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {timeout:.0f} s")
        time.sleep(every)
