"""The demo's load: captioned participants through the agents of one platform, recordings through its real queue."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from typing import Any

from visio_lab.errors import LabError
from visio_lab.handle import Lab
from visio_lab.load import BROKER

AGENT_PORT = 8081
BROKER_DB = 1
FRESH_S = 1.0
"""How long counters are shown before they are asked for again."""
RESULTS_WITHIN_S = 60.0


class Load:
    """Opens streams and queues recordings on one deployment, and knows what became of them."""

    def __init__(self, lab: Lab, namespace: str, name: str) -> None:
        self._lab = lab
        self._namespace = namespace
        self._name = name
        selector = f"app.kubernetes.io/instance={name},app.kubernetes.io/component=subtitles"
        pods = lab.kubectl_json("get", "pods", "-n", namespace, "-l", selector)["items"]
        self._agents = [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") == "Running"]
        if not self._agents:
            raise LabError("no subtitles agent runs; captions cannot be asked for")
        self._counters: dict[str, int] = {}
        self._counted = 0.0
        self._tasks: list[str] = []

    def open_streams(self, streams: int, seconds: float) -> None:
        """Open so many caption streams, spread over the agents, each talking for `seconds`."""
        for index, agent in enumerate(self._agents):
            count = streams // len(self._agents) + (index < streams % len(self._agents))
            order = json.dumps({"count": count, "seconds": seconds})
            self._lab.kubectl("create", "--raw", self._path(agent), "-f", "-", input=order)
        self._counted = 0.0

    def counters(self) -> dict[str, int]:
        """What became of the streams: open, waiting, done, cut, refused, missed words; at most FRESH_S old."""
        if time.monotonic() - self._counted > FRESH_S:
            total: dict[str, int] = {}
            for agent in self._agents:
                for name, value in json.loads(self._lab.kubectl("get", "--raw", self._path(agent))).items():
                    total[name] = total.get(name, 0) + round(value)
            shown = ("open", "waiting", "done", "cut", "refused", "missed")
            self._counters = {name: total.get(name, 0) for name in shown}
            self._counted = time.monotonic()
        return self._counters

    def queue_recordings(self, jobs: int, audio_seconds: int) -> int:
        """Put so many recordings on the real queue, and say how many."""
        arguments = ["transcription", f"--jobs={jobs}", f"--audio-seconds={audio_seconds}"]
        self._tasks = self._driver(arguments)["tasks"]
        return len(self._tasks)

    def recordings_done(self) -> int:
        """How many of the recordings have their transcript, counted from Celery's results."""
        end = time.monotonic() + RESULTS_WITHIN_S
        while True:
            done = int(self._driver(["results", *self._tasks])["succeeded"])
            if done == len(self._tasks) or time.monotonic() > end:
                return done
            time.sleep(1)

    def _path(self, agent: str) -> str:
        return f"/api/v1/namespaces/{self._namespace}/pods/{agent}:{AGENT_PORT}/proxy/lab/streams"

    def _broker(self) -> str:
        secret = self._lab.kubectl_json("get", "secret", f"{self._name}-redis", "-n", self._namespace)
        password = base64.b64decode(secret["data"]["password"]).decode()
        service = self._lab.kubectl_json("get", "service", f"{self._name}-redis", "-n", self._namespace)
        return f"redis://:{password}@{service['spec']['clusterIP']}:6379/{BROKER_DB}"

    def _driver(self, arguments: list[str]) -> dict[str, Any]:
        process = self._lab.enter(
            [sys.executable, "-m", "visio_lab.load", *arguments],
            env={**os.environ, BROKER: self._broker()},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        output, complaint = process.communicate(timeout=60)
        if process.returncode:
            raise LabError(f"the load driver failed: {complaint.decode().strip().splitlines()[-1]}")
        answer: dict[str, Any] = json.loads(output)
        return answer
