"""Processes of a lab as the host sees them: found, told to end, and never mistaken for a stranger's."""

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

POLL_S = 0.02


@dataclass(frozen=True)
class ProcessId:
    """A process for good: an id is used again after a while, but never with the same start (clock ticks since boot)."""

    pid: int
    started: int


@dataclass(frozen=True)
class _Stat:
    state: str
    parent: int
    started: int


def identify(pid: int) -> ProcessId | None:
    """The identity of a living process, or None."""
    stat = _read_stat(pid)
    return ProcessId(pid, stat.started) if stat and stat.state not in "ZX" else None


def is_alive(process: ProcessId) -> bool:
    """Whether the process still runs. One that ended and was our own child is buried here."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(process.pid, os.WNOHANG)
    return identify(process.pid) == process


def children(pid: int) -> list[int]:
    """Ids of the processes whose parent is `pid`."""
    everyone = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    return [each for each in everyone if (stat := _read_stat(each)) and stat.parent == pid]


def first_child(pid: int, timeout_s: float) -> ProcessId | None:
    """The first child that `pid` gets within `timeout_s` seconds, or None when it gets none or ends before."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and identify(pid):
        for child in children(pid):
            if identity := identify(child):
                return identity
        time.sleep(POLL_S)
    return None


def end(process: ProcessId, grace_s: float) -> None:
    """Ask the process to end, and kill it when it still runs after `grace_s` seconds. Returns when it is gone."""
    _send(process, signal.SIGTERM)
    deadline = time.monotonic() + grace_s
    while is_alive(process):
        if time.monotonic() > deadline:
            _send(process, signal.SIGKILL)
        time.sleep(POLL_S)


def wait_gone(process: ProcessId, timeout_s: float) -> bool:
    """Whether the process is gone within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while is_alive(process):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _send(process: ProcessId, number: signal.Signals) -> None:
    if is_alive(process):
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _read_stat(pid: int) -> _Stat | None:
    """State, parent and start time from /proc/PID/stat (proc(5)); the name before them may contain anything."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return _Stat(state=fields[0], parent=int(fields[1]), started=int(fields[19]))
