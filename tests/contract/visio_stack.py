"""What Visio's programs need around them, on loopback: PostgreSQL, Redis, S3, OpenID Connect; and their own start."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rendered_environment import KEY_ID, SECRET, SECRETS
from visio_lab.visio_source import program

ROOT = Path(__file__).resolve().parents[2]
HOST = "visio.example.gouv.fr"
START_S = 120.0
"""Generous: a machine with other work starts a Python program in ten seconds."""


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.2):
        return True
    return False


def answers(url: str) -> bool:
    """Whether something speaks HTTP there, whatever it says."""
    try:
        urllib.request.urlopen(url, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def wait_until(done: Callable[[], object], what: str, process: subprocess.Popen[bytes] | None = None) -> None:
    end = time.monotonic() + START_S
    while not done():
        assert process is None or process.poll() is None, f"{what} ended with exit code {process and process.poll()}"
        assert time.monotonic() < end, f"{what} did not start in {START_S:.0f} s"
        time.sleep(0.05)


@dataclass
class Programs:
    """How each image's command is run: by the stand-ins, or by Visio itself where `home` says where it is."""

    folder: Path
    home: Path | None = None
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def argv(self, image: str, command: list[str]) -> list[str]:
        if self.home is not None and (argv := program(image, command, self.home, sys.executable)):
            return argv
        return [sys.executable, "-m", f"visio_lab.standins.{image.removeprefix('meet-')}", *command]

    def environment(self, image: str, variables: Mapping[str, str], port: int) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        # Gunicorn's own configuration names the port of the image.
        ports = {"LAB_HTTP_PORT": str(port), "GUNICORN_CMD_ARGS": f"--bind=127.0.0.1:{port}"}
        return {**kept, "PYTHONPATH": str(ROOT / "operator"), **ports, **variables}

    def start(
        self, image: str, command: list[str], variables: Mapping[str, str], port: int = 0
    ) -> subprocess.Popen[bytes]:
        """Start a server or a worker; its output goes to a file of the session's folder."""
        name = f"{image}-{len(self.running)}"
        with (self.folder / f"{name}.log").open("wb") as log:
            process = subprocess.Popen(
                self.argv(image, command),
                env=self.environment(image, variables, port),
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        self.running.append(process)
        return process

    def run(self, image: str, command: list[str], variables: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.argv(image, command),
            env=self.environment(image, variables, 0),
            capture_output=True,
            text=True,
            timeout=START_S,
            check=False,
            cwd=self.folder,
        )

    def stop(self) -> None:
        for process in reversed(self.running):
            process.terminate()
        for process in self.running:
            try:
                # An agent would stay with its rooms, and a worker with its job.
                process.wait(3)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.running.clear()


@dataclass(frozen=True)
class Visio:
    """Where Visio answers, and the environments that it was started with."""

    backend: str
    summary: str
    programs: Programs
    backend_environment: dict[str, str]
    summary_environment: dict[str, str]


@dataclass(frozen=True)
class Services:
    """Ports of what the programs use."""

    postgres: int
    redis: int
    s3: int
    oidc: int

    def variables(self) -> dict[str, str]:
        """The addresses, in place of those that the operator renders for a cluster."""
        redis, oidc = f"redis://127.0.0.1:{self.redis}/1", f"http://127.0.0.1:{self.oidc}"
        return {
            "DB_HOST": "127.0.0.1",
            "DB_PORT": str(self.postgres),
            "REDIS_URL": redis,
            "CELERY_BROKER_URL": redis,
            "CELERY_RESULT_BACKEND": redis,
            "TASK_TRACKER_REDIS_URL": redis,
            "AWS_S3_ENDPOINT_URL": f"http://127.0.0.1:{self.s3}",
            "AWS_S3_SECURE_ACCESS": "False",
            "OIDC_OP_JWKS_ENDPOINT": f"{oidc}/jwks",
            "OIDC_OP_AUTHORIZATION_ENDPOINT": f"{oidc}/authorize",
            "OIDC_OP_TOKEN_ENDPOINT": f"{oidc}/token",
            "OIDC_OP_USER_ENDPOINT": f"{oidc}/userinfo",
        }


def lab_program(name: str) -> str:
    """A program of the lab: on PATH, or in the user's cache, built there where missing."""
    from visio_lab import debian, tools
    from visio_lab.progress import open_progress

    found = shutil.which(name)
    if found is not None:
        return found
    with open_progress() as progress:
        if name in debian.PACKAGES:
            return str(debian.ensure_programs(progress)[name])
        return str(tools.ensure_tools(progress, real_pods=True)[name])


@contextmanager
def services(folder: Path) -> Iterator[Services]:
    """PostgreSQL, Redis, an S3 store with the bucket, and the OpenID provider."""
    ports = Services(*(free_port() for _ in range(4)))
    programs, local = Programs(folder), {"PYTHONPATH": str(ROOT / "operator")}
    for name in ("s3/meet-media-storage", "attributes"):
        (folder / name).mkdir(parents=True)
    started = [
        (
            [
                *(sys.executable, "-m", "visio_lab.postgres", "postgres", "-p", str(ports.postgres)),
                *("-c", "listen_addresses=127.0.0.1", "-c", "fsync=off", "-c", f"unix_socket_directories={folder}"),
            ],
            {
                "PGDATA": str(folder / "pg"),
                "POSTGRES_USER": "meet",
                "POSTGRES_DB": "meet",
                "POSTGRES_PASSWORD": SECRETS["password"],
            },
        ),
        ([lab_program("redis-server"), "--port", str(ports.redis), "--save", "", "--bind", "127.0.0.1"], {}),
        (
            [
                *(lab_program("versitygw"), "--port", f"127.0.0.1:{ports.s3}", "--region", "us-east-1", "--quiet"),
                *("posix", "--sidecar", str(folder / "attributes"), str(folder / "s3")),
            ],
            {"ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": SECRET},
        ),
        (
            [sys.executable, "-m", "visio_lab.standins.oidc", "--port", str(ports.oidc)],
            {
                "OIDC_ISSUER": f"http://127.0.0.1:{ports.oidc}",
                "OIDC_CLIENTS": f'{{"visio": "{SECRETS["clientSecret"]}"}}',
            },
        ),
    ]
    try:
        for argv, variables in started:
            with (folder / f"{Path(argv[0]).name}-{len(programs.running)}.log").open("wb") as log:
                environment = {**os.environ, **local, **variables}
                programs.running.append(
                    subprocess.Popen(argv, env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder)
                )
        for port, process in zip((ports.postgres, ports.redis, ports.s3, ports.oidc), programs.running, strict=True):
            wait_until(lambda port=port: listens(port), f"port {port}", process)  # type: ignore[misc]
        yield ports
    finally:
        programs.stop()


async def eventually(ready: Callable[[], Any], what: str, seconds: float = 15.0) -> Any:
    """The first value of `ready` that is true, awaited."""
    end = asyncio.get_running_loop().time() + seconds
    while True:
        found = await ready()
        if found:
            return found
        assert asyncio.get_running_loop().time() < end, f"not in {seconds:.0f} s: {what}"
        await asyncio.sleep(0.1)
