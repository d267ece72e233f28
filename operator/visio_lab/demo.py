"""The demo's story: a lab, the operator, one platform, a morning of load, an upgrade, and an honest account of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from visio_lab import operator_process
from visio_lab.demo_load import Load
from visio_lab.demo_view import Scene, View
from visio_lab.errors import LabError
from visio_lab.handle import Lab
from visio_lab.public_ca import certificate_secret, public_ca_configmap

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "evaluation-captions.yaml"
NAMESPACE = "visio"
NAME = "visio"
UPGRADE_TO = "1.27.0"
READY_TIMEOUT_S = 300.0
"""Visio's own programs and migrations take two minutes on two cores; the stand-ins take half a minute."""
CAPACITY_TIMEOUT_S = 120.0
RETURN_TIMEOUT_S = 180.0
CALL_TIMEOUT_S = 300
AUTHORITY = "public-ca"
OWNED = (
    "deployments.apps,statefulsets.apps,jobs.batch,cronjobs.batch,services,configmaps,secrets,serviceaccounts,"
    "poddisruptionbudgets.policy,networkpolicies.networking.k8s.io,ingresses.networking.k8s.io"
)


@dataclass
class Account:
    """What happened, for the summary; times in seconds."""

    ready_after: float = 0.0
    objects: int = 0
    bought: int = 0
    returned: int = 0
    streams: int = 0
    cut: int = 0
    jobs: int = 0
    jobs_lost: int = 0
    upgraded: str = ""
    call: str = ""
    """The sum of its checks."""
    call_failed: bool = False
    chapters: list[str] = field(default_factory=list)


def play(lab: Lab, view: View, *, quick: bool) -> Account:
    """Play the story on a running lab and return its account; LabError when a chapter does not reach its end."""
    scene, account = Scene(), Account()
    with _operator(lab, view, scene):
        _create(lab, view, scene, account, example())
        if not quick:
            _morning(lab, view, scene, account)
            _upgrade(lab, view, scene, account)
    return account


def play_call(lab: Lab, view: View, *, version: str | None = None) -> Account:
    """Where every pod is a process: make the platform, of that version, and a whole call on it; else as `play`."""
    scene, account = Scene(), Account()
    with _operator(lab, view, scene):
        _create(lab, view, scene, account, trusting(lab, example(), version))
        _call(lab, view, scene, account)
    return account


@contextlib.contextmanager
def _operator(lab: Lab, view: View, scene: Scene) -> Iterator[None]:
    """The operator at work; LabError when it ended by itself."""
    scene.chapter = "The operator moves in: CRDs, identity and rights from its Helm chart"
    view.show(scene)
    operator_process.install_operator(lab)
    operator_process.make_namespace(lab, NAMESPACE)
    scene.operator = operator = operator_process.start_operator(lab)
    try:
        yield
    finally:
        operator.stop()


def _create(lab: Lab, view: View, scene: Scene, account: Account, documents: list[dict[str, Any]]) -> None:
    scene.chapter = "One object becomes a platform"
    scene.started = time.monotonic()
    lab.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump_all(documents))
    _follow(lab, view, scene, "the platform is Ready", lambda: _is_ready(scene), READY_TIMEOUT_S)
    account.ready_after = time.monotonic() - scene.started
    listed = lab.kubectl("get", OWNED, "-n", NAMESPACE, "-l", f"visio-operator.dev/deployment={NAME}", "-o", "name")
    account.objects = len(listed.split())
    view.say(f"✓ Ready after {account.ready_after:.1f} s, with {account.objects} objects made")


def _morning(lab: Lab, view: View, scene: Scene, account: Account) -> None:
    scene.chapter = "A morning of meetings: captions and recordings"
    load = Load(lab, NAMESPACE, NAME)
    account.jobs = load.queue_recordings(jobs=4, audio_seconds=100)
    for wave, seconds in ((30, 70), (60, 60), (60, 50)):
        load.open_streams(wave, seconds)
        account.streams += wave
        scene.streams = load.counters()
        _watch(lab, view, scene, 8, load)
    _follow(
        lab,
        view,
        scene,
        "every stream has a slot",
        lambda: load.counters()["waiting"] == 0 and load.counters()["open"] >= account.streams * 0.9,
        CAPACITY_TIMEOUT_S,
        load,
    )
    view.say(f"✓ {account.streams} caption streams run; GPU nodes ready: {_pool_sizes(scene)}")

    scene.chapter = "The meetings end: GPU nodes empty and go back"
    _follow(lab, view, scene, "all streams have ended", lambda: load.counters()["open"] == 0, CAPACITY_TIMEOUT_S, load)
    _follow(lab, view, scene, "all nodes are returned", lambda: _nodes_wanted(scene) == 0, RETURN_TIMEOUT_S, load)
    operator_process.wait_for("the nodes are gone", lambda: not _gpu_nodes(lab), 60)
    counters = load.counters()
    account.cut = counters["cut"] + counters["refused"]
    account.jobs_lost = account.jobs - load.recordings_done()
    account.bought, account.returned = _bill(lab)
    view.say(f"✓ {account.bought} GPU nodes bought and {account.returned} returned, {account.cut} streams cut")


