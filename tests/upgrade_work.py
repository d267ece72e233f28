"""What goes on in a platform while it is upgraded: short work again and again, and one call that lasts."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import live
from smoke_platform import run_smoke
from visio_operator.api.releases import find_release, load_releases
from visio_operator.plan.images import as_release
from visio_operator.runtime.reconcile import parse_spec
from visio_operator.workloads.common import Site
from visio_operator.workloads.smoke import smoke

WORK = ("captions", "recording", "transcription")
LONG_CALL = Path(live.__file__).with_name("long_call.py")
BEGINS_S, ENDS_S = 180.0, 240.0
COMPONENT = "app.kubernetes.io/component"


@dataclass
class Work:
    """Captions, recordings and transcriptions, one set after the other until told."""

    lab: Any
    namespace: str
    rounds: list[tuple[int, dict[str, dict[str, Any]], str]] = field(default_factory=list)
    told: threading.Event = field(default_factory=threading.Event)

    def go_on(self) -> None:
        """Each round is whole: one that is under way when the work ends is ended."""
        while not self.told.is_set():
            # A job waits while its only worker is replaced, and is not lost; who is upgraded need not be Ready.
            self.rounds.append(run_smoke(self.lab, self.namespace, "--only", *WORK, "--timeout", "300", "--anyway"))

    def failed(self) -> list[Any]:
        """The rounds in which something was lost, with what and why."""
        return [
            [result for result in results.values() if not result["ok"]] or error
            for code, results, error in self.rounds
            if code != 0
        ]


@contextmanager
def working(lab: Any, namespace: str) -> Iterator[Work]:
    work = Work(lab, namespace)
    thread = threading.Thread(target=work.go_on)
    thread.start()
    try:
        yield work
    finally:
        work.told.set()
        thread.join()


class LongCall:
    """A call in a pod of its own (long_call.py), which begins at once."""

    def __init__(self, lab: Any, namespace: str) -> None:
        self._lab, self._namespace = lab, namespace
        self._log = lab.directory / "logs" / "pods" / f"{namespace}_long-call_smoke.log"
        live.apply(lab, [_pod(lab, namespace)])
        live.eventually("a long call has begun", lambda: self._told("begun"), BEGINS_S, shown=self._said)

    def end(self) -> dict[str, Any]:
        """End the call, and say what became of it."""
        self._lab.kubectl("delete", "pod", "long-call", "--namespace", self._namespace, "--wait=false")
        found = live.eventually("the long call has ended", lambda: self._told("ended"), ENDS_S, shown=self._said)
        return dict(found)

    def _told(self, event: str) -> dict[str, Any]:
        lines = [json.loads(line) for line in self._said() if line.startswith('{"t"') and line.endswith("}")]
        failed = [line for line in lines if line["event"] == "failed"]
        assert not failed, failed
        return next((line for line in lines if line["event"] == event), {})

    def _said(self) -> list[str]:
        return self._log.read_text().splitlines() if self._log.exists() else []


def _pod(lab: Any, namespace: str) -> dict[str, Any]:
    """The pod of the smoke test with another program, and time to end what it began."""
    body = live.get(lab, "vd", "visio", namespace)
    assert body is not None
    spec, release = parse_spec(body), find_release(load_releases(), body["status"]["version"])
    assert release is not None
    site = Site("visio", namespace, body["metadata"]["uid"], spec)
    template = smoke(site, as_release(release, spec.sovereignty.registries), "long", seconds=3_600)["spec"]["template"]
    [container] = template["spec"]["containers"]
    container |= {"image": "lab/lab-process:long-call", "command": [sys.executable, str(LONG_CALL)]}
    del container["args"]
    container["env"].append({"name": "SIGNALLING", "value": "ws://visio-sfu:7880"})
    template["spec"]["terminationGracePeriodSeconds"] = round(ENDS_S)
    metadata = {"name": "long-call", "namespace": namespace, "labels": template["metadata"]["labels"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


class Leavers:
    """When pods were first seen on their way out, by component and name, in unix seconds."""

    def __init__(self, lab: Any, namespace: str) -> None:
        self._lab, self._namespace = lab, namespace
        self.seen: dict[str, dict[str, float]] = defaultdict(dict)

    def look(self) -> None:
        for pod in live.items(self._lab, "pods", self._namespace, COMPONENT):
            metadata: Mapping[str, Any] = pod["metadata"]
            if "deletionTimestamp" in metadata:
                self.seen[metadata["labels"][COMPONENT]].setdefault(metadata["name"], time.time())

    def within(self, component: str, began: float, ended: float) -> int:
        """How many pods of a component began to leave between two times."""
        return sum(began < at < ended for at in self.seen[component].values())
