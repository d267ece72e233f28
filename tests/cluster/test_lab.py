"""The laboratory itself: labs side by side, nothing left behind, and one line for what is missing."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from visio_lab import debian, go_build, tools
from visio_lab import lab as labs
from visio_lab.handle import Lab
from visio_operator.cli import lab as lab_commands

COMMAND = str(Path(sys.executable).with_name("visio-operator"))
READY_WITHIN_S = 120


@pytest.fixture
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place of its own for labs, so that the labs of the user and of other tests are out of sight."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    yield tmp_path / "state"
    for each in labs.status():
        labs.down(each.directory)


def visio(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, timeout=READY_WITHIN_S, check=False)


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([COMMAND, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def processes_of(directory: Path) -> set[int]:
    """Processes that name the lab's directory in their command line, wherever they run."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(directory) in (entry / "cmdline").read_text():
                found.add(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


def eventually(question: Callable[[], bool], within_s: float = 10) -> None:
    deadline = time.monotonic() + within_s
    while not question():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def port_of(kubeconfig: Path) -> int:
    return int(yaml.safe_load(kubeconfig.read_text())["clusters"][0]["cluster"]["server"].rpartition(":")[2])


def test_two_labs_started_at_once_answer_side_by_side_and_leave_nothing(tmp_path: Path, state_home: Path) -> None:
    directories = [tmp_path / "one", tmp_path / "two"]
    starts = [start("lab", "up", "--dir", str(directory)) for directory in directories]
    for process, directory in zip(starts, directories, strict=True):
        output, errors = process.communicate(timeout=READY_WITHIN_S)
        assert process.returncode == 0, errors
        assert output.splitlines()[-1] == str(directory / "kubeconfig")

    ports = {port_of(directory / "kubeconfig") for directory in directories}
    assert len(ports) == 2
    for directory in directories:
        kubectl = [str(directory / "bin" / "kubectl"), f"--kubeconfig={directory / 'kubeconfig'}"]
        kubectl += ["get", "nodes", f"--cache-dir={tmp_path / 'kubectl'}", "--no-headers"]
        nodes = subprocess.run(kubectl, capture_output=True, text=True, check=True).stdout.splitlines()
        assert len(nodes) >= 3
        assert all(" Ready " in node for node in nodes)

    listed = json.loads(visio("lab", "status", "-o", "json").stdout)
    assert {(each["directory"], each["ready"]) for each in listed} == {(str(each), True) for each in directories}

    refused = visio("lab", "down")
    assert refused.returncode == 2
    assert all(str(directory) in refused.stderr for directory in directories)
    assert "--dir" in refused.stderr

    assert visio("lab", "down", "--dir", str(directories[0])).returncode == 0
    assert visio("lab", "down").returncode == 0, "the only lab left needs no --dir"
    for directory in directories:
        assert not directory.exists()
        assert processes_of(directory) == set()
    for port in ports:
        with socket.socket() as client:
            assert client.connect_ex(("127.0.0.1", port)) != 0
    assert list((state_home / "visio-operator" / "labs").iterdir()) == []


@pytest.mark.parametrize("phase", ["starting etcd and kube-apiserver", "starting kube-proxy and cluster DNS"])
def test_ctrl_c_during_the_start_leaves_nothing(tmp_path: Path, state_home: Path, phase: str) -> None:
    directory = tmp_path / "lab"
    process = start("lab", "up", "--dir", str(directory))

    def reached() -> bool:
        state = directory / "state.json"
        return process.poll() is not None or (state.exists() and phase in state.read_text())

    eventually(reached, READY_WITHIN_S)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == lab_commands.INTERRUPTED
    assert errors.splitlines()[-1] == "visio-operator lab up: interrupted, nothing is left behind"
    assert "Traceback" not in errors
    assert not directory.exists()
    assert processes_of(directory) == set()
    assert list((state_home / "visio-operator" / "labs").iterdir()) == []


def test_a_killed_start_leaves_no_process(tmp_path: Path, state_home: Path) -> None:
    directory = tmp_path / "lab"
    process = start("lab", "up", "--dir", str(directory))
    eventually(
        lambda: "etcd" in (directory / "state.json").read_text() if (directory / "state.json").exists() else False
    )
    process.kill()
    process.communicate()
    eventually(lambda: processes_of(directory) == set())
    assert [each.alive for each in labs.status()] == [False]
    assert visio("lab", "down").returncode == 0
    assert not directory.exists()


@pytest.mark.parametrize("victim", ["launcher", "supervisor", "etcd"])
def test_a_lab_that_loses_a_process_ends_whole_and_says_so(tmp_path: Path, state_home: Path, victim: str) -> None:
    directory = tmp_path / "lab"
    labs.up(directory)
    if victim == "etcd":
        processes = [pid for pid in processes_of(directory) if Path(f"/proc/{pid}/exe").resolve().name == "etcd"]
    else:
        processes = [json.loads((directory / "process.json").read_text())[victim]["pid"]]
    for pid in processes:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: processes_of(directory) == set() and not labs.status(directory)[0].alive)
    (found,) = labs.status()
    assert not found.ready
    if victim == "etcd":
        assert found.phase == "failed"
        assert found.failure is not None
        assert found.failure.startswith("etcd ended with code -9")
        assert "etcd ended with code -9" in (directory / "logs" / "lab.log").read_text()
    labs.down(directory)
    assert not directory.exists()


