"""The real Visio on the configuration that only the operator wrote, used by two browsers: on demand, with a checkout.

    uv run --group browser pytest tests/e2e --visio-source DIR

DIR is a release of suitenumerique/meet. Of the system it needs Chromium, certutil, Node with npm, and ffmpeg (Debian's
chromium, libnss3-tools, nodejs, npm and ffmpeg).
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import live
import smoke_platform as platform
from visio_checks.names import NAMES
from visio_lab.public_ca import certificate_file
from visio_lab.standins.tone import encode_words, wav
from visio_lab.visio_source import checkouts

NAMESPACE, HOST = "browsers", "visio.example.gouv.fr"
RATE = 48_000
SAID = {"alice": range(100, 160), "bob": range(500, 560)}
"""Numbers of the words that each of them says, again and again; a pause between, by which speech is told to end."""
PAUSE_S = 1.5
BROWSERS = Path(__file__).with_name("browsers.py")
WITHIN_S = 280
BUSY, SETTLED_S = 0.5, 180
"""Above a load of 0.7 an agent takes no room; everything that has just started makes this machine as busy."""


@pytest.fixture(scope="module")
def visio(real_lab: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """The platform, Ready, by Visio's own programs."""
    version = list(checkouts(request.config.getoption("--visio-source")))[-1]
    platform.make_outside_services(real_lab)
    platform.make_platform(real_lab, NAMESPACE, version)
    live.eventually("the agents take rooms", lambda: max(agents_load(real_lab)) < BUSY, SETTLED_S, every=2)
    yield real_lab
    real_lab.kubectl("delete", "vd", "visio", "--namespace", NAMESPACE, "--timeout=60s", check=False)
    real_lab.kubectl("delete", "namespace", NAMESPACE, platform.OUTSIDE, "--wait=false", check=False)


def agents_load(lab: Any) -> list[float]:
    """What the subtitles agents count as their load, which is the whole machine's."""
    pods = live.items(lab, "pods", NAMESPACE, "app.kubernetes.io/component=subtitles")
    urls = [f"http://{pod['status']['podIP']}:8081/worker" for pod in pods]
    process = lab.enter(["curl", "-sS", "--fail", *urls], stdout=subprocess.PIPE)
    told = re.findall(r'"worker_load": *([0-9.]+)', process.communicate(timeout=60)[0].decode())
    return [float(each) for each in told] or [1.0]


def speech(numbers: range) -> bytes:
    """A sound file of words, and then quiet."""
    pcm = encode_words([f"w{number}" for number in numbers], RATE)
    return wav(np.concatenate([pcm, np.zeros(round(PAUSE_S * RATE), np.float32)]), RATE)


def test_a_whole_call_works_with_visios_own_programs(visio: Any) -> None:
    code, results, error = platform.run_smoke(visio, NAMESPACE, "--timeout", "180")
    print({name: result["detail"] for name, result in results.items()})
    failed = {name: result["detail"] for name, result in results.items() if not result["ok"]}
    assert (code, failed, error) == (0, {}, "")
    assert tuple(results) == NAMES


def test_two_browsers_see_each_other_and_read_what_is_said(visio: Any, tmp_path: Path) -> None:
    for name, numbers in SAID.items():
        (tmp_path / f"{name}.wav").write_bytes(speech(numbers))
    argv = [sys.executable, str(BROWSERS), HOST, str(certificate_file(visio.directory)), str(tmp_path)]
    process = visio.enter(argv, env={**os.environ, "HOME": str(tmp_path)}, stdout=subprocess.PIPE)
    output = process.communicate(timeout=WITHIN_S)[0].decode()
    print(output, f"\nscreenshots: {tmp_path}")
    steps = [json.loads(line) for line in output.splitlines() if line.startswith('{"step"')]
    saw = steps[-1]
    assert (process.returncode, saw["step"]) == (0, "saw")
    for name in SAID:
        assert saw[name]["picture"]["width"] >= 320, f"{name} sees the other"
    read = saw["alice"]["words"]
    for name, numbers in SAID.items():
        heard = [word for word in read if int(word[1:]) in numbers]
        assert len(set(heard)) >= 20, f"what {name} said, of which Alice reads {heard}"
    known = {f"w{number}" for numbers in SAID.values() for number in numbers}
    assert set(read) <= known
