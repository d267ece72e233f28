"""The laboratory as its users hold it: start one, run programs inside, ask it, end it. All from the host's side."""

import contextlib
import json
import os
import secrets
import shutil
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from visio_lab import control_plane, host_process
from visio_lab.context import LeadTime
from visio_lab.debian import NAMESPACES, ensure_programs, require_namespaces
from visio_lab.errors import LabError
from visio_lab.handle import Lab
from visio_lab.host_process import ProcessId
from visio_lab.progress import Progress, SilentProgress, Step
from visio_lab.state import FAILED, LabState, read_state
from visio_lab.supervisor import RELEASE
from visio_lab.tools import ensure_tools
from visio_lab.visio_source import checkouts, prepare

__all__ = ["Lab", "LabError", "LabStatus", "attach", "down", "labs_root", "status", "up"]

Pods = Literal["control", "real"]

LISTENER_FD = 3
START_TIMEOUT_S = 180.0
END_GRACE_S = 5.0
POLL_S = 0.1


@dataclass(frozen=True)
class LabStatus:
    """One lab: `ready` and `phase` are its own words, `alive` is whether its first process still runs."""

    name: str
    directory: Path
    port: int
    pid: int | None
    age_s: float
    alive: bool
    ready: bool
    phase: str
    failure: str | None


def labs_root() -> Path:
    """Where labs live that were given no directory, and where links to the others are."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "visio-operator" / "labs"


def up(
    directory: Path | None = None,
    *,
    progress: Progress | None = None,
    lead_time: LeadTime | None = None,
    pods: Pods = "control",
    visio_sources: Sequence[Path] = (),
    livekit: Sequence[str] = (),
    hpa_sync_s: float | None = None,
) -> Lab:
    """Start a lab in `directory` (a fresh one if None) and return when everything in it answers.

    `pods`: which pods are real processes, those that the control of the platform needs or all. `visio_sources`:
    checkouts of Visio to run in place of the stand-ins, one for each of some releases, which makes sense with real pods
    only; the image's tag says which. `livekit`: older versions of livekit-server, such as 1.11.0, that pods of that
    very image run; they are built on first use. `hpa_sync_s`: seconds between two looks at a HorizontalPodAutoscaler,
    Kubernetes' own if None.
    Programs that are missing are built or unpacked first. Raises LabError; a lab that did not start leaves its
    directory with the logs, an interrupted start (any other exception) leaves nothing.
    """
    progress = progress or SilentProgress()
    if visio_sources and pods != "real":
        raise LabError("--visio-source: only a lab with real pods runs Visio: add --pods real", exit_code=2)
    visio = checkouts([source.resolve() for source in visio_sources])
    if livekit and pods != "real":
        raise LabError("--livekit: only a lab with real pods runs LiveKit: add --pods real", exit_code=2)
    require_namespaces()
    programs = ensure_tools(progress, real_pods=pods == "real", further=[f"livekit-{version}" for version in livekit])
    programs |= ensure_programs(progress, real_pods=pods == "real")
    homes = {version: prepare(source, progress) for version, source in visio.items()}
    directory, link = _make_directory(directory)
    try:
        with _listen() as listener:
            port = listener.getsockname()[1]
            settings: dict[str, object] = {"port": port, "created": time.time(), "pods": pods}
            settings["lead_time"] = asdict(lead_time or LeadTime())
            if homes:
                settings["visio_homes"] = {version: str(home) for version, home in homes.items()}
            if hpa_sync_s is not None:
                settings["hpa_sync_s"] = hpa_sync_s
            (directory / "lab.json").write_text(json.dumps(settings))
            control_plane.write_files(directory, port)
            (directory / "bin").mkdir()
            for name, path in programs.items():
                (directory / "bin" / name).symlink_to(path)
            with _started(directory, listener) as (supervisor, lifeline):
                _wait_ready(directory, supervisor, progress)
                os.write(lifeline, RELEASE)
    except LabError as error:
        note = f"; logs are in {directory / 'logs'}, `visio-operator lab down --dir {directory}` removes them"
        raise LabError(f"{error}{note}", exit_code=error.exit_code) from None
    except BaseException:
        _remove(directory, link)
        raise
    return attach(directory)


def add_livekit(lab: Lab, version: str, progress: Progress | None = None) -> None:
    """Give a running lab an older livekit-server, such as 1.11.0, for pods of that image; built on first use.

    Raises LabError.
    """
    name = f"livekit-server-{version}"
    programs = ensure_tools(progress or SilentProgress(), further=[f"livekit-{version}"])
    link = lab.directory / "bin" / name
    if not link.exists():
        link.symlink_to(programs[name])


def attach(directory: Path) -> Lab:
    """The handle of a running lab; LabError (exit code 2) when there is none in `directory`."""
    supervisor = _supervisor(_require_lab(directory))
    if supervisor is None:
        raise LabError(f"the lab in {directory} has ended: start one with `visio-operator lab up`", exit_code=2)
    return Lab(directory=directory.resolve(), supervisor_pid=supervisor.pid)


def status(directory: Path | None = None) -> list[LabStatus]:
    """Every known lab, or the one in `directory`, dead ones included, oldest first."""
    if directory is not None:
        return [_status(directory.name, _require_lab(directory))]
    root = labs_root()
    entries = sorted(root.iterdir()) if root.is_dir() else []
    found = [_status(entry.name, entry.resolve()) for entry in entries if (entry / "lab.json").exists()]
    return sorted(found, key=lambda each: -each.age_s)


def down(directory: Path) -> None:
    """End the lab in `directory` with every process in it and remove the directory; a dead lab is only removed."""
    directory = _require_lab(directory)
    if supervisor := _supervisor(directory):
        _end(directory, supervisor)
    _remove(directory, _link_to(directory))


def _make_directory(directory: Path | None) -> tuple[Path, Path | None]:
    """A new lab's directory, and the link by which it is found if it lies elsewhere."""
    root = labs_root()
    root.mkdir(parents=True, exist_ok=True)
    for entry in root.iterdir():
        if entry.is_symlink() and not entry.exists():
            # Its lab's directory was removed by hand.
            entry.unlink(missing_ok=True)
    name = f"lab-{secrets.token_hex(3)}"
    if directory is None:
        made = root / name
        made.mkdir(mode=0o700)
        return made, None
    directory = directory.resolve()
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        occupied = any(directory.iterdir())
    except OSError as error:
        raise LabError(f"--dir {directory}: {error.strerror}: name another directory", exit_code=2) from None
    if occupied:
        raise LabError(f"--dir {directory}: not empty: name a new directory for the lab", exit_code=2)
    link = root / name
    link.symlink_to(directory)
    return directory, link


