"""Finding, building and counting the lab's programs, without a real build."""

import hashlib
import io
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from visio_lab import debian, go_build, host_process, tools
from visio_lab.errors import LabError
from visio_lab.locks import locked
from visio_lab.progress import PLAIN_INTERVAL_S, PlainProgress, Progress, SilentProgress, Step
from visio_lab.tools import TOOLS, Estimate, Tool

HELM = next(tool for tool in TOOLS if tool.name == "helm")


class RecordedProgress:
    def __init__(self) -> None:
        self.steps: list[Step] = []

    def update(self, step: Step) -> None:
        self.steps.append(step)


def a_program(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


def a_go(path: Path, build: str) -> Path:
    """A stand-in of the go command which lists four packages and builds by the shell script `build` ($out is -o)."""
    return a_program(
        path,
        'if [ "$1" = list ]; then echo "go: downloading example.org/a v1.0.0" >&2; '
        "echo unsafe; echo a/b; echo a/c; echo example.org/helm; exit; fi\n"
        'while [ "$1" != -o ]; do shift; done; out=$2\n' + build,
    )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    return tmp_path / "cache" / "visio-operator" / "tools"


@pytest.fixture
def only_helm(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "TOOLS", (HELM,))


def use_go(monkeypatch: pytest.MonkeyPatch, go: Path) -> None:
    monkeypatch.setattr(go_build, "find_go", lambda: go)


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_a_tool_is_cached_under_the_digest_of_its_module(tool: Tool, cache: Path) -> None:
    module = tools.MODULES / tool.name
    sources = [*sorted(module.rglob("*.go")), *sorted(module.glob("*.json"))]
    files = [module / "go.mod", module / "go.sum", *sources]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
    assert tools.cached(tool) == cache / f"{tool.name}-{digest[:12]}"


@pytest.mark.parametrize("tool", TOOLS, ids=lambda tool: tool.name)
def test_every_program_of_our_own_beside_a_tool_is_built_with_it(tool: Tool) -> None:
    own = {file.parent.name for file in tool.module.glob("*/*.go") if "package main" in file.read_text().splitlines()}
    assert {tool.renamed.get(name, name) for name in own} <= set(tool.binaries)


def test_only_real_pods_need_the_programs_of_pods(cache: Path) -> None:
    for tool in TOOLS:
        if not tool.real_pods and not tool.asked_for:
            for binary in tool.binaries:
                a_program(tools.cached(tool) / binary, "")
    found = tools.ensure_tools(SilentProgress())
    assert "livekit-server" not in found
    assert "kube-apiserver" in found


def test_older_versions_are_left_out_until_somebody_asks_for_them(cache: Path) -> None:
    for tool in TOOLS:
        for binary in tool.binaries if not tool.asked_for else ():
            a_program(tools.cached(tool) / binary, "")
    assert "livekit-server-1.11.0" not in tools.ensure_tools(SilentProgress(), real_pods=True)

    [older] = [tool for tool in TOOLS if tool.name == "livekit-1.11.0"]
    a_program(tools.cached(older) / "livekit-server-1.11.0", "")
    found = tools.ensure_tools(SilentProgress(), further=["livekit-1.11.0"])
    assert found["livekit-server-1.11.0"].parent == tools.cached(older)
    assert "livekit-server" not in found


@pytest.mark.usefixtures("cache")
def test_a_version_that_nobody_builds_is_named() -> None:
    with pytest.raises(
        LabError, match=r"livekit-1\.10\.0: no such program; there is livekit-1\.11\.0, participants, keda"
    ) as refused:
        tools.ensure_tools(SilentProgress(), further=["livekit-1.10.0"])
    assert refused.value.exit_code == 2


def test_a_tool_asked_for_is_part_of_no_lab_and_built_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tools, "TOOLS", (Tool("helm", ("helm",), 1, asked_for=True),))
    use_go(monkeypatch, a_go(tmp_path / "go", 'cp "$0" "$out/helm"'))
    assert tools.ensure_tools(SilentProgress(), real_pods=True) == {}
    folder = tools.ensure_tool("helm", SilentProgress())
    assert os.access(folder / "helm", os.X_OK)
    use_go(monkeypatch, a_go(tmp_path / "go", "exit 1"))
    assert tools.ensure_tool("helm", SilentProgress()) == folder


