"""The programs of the control plane: where they are found, and when they must be built.

Looked for in this order: the folder that KUBEBUILDER_ASSETS names (kube-apiserver, etcd and kubectl, when they are of
the same minor release as ours), the user's cache, and else built from the Go module `tools/<tool>` of this package.
"""

import hashlib
import os
import subprocess
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from visio_lab.errors import LabError
from visio_lab.go_build import build_module, local_programs
from visio_lab.locks import locked
from visio_lab.progress import Progress, Step

MODULES = Path(__file__).parent / "tools"
MEASURED_CORES = 2
"""Processor cores of the machine on which `cold_build_s` was measured."""
TRUSTED_AFTER_S = 20.0
"""Estimated seconds of work after which the measured pace replaces the one of MEASURED_CORES."""


@dataclass(frozen=True)
class Tool:
    """One Go module with the programs it gives.

    `cold_build_s`: seconds of a build with empty caches on MEASURED_CORES cores. `renamed`: the names that `go build`
    chooses for programs (the last element of the import path) where that is not the program's own name. `real_pods`:
    needed only by a lab whose pods are all real processes. `asked_for`: left out unless it is named.
    """

    name: str
    binaries: tuple[str, ...]
    cold_build_s: float
    linker_flags: str = ""
    renamed: dict[str, str] = field(default_factory=dict)
    real_pods: bool = False
    asked_for: bool = False

    @property
    def module(self) -> Path:
        """The folder with go.mod and go.sum."""
        return MODULES / self.name


LIVEKIT_NAMES = {"server": "livekit-server", "egressstandin": "egress-standin"}
KUBERNETES = "v1.37.2"
ETCD = "v3.7.3"
TOOLS = (
    Tool("etcd", ("etcd",), 45, renamed={"server": "etcd", "v3": "etcd"}),
    Tool(
        "kubernetes",
        ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy", "kubectl"),
        420,
        # Without it the API server reports v0.0.0, which clients refuse or mistake for an old release.
        f"-X k8s.io/component-base/version.gitVersion={KUBERNETES}",
    ),
    Tool("kwok", ("kwok",), 90),
    Tool("helm", ("helm",), 130),
    Tool("coredns", ("coredns",), 160),
    Tool(
        "livekit",
        ("livekit-server", *(LIVEKIT_NAMES.get(each.name, each.name) for each in local_programs(MODULES / "livekit"))),
        85,
        renamed=LIVEKIT_NAMES,
        real_pods=True,
    ),
    # For upgrades: what releases of Visio up to 1.24 run in our ladder. No program of ours is built with it.
    Tool(
        "livekit-1.11.0",
        ("livekit-server-1.11.0",),
        65,
        renamed={"server": "livekit-server-1.11.0"},
        real_pods=True,
        asked_for=True,
    ),
    # For tests: people in LiveKit rooms who cost little, so that rooms can be many.
    Tool("participants", ("people",), 60, asked_for=True),
    Tool("versitygw", ("versitygw",), 65, real_pods=True),
    Tool("traefik", ("traefik",), 330, real_pods=True),
    Tool(
        "keda",
        ("keda-operator", "keda-adapter"),
        600,
        renamed={"operator": "keda-operator", "adapter": "keda-adapter"},
        asked_for=True,
    ),
)
ASSETS = {
    "kube-apiserver": (("--version",), KUBERNETES),
    "kubectl": (("version", "--client"), KUBERNETES),
    "etcd": (("--version",), ETCD),
}
"""What KUBEBUILDER_ASSETS may give, how to ask its version, and the release that it must agree with."""


def cache_root() -> Path:
    """The user's cache of this project."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "visio-operator"


def key(tool: Tool) -> str:
    """First 12 hex digits of the SHA-256 of go.mod, go.sum and the module's own files: same key, same source."""
    own = [*sorted(tool.module.rglob("*.go")), *sorted(tool.module.glob("*.json"))]
    digest = hashlib.sha256()
    for file in (tool.module / "go.mod", tool.module / "go.sum", *own):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def cached(tool: Tool) -> Path:
    """Folder of the tool's programs in the cache, whether or not they are there."""
    return cache_root() / "tools" / f"{tool.name}-{key(tool)}"


def is_built(tool: Tool) -> bool:
    """Whether every program of the tool is in the cache."""
    return all(os.access(cached(tool) / binary, os.X_OK) for binary in tool.binaries)


