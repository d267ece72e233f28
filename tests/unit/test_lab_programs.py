"""Which pods are processes, and which program stands behind an image."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from visio_lab.context import REAL_IMAGES, LabContext, load_context
from visio_lab.postgres import setting
from visio_lab.programs import (
    OLDER,
    has_program,
    image_pattern,
    is_process_pod,
    missing_version,
    program,
    stop_signal,
)
from visio_lab.stages import process_pod, stage_manifests
from visio_operator.api.releases import load_releases
from visio_operator.plan.images import as_release

CTX = LabContext(
    directory=Path("/lab"),
    bin=Path("/lab/bin"),
    inner_kubeconfig=Path("/lab/kubeconfig.inner"),
    logs=Path("/lab/logs"),
    python="python",
    visio_operator_command=("visio",),
)
REAL = replace(CTX, real_images=REAL_IMAGES)


def a_pod(*containers: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "n", "uid": "u", "labels": {"app": "redis"}},
        "spec": {"containers": list(containers), **spec},
        "status": {"podIP": "10.244.128.1", "hostIP": "192.168.250.1"},
    }


@pytest.mark.parametrize(
    ("image", "process"),
    [
        ("redis:8.2", True),
        ("docker.io/library/redis@sha256:0", True),
        ("registry.example:5000/visio/moshi-server:0.6.4", True),
        ("docker.io/lasuite/whisper-api:v1.2.0", True),
        ("registry.example/visio-operator", True),
        ("docker.io/lasuite/meet-backend:v1.27.0", False),
        ("livekit/livekit-server:v1.13.5", False),
        ("bitnami/redis-exporter:1", False),
        ("redis-stack/other:1", False),
    ],
)
def test_a_pod_is_real_by_the_image_of_any_container(image: str, process: bool) -> None:
    sidecar = a_pod({"name": "c", "image": "x"}, initContainers=[{"name": "i", "image": image}])
    for pod in (a_pod({"name": "c", "image": image}), sidecar):
        assert is_process_pod(pod, CTX) is process
        assert bool(re.search(image_pattern(CTX.real_images), image)) is process, "KWOK decides by the same names"


def test_where_all_pods_are_real_every_image_of_the_platform_is_a_process() -> None:
    images = as_release(load_releases()[-1], []).images.values()
    assert {each for each in images if not is_process_pod(a_pod({"name": "c", "image": each}), REAL)} == set()


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("livekit/livekit-server:v1.13.5", "livekit-server"),
        ("r.example:5000/livekit/livekit-server:v1.11.0", "livekit-server-1.11.0"),
        (f"livekit/livekit-server:v1.11.0@sha256:{'0' * 64}", "livekit-server-1.11.0"),
        ("livekit/livekit-server:v1.13.6", "livekit-server"),
    ],
)
def test_a_media_server_is_of_the_version_that_its_image_names(image: str, expected: str, tmp_path: Path) -> None:
    ctx = replace(REAL, bin=tmp_path)
    for command, args in (([], ["--dev"]), (["/livekit-server"], ["--dev"]), ([], ["livekit-server", "--dev"])):
        assert program(image, command, args, ctx) == [expected, "--dev"]
    missing = missing_version(image, ctx)
    assert missing == (
        ""
        if expected == "livekit-server"
        else f"{image}: this lab has no program of that version; start it with --livekit 1.11.0"
    )
    (tmp_path / expected).touch()
    assert missing_version(image, ctx) == ""


def test_the_lab_has_a_program_for_every_media_server_of_the_ladder() -> None:
    tags = {entry.images["livekit"].rpartition("/")[2] for entry in load_releases()}
    assert tags == {"livekit-server:v1.13.5", *OLDER}


@pytest.mark.parametrize(("ctx", "process"), [(CTX, False), (REAL, True)], ids=["control", "real"])
def test_checks_of_connections_are_real_where_the_servers_are(ctx: LabContext, process: bool) -> None:
    checks = a_pod({"name": "c", "image": "r/visio-operator:1", "args": ["checks", "connections"]})
    assert is_process_pod(checks, ctx) is process


@pytest.mark.parametrize("ctx", [CTX, REAL], ids=["control", "real"])
def test_kwok_leaves_process_pods_to_the_kubelet(ctx: LabContext) -> None:
    pod_stages = [each for each in stage_manifests(ctx) if each["spec"]["resourceRef"]["kind"] == "Pod"]
    for stage in pod_stages:
        expressions = stage["spec"]["selector"]["matchExpressions"]
        assert {"key": process_pod(ctx), "operator": "DoesNotExist"} in expressions


@pytest.mark.parametrize(
    ("image", "command", "args", "argv"),
    [
        ("redis:8.2", [], [], ["redis-server"]),
        ("redis:8.2", [], ["--appendonly", "yes"], ["redis-server", "--appendonly", "yes"]),
        ("redis:8.2", ["sh", "-c", "exec redis-server"], [], ["sh", "-c", "exec redis-server"]),
        ("r/visio-operator:1", [], ["captions-proxy", "--listen", "x"], ["visio", "captions-proxy", "--listen", "x"]),
        ("r/visio-operator:1", ["visio-operator", "run"], [], ["visio", "run"]),
        (
            "r/moshi-server:0.6.4",
            ["moshi-server"],
            ["worker", "--port", "8080"],
            ["python", "-m", "visio_lab.standins.kyutai", "worker", "--port", "8080"],
        ),
        (
            "lasuite/whisper-api:v1.2.0",
            ["python3", "main.py", "--model", "large-v3"],
            [],
            ["python", "-m", "visio_lab.standins.whisperx", "--model", "large-v3"],
        ),
        ("lasuite/whisper-api:main", [], [], ["python", "-m", "visio_lab.standins.whisperx"]),
        (
            "lasuite/meet-summary:v1.27.0",
            ["celery"],
            ["worker", "--pool=solo", "-Q", "transcribe-queue-v2"],
            ["python", "-m", "visio_lab.standins.transcribe_worker", "-Q", "transcribe-queue-v2"],
        ),
        (
            "lasuite/meet-agents:v1.27.0",
            [],
            ["python", "multi_user_transcriber.py", "start"],
            ["python", "-m", "visio_lab.standins.agent"],
        ),
    ],
)
def test_each_image_has_its_program(image: str, command: list[str], args: list[str], argv: list[str]) -> None:
    assert has_program({"image": image, "command": command, "args": args}, CTX)
    assert program(image, command, args, CTX) == argv


@pytest.mark.parametrize(
    ("image", "command", "args", "argv"),
    [
        ("livekit/livekit-server:v1.13.5", [], ["--dev"], ["livekit-server", "--dev"]),
        ("livekit/livekit-server:v1.13.5", ["/livekit-server"], ["--dev"], ["livekit-server", "--dev"]),
        ("livekit/egress:v1.14.1", [], [], ["egress-standin"]),
        ("traefik:v3", [], ["traefik", "--ping"], ["traefik", "--ping"]),
        ("coturn/coturn:4", ["/bin/sh", "-c", "exec turnserver"], [], ["/bin/sh", "-c", "exec turnserver"]),
        ("postgres:18", [], [], ["python", "-m", "visio_lab.postgres", "postgres"]),
        ("postgres:18", [], ["-c", "x=1"], ["python", "-m", "visio_lab.postgres", "-c", "x=1"]),
        ("r/lab-process:1", ["python", "-m", "x"], ["y"], ["python", "-m", "x", "y"]),
        (
            "dxflrs/garage:v2.3.0",
            ["/garage", "server"],
            [],
            ["python", "-m", "visio_lab.standins.garage", "/garage", "server"],
        ),
        ("lasuite/meet-backend:v1", [], [], ["python", "-m", "visio_lab.standins.backend"]),
        (
            "lasuite/meet-summary:v1",
            ["celery"],
            ["-Q", "transcribe-queue-v2"],
            ["python", "-m", "visio_lab.standins.summary", "celery", "-Q", "transcribe-queue-v2"],
        ),
        (
            "lasuite/meet-agents:v1",
            [],
            ["python", "metadata_collector.py", "start"],
            ["python", "-m", "visio_lab.standins.agents", "python", "metadata_collector.py", "start"],
        ),
    ],
)
def test_where_all_pods_are_real_each_image_has_a_program_that_gets_its_words(
    image: str, command: list[str], args: list[str], argv: list[str]
) -> None:
    assert program(image, command, args, REAL) == argv


def test_a_database_is_asked_to_end_as_its_image_says() -> None:
    assert stop_signal("docker.io/library/postgres:18") == signal.SIGINT
    assert stop_signal("redis:8.2") == signal.SIGTERM


def test_a_setting_of_the_database_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("geheim\n")
    assert setting("POSTGRES_PASSWORD", {"POSTGRES_PASSWORD_FILE": str(tmp_path / "password")}) == "geheim"
    assert setting("POSTGRES_PASSWORD", {"POSTGRES_PASSWORD": "offen"}) == "offen"
    assert setting("POSTGRES_PASSWORD", {}) == ""


def test_the_settings_of_a_lab_say_which_pods_are_real(tmp_path: Path) -> None:
    assert load_context(tmp_path).real_images == CTX.real_images
    settings = {"port": 1, "pods": "real", "visio_homes": {"1.26.0": "/old", "1.27.0": "/new"}}
    (tmp_path / "lab.json").write_text(json.dumps(settings))
    found = load_context(tmp_path)
    assert (found.real_pods, found.visio_homes) == (True, {"1.26.0": Path("/old"), "1.27.0": Path("/new")})