def _listen() -> socket.socket:
    """A listening socket on a free port of the host's loopback. It stays in the host's network wherever it is used."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(128)
    return listener


@contextlib.contextmanager
def _started(directory: Path, listener: socket.socket) -> Iterator[tuple[ProcessId, int]]:
    """Start the lab's processes; give the supervisor and the life line; end them again if the body raises."""
    read_end, lifeline = os.pipe()
    log = str(directory / "logs" / "lab.log")
    argv = ["unshare", *NAMESPACES, sys.executable, "-m", "visio_lab.supervisor", f"--dir={directory}"]
    pid = os.posix_spawnp(
        "unshare",
        [*argv, f"--listener={LISTENER_FD}"],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, listener.fileno(), LISTENER_FD),
            (os.POSIX_SPAWN_DUP2, read_end, 0),
            (os.POSIX_SPAWN_OPEN, 1, log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        # A session of its own: Ctrl-C at the terminal ends `up`, and `up` ends the lab.
        setsid=True,
    )
    os.close(read_end)
    launcher = ProcessId(pid, 0)
    try:
        launcher = host_process.identify(pid) or launcher
        supervisor = host_process.first_child(pid, timeout_s=10)
        if supervisor is None:
            raise LabError(f"the lab's first process did not start: {_last_line(Path(log))}")
        processes = {"launcher": asdict(launcher), "supervisor": asdict(supervisor)}
        (directory / "process.json").write_text(json.dumps(processes))
        yield supervisor, lifeline
    except BaseException:
        for child in host_process.children(pid):
            if identity := host_process.identify(child):
                host_process.end(identity, END_GRACE_S)
        host_process.end(launcher, grace_s=0)
        raise
    finally:
        os.close(lifeline)


def _wait_ready(directory: Path, supervisor: ProcessId, progress: Progress) -> None:
    started = time.monotonic()
    while True:
        alive, state = host_process.is_alive(supervisor), read_state(directory)
        elapsed = time.monotonic() - started
        if state.ready:
            progress.update(Step("lab", "done", elapsed))
            return
        if not alive or state.failure:
            raise LabError(f"the lab did not start: {state.failure or _last_line(directory / 'logs' / 'lab.log')}")
        if elapsed > START_TIMEOUT_S:
            raise LabError(f"the lab did not start in {START_TIMEOUT_S:.0f} s: it is still {state.phase}")
        progress.update(Step("lab", state.phase, elapsed))
        time.sleep(POLL_S)


def _require_lab(directory: Path) -> Path:
    directory = directory.resolve()
    if not (directory / "lab.json").exists():
        raise LabError(f"no lab in {directory}: `visio-operator lab status` lists the labs", exit_code=2)
    return directory


def _processes(directory: Path) -> dict[str, ProcessId]:
    """Launcher and supervisor as written at the start; empty when the start did not get so far."""
    try:
        written = json.loads((directory / "process.json").read_text())
    except FileNotFoundError:
        return {}
    return {name: ProcessId(**each) for name, each in written.items()}


def _supervisor(directory: Path) -> ProcessId | None:
    """The lab's first process if it is alive."""
    supervisor = _processes(directory).get("supervisor")
    return supervisor if supervisor and host_process.is_alive(supervisor) else None


def _status(name: str, directory: Path) -> LabStatus:
    settings = json.loads((directory / "lab.json").read_text())
    supervisor, state = _supervisor(directory), read_state(directory)
    if supervisor is None and state.phase != FAILED:
        state = LabState("dead")
    return LabStatus(
        name=name,
        directory=directory,
        port=settings["port"],
        pid=supervisor.pid if supervisor else None,
        age_s=time.time() - settings["created"],
        alive=supervisor is not None,
        ready=state.ready and supervisor is not None,
        phase=state.phase,
        failure=state.failure,
    )


def _end(directory: Path, supervisor: ProcessId) -> None:
    """End the first process; the kernel then ends everything in its namespaces before the launcher sees it gone."""
    host_process.end(supervisor, END_GRACE_S)
    launcher = _processes(directory).get("launcher")
    if launcher and not host_process.wait_gone(launcher, END_GRACE_S):
        host_process.end(launcher, grace_s=0)


def _link_to(directory: Path) -> Path | None:
    root = labs_root()
    links = (entry for entry in root.iterdir() if entry.is_symlink()) if root.is_dir() else iter(())
    return next((link for link in links if link.resolve() == directory), None)


def _remove(directory: Path, link: Path | None) -> None:
    if link is not None:
        link.unlink(missing_ok=True)
    shutil.rmtree(directory, ignore_errors=True)


def _last_line(log: Path) -> str:
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1][:300] if lines else "its first process was killed and said nothing"