def ensure_tools(progress: Progress, *, real_pods: bool = False, further: Collection[str] = ()) -> dict[str, Path]:
    """The path of every program, built where missing; raises LabError when that is not possible.

    Programs that only `real_pods` need are left out without it, those of older versions unless `further` names them
    (such as `livekit-1.11.0`). Several processes may call this at once: one builds a tool, the others wait for it and
    show that they wait.
    """
    found = from_assets()
    unknown = set(further) - {tool.name for tool in TOOLS if tool.asked_for}
    if unknown:
        known = ", ".join(tool.name for tool in TOOLS if tool.asked_for)
        raise LabError(f"{', '.join(sorted(unknown))}: no such program; there is {known}", exit_code=2)
    wanted = [tool for tool in TOOLS if _is_wanted(tool, real_pods, further)]
    missing = [tool for tool in wanted if not set(tool.binaries) <= found.keys() and not is_built(tool)]
    _build_missing(missing, progress)
    built = {binary: cached(tool) / binary for tool in wanted for binary in tool.binaries}
    return built | found


def ensure_tool(name: str, progress: Progress) -> Path:
    """The folder of one tool's programs, built where missing; raises LabError when that is not possible."""
    tool = next(each for each in TOOLS if each.name == name)
    _build_missing([] if is_built(tool) else [tool], progress)
    return cached(tool)


def _build_missing(missing: Sequence[Tool], progress: Progress) -> None:
    estimate = Estimate({tool.name: tool.cold_build_s for tool in missing}, os.cpu_count() or MEASURED_CORES)
    for tool in missing:
        progress.update(Step(tool.name, "waiting", remaining_s=estimate.remaining_s()))
    for tool in missing:
        _ensure_built(tool, progress, estimate)


def _is_wanted(tool: Tool, real_pods: bool, further: Collection[str]) -> bool:
    return tool.name in further if tool.asked_for else real_pods or not tool.real_pods


def from_assets() -> dict[str, Path]:
    """Programs in KUBEBUILDER_ASSETS that are of our minor release; older ones would not serve our controllers."""
    folder = os.environ.get("KUBEBUILDER_ASSETS")
    if not folder:
        return {}
    found = {}
    for name, (arguments, release) in ASSETS.items():
        path = Path(folder) / name
        minor = release.removeprefix("v").rpartition(".")[0] + "."
        if os.access(path, os.X_OK) and minor in _output([str(path), *arguments]):
            found[name] = path
    return found


@dataclass
class Estimate:
    """How long everything still takes: measured times of `work` (seconds per tool), corrected by the pace so far."""

    work: dict[str, float]
    cores: int
    done: dict[str, float] = field(default_factory=dict)
    spent_s: float = 0.0

    def advance(self, name: str, fraction: float, spent_s: float) -> None:
        """Note that `fraction` (0 to 1) of a tool is built and that `spent_s` seconds went into all builds so far."""
        self.done[name] = max(fraction, self.done.get(name, 0.0))
        self.spent_s = spent_s

    def remaining_s(self) -> float:
        """Seconds until every tool is built."""
        done = sum(self.work[name] * fraction for name, fraction in self.done.items())
        pace = self.spent_s / done if done > TRUSTED_AFTER_S else MEASURED_CORES / self.cores
        return pace * (sum(self.work.values()) - done)


def _ensure_built(tool: Tool, progress: Progress, estimate: Estimate) -> None:
    before, started = estimate.spent_s, time.monotonic()

    def report(state: str, detail: str, fraction: float | None) -> None:
        elapsed = time.monotonic() - started
        estimate.advance(tool.name, fraction or 0.0, before + elapsed)
        progress.update(Step(tool.name, state, elapsed, fraction, estimate.remaining_s(), detail))

    def waiting(holder: str) -> None:
        progress.update(Step(tool.name, f"waiting for process {holder}, which builds it", time.monotonic() - started))

    target = cached(tool)
    with locked(target.parent / f"{tool.name}.lock", waiting):
        if not is_built(tool):
            build_module(
                tool.module,
                target,
                linker_flags=tool.linker_flags,
                renamed=tool.renamed,
                log=target.parent / f"{tool.name}.log",
                report=report,
            )
    report("done", "", 1.0)


def _output(argv: list[str]) -> str:
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=10, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