@pytest.mark.usefixtures("only_helm")
def test_a_missing_tool_is_built_and_found_the_next_time(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_go(monkeypatch, a_go(tmp_path / "go", 'echo a/b; echo a/c; cp "$0" "$out/helm"'))
    progress = RecordedProgress()
    found = tools.ensure_tools(progress)
    assert os.access(found["helm"], os.X_OK)
    assert {step.state for step in progress.steps} >= {"waiting", "compiling", "done"}
    assert sorted(path.name for path in cache.iterdir()) == [found["helm"].parent.name, "helm.lock", "helm.log"]

    use_go(monkeypatch, a_go(tmp_path / "go", "exit 1"))
    assert tools.ensure_tools(SilentProgress()) == found


@pytest.mark.usefixtures("only_helm")
def test_a_program_with_another_built_name_gets_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tools, "TOOLS", (Tool("helm", ("helm",), 1, renamed={"v4": "helm"}),))
    use_go(monkeypatch, a_go(tmp_path / "go", 'cp "$0" "$out/v4"'))
    assert os.access(tools.ensure_tools(SilentProgress())["helm"], os.X_OK)


@pytest.mark.usefixtures("only_helm")
def test_a_failed_build_says_the_last_line_of_go_and_leaves_no_half_tool(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_go(monkeypatch, a_go(tmp_path / "go", 'cp "$0" "$out/helm"; echo "a.go:1: no such thing" >&2; exit 1'))
    with pytest.raises(LabError, match=r"building helm failed .*a\.go:1: no such thing") as raised:
        tools.ensure_tools(SilentProgress())
    assert raised.value.exit_code == 1
    assert sorted(path.name for path in cache.iterdir()) == ["helm.lock", "helm.log"]


@pytest.mark.usefixtures("only_helm")
def test_an_interrupted_build_ends_go_with_its_children_and_leaves_no_half_tool(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids = tmp_path / "pids"
    use_go(monkeypatch, a_go(tmp_path / "go", f'sleep 60 & echo $! $$ > {pids}; cp "$0" "$out/helm"; echo a/b; wait'))

    class Interrupt:
        def update(self, step: Step) -> None:
            if step.fraction:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tools.ensure_tools(Interrupt())
    assert sorted(path.name for path in cache.iterdir()) == ["helm.lock", "helm.log"]
    for pid in pids.read_text().split():
        identity = host_process.identify(int(pid))
        assert identity is None or host_process.wait_gone(identity, 5)


@pytest.mark.usefixtures("only_helm")
def test_what_a_killed_build_left_is_cleared_by_the_next_one(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tools.cached(HELM)
    (left.parent / f"{left.name}.abc" / "helm").mkdir(parents=True)
    left.mkdir()
    use_go(monkeypatch, a_go(tmp_path / "go", 'cp "$0" "$out/helm"'))
    tools.ensure_tools(SilentProgress())
    assert [path.name for path in cache.glob(f"{left.name}*")] == [left.name]


def test_without_go_the_error_is_one_line_with_exit_code_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match="needs Go") as raised:
        tools.ensure_tools(SilentProgress())
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


def test_the_toolchain_beside_python_goes_before_the_one_on_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    beside = a_program(tmp_path / "venv" / "go", "")
    on_path = a_program(tmp_path / "path" / "go", "")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "venv" / "python"))
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert go_build.find_go() == beside
    beside.unlink()
    assert go_build.find_go() == on_path


def test_assets_of_our_minor_release_are_taken_and_others_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    minor = tools.KUBERNETES.removeprefix("v").rpartition(".")[0]
    a_program(tmp_path / "kube-apiserver", f"echo Kubernetes v{minor}.0")
    a_program(tmp_path / "kubectl", "echo Client Version: v1.10.1")
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path))
    assert tools.from_assets() == {"kube-apiserver": tmp_path / "kube-apiserver"}


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("k8s.io/kubernetes/cmd/kube-apiserver", True),
        ("unsafe", True),
        ("gopkg.in/yaml.v3", True),
        ("go: downloading k8s.io/api v0.37.2", False),
        ("# k8s.io/api", False),
        ("pkg/a.go:12:3: undefined: x", False),
        ("", False),
    ],
)
def test_only_package_names_count_as_compiled(line: str, expected: bool) -> None:
    assert go_build.is_package_line(line) is expected


