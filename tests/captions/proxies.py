"""The proxy as a process of its own, told by a file what DNS answers, and asked for its metrics."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from kyutai_servers import KEY, OPERATOR, STREAM, Server, free_port

HERE = Path(__file__).parent


class ProxyProcess:
    """A proxy whose Service has the given servers."""

    def __init__(self, folder: Path) -> None:
        self.service = folder / "addresses"
        self.port, self.metrics_port = free_port("127.0.0.1"), free_port("127.0.0.1")
        self.url = f"ws://127.0.0.1:{self.port}{STREAM}"
        self.pid = 0

    def serve_from(self, *servers: Server) -> None:
        """What DNS answers from now on."""
        following = self.service.with_suffix(".new")
        following.write_text("\n".join(server.address for server in servers))
        following.replace(self.service)

    def value(self, name: str) -> float:
        """One of its metrics."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"visio_captions_{name} "))

    def cpu_s(self) -> float:
        """Seconds of processor time that it has used."""
        return cpu_s(self.pid)

    def most_memory_mib(self) -> float:
        """The most memory that it ever held."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, and end it with SIGKILL."""
        ports = ["--listen", f"127.0.0.1:{self.port}", "--metrics-listen", f"127.0.0.1:{self.metrics_port}"]
        with python("proxy_process.py", str(self.service), "--servers", "captions:8080", *ports) as process:
            self.pid = process.pid
            until(self._answers, 60)
            yield

    def _answers(self) -> bool:
        try:
            return self.value("streams") == 0
        except OSError:
            return False


def cpu_s(pid: int) -> float:
    """Seconds of processor time that a process has used."""
    used = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def python(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A script beside this one as a process, killed in the end."""
    environment = {**os.environ, "PYTHONPATH": str(OPERATOR), "KYUTAI_API_KEY": KEY}
    pipe = subprocess.PIPE
    argv = [sys.executable, str(HERE / script), *arguments]
    with subprocess.Popen(argv, env=environment, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(condition: Callable[[], bool], seconds: float) -> float:
    """Wait for something to become true; the seconds it took."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not happen in time"
        time.sleep(0.02)
    return time.monotonic() - began
