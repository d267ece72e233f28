"""Sizes follow what a Prometheus says, and go on by what the servers say when it is gone."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import live

STAND_IN = Path(live.__file__).with_name("prometheus_stand_in.py")
PORT = 29190


class Prometheus:
    """A stand-in beside the operator; what it says of pods is set here."""

    def __init__(self, lab: Any, folder: Path, namespace: str) -> None:
        self.namespace = namespace
        self.file = folder / "series.json"
        self.says({})
        log = folder / "prometheus.log"
        self.process = lab.enter([sys.executable, str(STAND_IN), str(PORT), str(self.file)], log=log)

    def says(self, metrics: dict[str, dict[str, float]]) -> None:
        """Each pod with its metrics, sampled at every question."""
        series: list[tuple[dict[str, str], float]] = []
        for pod, values in metrics.items():
            target = {"namespace": self.namespace, "pod": pod, "job": "visio", "instance": pod}
            series += [({"__name__": name, **target}, value) for name, value in {"up": 1.0, **values}.items()]
        following = self.file.with_suffix(".new")
        following.write_text(json.dumps(series))
        following.replace(self.file)

    def die(self) -> None:
        self.process.kill()
        self.process.wait(10)


def _platform(lab: Any, namespace: str) -> str:
    """The evaluation example with a pool of its own for captions alone: 8 slots a GPU, at most 3 servers."""
    pool = f"{namespace}-captions"

    def small(spec: dict[str, Any]) -> None:
        spec["captions"] |= {"slotsPerGpu": 8, "max": 3, "pool": pool}
        spec["transcription"] = {"enabled": False}
        spec["gpuPools"] = [one | {"name": pool} for one in spec["gpuPools"] if one["name"] == "captions-gpu"]
        spec["signals"] = {"prometheus": {"url": f"http://127.0.0.1:{PORT}"}}

    objects = live.deployment("evaluation-captions.yaml", namespace, change=small)
    kept = [one for one in objects if one["kind"] != "NodePool" or one["metadata"]["name"] == "captions-gpu"]
    for document in kept:
        if document["kind"] == "NodePool":
            document["metadata"]["name"] = pool
            document["spec"]["nodeLabels"] = {"visio-operator.dev/pool": pool}
    live.apply(lab, kept)
    live.wait_ready(lab, namespace, timeout=150)
    return pool


def _pods(lab: Any, namespace: str, part: str) -> list[str]:
    found = live.items(lab, "pods", namespace, f"app.kubernetes.io/component={part}")
    ready = [pod for pod in found if any(c["type"] == "Ready" and c["status"] == "True" for c in _conditions(pod))]
    return [pod["metadata"]["name"] for pod in ready]


def _conditions(pod: dict[str, Any]) -> list[dict[str, Any]]:
    return list(pod["status"].get("conditions", ()))


def _nodes(lab: Any, pool: str) -> int:
    return len(json.loads(lab.kubectl("get", "nodes", "-l", f"visio-operator.dev/pool={pool}", "-o", "json"))["items"])


def _status(lab: Any, namespace: str) -> dict[str, Any]:
    return dict((live.get(lab, "vd", "visio", namespace) or {})["status"])


def _signal(lab: Any, namespace: str, name: str) -> dict[str, Any]:
    return next((one for one in _status(lab, namespace)["signals"] if one["name"] == name), {})


def test_sizes_follow_prometheus_and_go_on_by_direct_readings_when_it_dies(lab, operator, namespace, tmp_path) -> None:
    prometheus = Prometheus(lab, tmp_path, namespace)
    try:
        pool = _platform(lab, namespace)
        proxies = _pods(lab, namespace, "subtitles")
        assert proxies
        assert _nodes(lab, pool) == 0
        nothing = "Prometheus has no captions streams of the last six weeks"
        live.eventually(
            "the history was asked for",
            lambda: _signal(lab, namespace, "captionsHistory").get("sourceReason") == nothing,
            90,
        )

        # Nobody speaks here at all: only Prometheus says so.
        waiting = {"visio_captions_waiting_streams": 0.0, "visio_captions_longest_wait_seconds": 0.0}
        busy = {"visio_captions_waiting_streams": 14.0, "visio_captions_longest_wait_seconds": 9.0}
        prometheus.says(dict.fromkeys(proxies, waiting) | {proxies[0]: busy})
        live.eventually("two nodes are bought", lambda: _nodes(lab, pool) >= 2, 60)
        said = _status(lab, namespace)["captions"]
        assert (said["waiting"], said["longestWait"]) == (14, 9)
        assert any(
            "captions: 14 streams wait, the longest for 9 s; " in line for line in _status(lab, namespace)["trace"]
        )
        live.eventually("two captions servers are ready", lambda: len(_pods(lab, namespace, "captions")) >= 2, 90)
        # A third one may have come for an order that was late; it was closed, and is asked itself before it goes.
        slots = {pod: {"asr_open_channels": 7.0} for pod in _pods(lab, namespace, "captions")}
        prometheus.says({**dict.fromkeys(proxies, waiting), **slots})
        live.eventually("slots are in use", lambda: _status(lab, namespace)["captions"]["used"] >= 14, 30)
        assert _signal(lab, namespace, "captionsSlots")["source"] == "Prometheus"
        for _ in range(15):
            time.sleep(1)
            assert _nodes(lab, pool) >= 2, "the servers themselves would say that they are empty, and are not asked"
        said = _status(lab, namespace)["captions"]
        assert said["used"] >= 14
        assert said["serving"] >= 2

        prometheus.die()
        live.eventually(
            "the servers are asked themselves",
            lambda: _signal(lab, namespace, "captionsSlots")["source"] == "captions servers",
            30,
        )
        signal = _signal(lab, namespace, "captionsSlots")
        assert signal["sourceReason"] == f"Prometheus at http://127.0.0.1:{PORT} cannot be reached"
        assert signal["state"] == "Fresh"
        live.eventually("all nodes are returned", lambda: _nodes(lab, pool) == 0, 120)
        assert _signal(lab, namespace, "waitingStreams")["state"] == "Fresh"
    finally:
        if prometheus.process.poll() is None:
            prometheus.die()