def test_a_build_is_not_done_before_it_is_linked() -> None:
    assert go_build.compiled_share(0, 100) == 0
    assert go_build.compiled_share(50, 100) == pytest.approx(go_build.COMPILED_SHARE / 2)
    assert go_build.compiled_share(120, 100) == go_build.COMPILED_SHARE < 1


def test_the_estimate_starts_from_measured_times_and_follows_the_pace() -> None:
    estimate = Estimate({"kubernetes": 400.0, "kwok": 100.0}, cores=tools.MEASURED_CORES)
    assert estimate.remaining_s() == 500
    assert Estimate({"kwok": 100.0}, cores=2 * tools.MEASURED_CORES).remaining_s() == 50
    estimate.advance("kubernetes", 0.5, spent_s=400)
    assert estimate.remaining_s() == pytest.approx(600), "200 s of work took 400 s, 300 s of it are left"
    estimate.advance("kubernetes", 1.0, spent_s=600)
    estimate.advance("kwok", 1.0, spent_s=700)
    assert estimate.remaining_s() == 0


def test_a_second_process_waits_for_the_lock_and_says_for_whom(tmp_path: Path) -> None:
    path = tmp_path / "tool.lock"
    holder = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, pathlib\nfrom visio_lab.locks import locked\n"
            "with locked(pathlib.Path(sys.argv[1]), print):\n print('held', flush=True)\n time.sleep(1)",
            str(path),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        waited: list[str] = []
        with locked(path, waited.append):
            assert set(waited) == {str(holder.pid)}


def test_the_lock_of_a_killed_process_is_free(tmp_path: Path) -> None:
    path = tmp_path / "tool.lock"
    program = "import os, pathlib, sys\nfrom visio_lab.locks import locked\n"
    program += "with locked(pathlib.Path(sys.argv[1]), print):\n os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", program, str(path)], check=False)
    waited: list[str] = []
    with locked(path, waited.append):
        assert waited == []


def test_plain_progress_says_each_state_once_and_then_only_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    stream = io.StringIO()
    progress: Progress = PlainProgress(stream)
    progress.update(Step("kwok", "compiling", 1, 0.1, 80, "99 of 989 packages"))
    progress.update(Step("kwok", "compiling", 2, 0.2, 70, "198 of 989 packages"))
    now += PLAIN_INTERVAL_S
    progress.update(Step("kwok", "compiling", 17, 0.3, 60, "297 of 989 packages"))
    progress.update(Step("kwok", "done", 95))
    progress.update(Step("kwok", "done", 95))
    assert stream.getvalue().splitlines() == [
        "kwok: compiling, 99 of 989 packages, 10%, after 0:01, about 1:20 left in all",
        "kwok: compiling, 297 of 989 packages, 30%, after 0:17, about 1:00 left in all",
        "kwok: done, after 1:35",
    ]


def test_a_program_of_the_system_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = {program: a_program(tmp_path / program, "") for program in debian.PACKAGES}
    monkeypatch.setenv("PATH", str(tmp_path))
    assert debian.ensure_programs(SilentProgress()) == own


def test_without_apt_a_missing_program_is_named_in_one_line_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(debian, "SYSTEM_FOLDERS", ())
    with pytest.raises(LabError, match="the lab needs nft: install the package nftables") as raised:
        debian.ensure_programs(SilentProgress())
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


def test_forbidden_namespaces_are_explained_in_one_line_with_exit_code_2(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in debian.UTIL_LINUX:
        a_program(tmp_path / name, "echo 'unshare: unshare failed: Operation not permitted' >&2; exit 1")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LabError, match=r"forbids .*Operation not permitted.*sysctls") as raised:
        debian.require_namespaces()
    assert raised.value.exit_code == 2
    assert "\n" not in str(raised.value)


def test_a_stranger_with_a_reused_process_id_is_not_taken_for_ours() -> None:
    ours = host_process.identify(os.getpid())
    assert ours is not None
    assert host_process.is_alive(ours)
    assert not host_process.is_alive(host_process.ProcessId(ours.pid, ours.started - 1))