def test_a_program_inside_sees_the_node_takes_signals_and_ends_with_the_lab(tmp_path: Path, state_home: Path) -> None:
    lab = labs.up(tmp_path / "lab")
    output = tmp_path / "output"
    inside = lab.enter(["sh", "-c", 'ip -o addr show; pwd; echo "$WORD"'], env={"WORD": "hello"}, log=output)
    assert inside.wait(timeout=20) == 0
    assert "192.168.250.1/32" in output.read_text()
    assert output.read_text().splitlines()[-2:] == [str(Path.cwd()), "hello"]

    gentle = lab.enter(["sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.05; done"])
    time.sleep(0.3)
    gentle.terminate()
    assert gentle.wait(timeout=5) == 7

    long = lab.enter(["sleep", "600"])
    labs.down(lab.directory)
    assert long.wait(timeout=5) != 0


def test_every_request_of_a_service_account_is_in_the_audit_log(lab: Lab) -> None:
    lab.kubectl("create", "namespace", "audited")
    lab.kubectl("create", "serviceaccount", "visitor", "--namespace=audited")
    kubeconfig = lab.service_account_kubeconfig("audited", "visitor")
    asked = lab.enter(["kubectl", f"--kubeconfig={kubeconfig}", "get", "configmaps"], stderr=subprocess.PIPE)
    _, complaint = asked.communicate(timeout=30)
    assert b"forbidden" in complaint, "RBAC is on"

    events = [json.loads(line) for line in lab.audit_log.read_text().splitlines()]
    requests = [each for each in events if each["user"]["username"] == "system:serviceaccount:audited:visitor"]
    assert [each["objectRef"]["resource"] for each in requests if "objectRef" in each] == ["configmaps"]
    assert {each["stage"] for each in events} <= {"ResponseStarted", "ResponseComplete", "Panic"}
    assert {each["level"] for each in events} == {"Metadata"}
    lab.kubectl("delete", "namespace", "audited", "--wait=false")


def test_a_directory_with_something_in_it_is_refused_and_kept(tmp_path: Path, state_home: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("precious")
    for command in ("up", "down", "status"):
        refused = visio("lab", command, "--dir", str(tmp_path / "mine"))
        assert refused.returncode == 2
        assert len(refused.stderr.splitlines()) == 1
    assert (tmp_path / "mine" / "file").read_text() == "precious"


def test_down_and_status_without_a_lab_say_so(state_home: Path) -> None:
    for command in ("down", "status"):
        result = visio("lab", command)
        assert (result.returncode, result.stdout) == (0, "no lab is up\n")


@pytest.mark.parametrize("missing", ["go", "nft"])
def test_a_missing_dependency_is_one_line_and_exit_code_2(
    tmp_path: Path,
    state_home: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    needed = ["unshare", "nsenter", "mount", "true"]
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in needed:
        found = debian.find_program(name)
        assert found is not None
        (programs / name).symlink_to(found)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setattr(debian, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if missing == "go":
        monkeypatch.setattr(go_build.sys, "executable", str(tmp_path / "python"))  # type: ignore[attr-defined]
    else:
        monkeypatch.setattr(tools, "TOOLS", ())
    monkeypatch.setattr(lab_commands.signal, "signal", lambda *_: None)  # type: ignore[attr-defined]
    code = lab_commands.up(argparse.Namespace(dir=None, pods="control", visio_source=[], livekit=[]))
    complaint = [line for line in capsys.readouterr().err.splitlines() if line.startswith("visio-operator")]
    assert code == 2
    assert len(complaint) == 1
    assert ("Go" if missing == "go" else "nft") in complaint[0]
    assert not labs.labs_root().exists()


@pytest.mark.parametrize(
    ("pods", "problem"),
    [("control", "only a lab with real pods runs Visio: add --pods real"), ("real", "not a checkout of Visio")],
)
def test_a_source_that_cannot_run_is_refused_before_anything_starts(
    pods: str, problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab_commands.signal, "signal", lambda *_: None)  # type: ignore[attr-defined]
    arguments = argparse.Namespace(dir=tmp_path / "lab", pods=pods, visio_source=[tmp_path], livekit=[])
    assert lab_commands.up(arguments) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "lab").exists()
