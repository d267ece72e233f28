"""The demo, as a newcomer runs it: twice at once, with nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

DEMO = [sys.executable, "-m", "visio_operator", "demo", "--quick", "-o", "json"]


def _start(state: str) -> subprocess.Popen[str]:
    env = {**os.environ, "XDG_STATE_HOME": state}
    return subprocess.Popen(DEMO, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _labs(state: str) -> str:
    command = [sys.executable, "-m", "visio_operator", "lab", "status", "-o", "json"]
    env = {**os.environ, "XDG_STATE_HOME": state}
    return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.strip()


def test_the_quick_demo_runs_twice_at_once_and_leaves_nothing(tmp_path, lab) -> None:
    both = [_start(str(tmp_path)) for _ in range(2)]
    for process in both:
        output, errors = process.communicate(timeout=180)
        assert process.returncode == 0, errors
        account = json.loads(output)
        assert account["cut"] == 0
        assert account["objects"] > 70
        assert account["ready_after"] > 0
    assert _labs(str(tmp_path)) == "[]"


def test_an_interrupted_demo_leaves_nothing(tmp_path, lab) -> None:
    process = _start(str(tmp_path))
    end = time.monotonic() + 60
    while '"ready": true' not in _labs(str(tmp_path)) and time.monotonic() < end:
        time.sleep(0.2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert _labs(str(tmp_path)) == "[]"
