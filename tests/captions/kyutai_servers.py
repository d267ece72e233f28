"""Speech-to-text servers as processes: the laboratory's stand-in, or Kyutai's own program with a tiny model."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import tomllib
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kyutai_tiny import shrink

from builders import a_deployment
from visio_operator.plan.secrets import captions_config

OPERATOR = Path(__file__).parents[2] / "operator"
KEY = "key-of-the-servers"
STREAM = "/api/asr-streaming"
STARTS_WITHIN_S = 60.0


@dataclass
class Server:
    """One running server."""

    process: subprocess.Popen[bytes]
    address: str

    @property
    def url(self) -> str:
        """Where its streams are opened."""
        return f"ws://{self.address}{STREAM}"

    def slots(self) -> tuple[int, int]:
        """Used and total slots, as it tells them."""
        with urllib.request.urlopen(f"http://{self.address}/api/modules_info", timeout=5) as answer:
            (module,) = json.load(answer)
        return int(module["used_slots"]), int(module["total_slots"])

    def kill(self) -> None:
        """SIGKILL, as a node's death or an expired grace."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """It stands still with all its connections open."""
        self.process.send_signal(signal.SIGSTOP)


Start = Callable[[int], Server]
"""Starts a server with so many slots; it is ended with the test."""


def configuration(folder: Path, slots: int, tiny: bool) -> Path:
    """The configuration that the operator renders, for so many slots; with a tiny model for the real program."""
    pieces = captions_config("main", a_deployment().with_captions(slots=slots).spec())
    document = tomllib.loads("".join(piece if isinstance(piece, str) else KEY for piece in pieces))
    for name in ("static_dir", "log_dir"):
        document[name] = str(folder / name)
        (folder / name).mkdir(exist_ok=True)
    if tiny:
        shrink(document, folder)
    file = folder / f"config-{slots}.toml"
    file.write_text("".join(_toml(document, ())))
    return file


@contextmanager
def running(
    folder: Path,
    slots: int,
    binary: Path | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    standin: Sequence[str] = ("-m", "visio_lab.standins.kyutai"),
) -> Iterator[Server]:
    """A server that answers; the stand-in unless a binary is given."""
    port = port or free_port(host)
    config = configuration(folder, slots, tiny=binary is not None)
    program = [str(binary)] if binary else [sys.executable, *standin]
    argv = [*program, "worker", "--config", str(config), "--addr", host, "--port", str(port)]
    with (folder / f"server-{host}-{port}.log").open("wb") as log:
        process = subprocess.Popen(
            [*argv, "--cpu"] if binary else argv,
            env={**os.environ, "PYTHONPATH": str(OPERATOR)}, stdout=log, stderr=subprocess.STDOUT,
        )  # fmt: skip
    server = Server(process, f"{host}:{port}")
    try:
        wait_for(server)
        yield server
    finally:
        process.kill()
        process.wait()


def wait_for(server: Server) -> None:
    """Wait until a server answers."""
    give_up = time.monotonic() + STARTS_WITHIN_S
    while True:
        assert server.process.poll() is None, "the server ended while it started"
        try:
            with urllib.request.urlopen(f"http://{server.address}/api/build_info", timeout=1):
                return
        except OSError:
            assert time.monotonic() < give_up, "the server did not start"
            time.sleep(0.05)


def free_port(host: str) -> int:
    """A port that nobody listens on."""
    with socket.create_server((host, 0)) as free:
        return int(free.getsockname()[1])


def _toml(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[str]:
    if path:
        yield f"[{'.'.join(path)}]\n"
    # JSON and TOML write texts, lists, booleans and numbers alike.
    yield from (f"{key} = {json.dumps(value)}\n" for key, value in table.items() if not isinstance(value, Mapping))
    for key, value in table.items():
        if isinstance(value, Mapping):
            yield from _toml(value, (*path, key))