def _upgrade(lab: Lab, view: View, scene: Scene, account: Account) -> None:
    scene.chapter = f"Visio is upgraded to {UPGRADE_TO}, its migration first"
    before = scene.status.get("version", "")
    patch = json.dumps({"spec": {"version": UPGRADE_TO}})
    lab.kubectl("patch", "vd", NAME, "-n", NAMESPACE, "--type=merge", "-p", patch)
    _follow(
        lab,
        view,
        scene,
        f"version {UPGRADE_TO} runs",
        lambda: scene.status.get("version") == UPGRADE_TO and _is_ready(scene),
        READY_TIMEOUT_S,
    )
    account.upgraded = f"{before} to {UPGRADE_TO}"
    view.say(f"✓ upgraded from {account.upgraded}")


def _call(lab: Lab, view: View, scene: Scene, account: Account) -> None:
    """What `visio-operator smoke` says, and the GPU nodes that its waiting streams and recordings make the operator
    buy.
    """
    scene.chapter = "A whole call: two participants, captions, a recording, its transcript"
    view.show(scene)
    command = [sys.executable, "-m", "visio_operator", "smoke", NAME, "--namespace", NAMESPACE]
    options = [f"--kubeconfig={lab.kubeconfig}", f"--timeout={CALL_TIMEOUT_S}"]
    with subprocess.Popen([*command, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as smoke:
        assert smoke.stdout is not None
        for line in smoke.stdout:
            view.say(line.rstrip())
            account.call = line.strip()
    account.call_failed = smoke.returncode != 0


def _watch(lab: Lab, view: View, scene: Scene, seconds: float, load: Load) -> None:
    end = time.monotonic() + seconds
    _follow(lab, view, scene, "time passes", lambda: time.monotonic() > end, seconds + 60, load)


def _follow(
    lab: Lab,
    view: View,
    scene: Scene,
    what: str,
    reached: Callable[[], bool],
    timeout: float,
    load: Load | None = None,
) -> None:
    """Redraw the scene until `reached()`; LabError says what was not reached and what the operator says about it."""
    end = time.monotonic() + timeout
    while True:
        scene.status = _status(lab)
        if load is not None:
            scene.streams = load.counters()
        view.show(scene)
        if scene.operator is not None and not scene.operator.alive:
            raise LabError(f"the operator ended by itself; its last words: {scene.operator.last_words()}")
        if reached():
            return
        if time.monotonic() > end:
            raise LabError(f"{what}: not within {timeout:.0f} s. The operator says: {_last_words(scene)}")
        time.sleep(0.3)


def example() -> list[dict[str, Any]]:
    """The example's objects in the demo's namespace."""
    documents = [document for document in yaml.safe_load_all(EXAMPLE.read_text()) if document]
    for document in documents:
        if document["kind"] not in ("NodePool", "Namespace"):
            document["metadata"]["namespace"] = NAMESPACE
    return documents


def trusting(lab: Lab, documents: list[dict[str, Any]], version: str | None) -> list[dict[str, Any]]:
    """The example with certificates by the lab's public authority, which it trusts; and of that version."""
    (deployment,) = (document for document in documents if document["kind"] == "VisioDeployment")
    spec = deployment["spec"]
    spec["version"] = version or spec["version"]
    spec["caBundle"] = {"configMap": AUTHORITY}
    public_ca_configmap(lab, NAMESPACE, AUTHORITY)
    secret = spec["gateway"]["tls"]["secretRef"]["name"]
    certificate_secret(lab, NAMESPACE, secret, [spec["host"], f"livekit.{spec['host']}"])
    return [document for document in documents if document["metadata"]["name"] != secret]


def _status(lab: Lab) -> dict[str, Any]:
    text = lab.kubectl("get", "vd", NAME, "-n", NAMESPACE, "-o", "json")
    found: dict[str, Any] = json.loads(text)
    status: dict[str, Any] = found.get("status", {})
    current = status.get("observedGeneration") == found["metadata"]["generation"]
    # A status of an older generation says nothing about the object as it is now.
    return status if current else {**status, "conditions": []}


def _is_ready(scene: Scene) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in scene.status.get("conditions", []))


def _last_words(scene: Scene) -> str:
    words = [f"{c['type']}={c['status']}: {c['message']}" for c in scene.status.get("conditions", []) if c["message"]]
    return "; ".join(words) or "nothing"


def _nodes_wanted(scene: Scene) -> int:
    return sum(pool.get("desired", 0) for pool in scene.status.get("pools", []))


def _pool_sizes(scene: Scene) -> str:
    return ", ".join(f"{pool.get('gpuReady', 0)} of {pool['name']}" for pool in scene.status.get("pools", []))


def _gpu_nodes(lab: Lab) -> list[str]:
    return lab.kubectl("get", "nodes", "-l", "visio-operator.dev/pool", "-o", "name").split()


def _bill(lab: Lab) -> tuple[int, int]:
    """Nodes ordered and nodes given back, from the cloud's own record."""
    lines = (lab.directory / "cloud.jsonl").read_text().splitlines()
    events = [json.loads(line)["event"] for line in lines]
    return events.count("ordered"), events.count("returned")
