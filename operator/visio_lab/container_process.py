"""One container of a process pod: its process, its restarts, its probes, and its status as the API server shows it."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from visio_lab import postgres
from visio_lab.context import LabContext
from visio_lab.probes import Prober, succeeds
from visio_lab.programs import stop_signal
from visio_lab.sandbox import Sandbox
from visio_lab.tools import cache_root
from visio_lab.volumes import Mount

Json = dict[str, Any]

JOINED = ("--mount", "--net", "--uts", "--ipc", "--pid", "--root")
MESSAGE_BYTES, LOG_MESSAGE_BYTES, LOG_MESSAGE_LINES = 4096, 2048, 80
"""The kubelet's own limits of a termination message."""
FALLBACK = "FallbackToLogsOnError"
FIRST_BACK_OFF_S, LONGEST_BACK_OFF_S = 0.5, 10.0
STEADY_S = 10.0
"""A container that ran this long starts its next restart without a longer wait."""
SETTLE_S = 1.0


def now() -> str:
    """This moment as the API server writes times."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Launch:
    """Everything that one start of a container's program needs."""

    argv: list[str]
    environment: dict[str, str]
    directory: str
    mounts: list[Mount]
    read_only: bool
    user: int = 0
    group: int = 0
    no_new_privileges: bool = False


@dataclass
class Container:
    """One container: what the pod asks for (`spec`) and what has become of it (`state`, in the API's own form)."""

    spec: Json
    changed: Callable[[], None]
    state: Json = field(default_factory=lambda: {"waiting": {"reason": "ContainerCreating"}})
    last_state: Json = field(default_factory=dict)
    restarts: int = 0
    prober: Prober | None = None
    outer_pid: int | None = None
    user: int = 0
    """As which it runs."""
    exit_code: int | None = None
    began: float = 0.0
    stopping: bool = False
    busy: bool = False
    """From the moment its program is being started until it has ended."""
    log: Path | None = None
    log_begin: int = 0
    """Where in the log, which outlives restarts, what this life of the program wrote begins."""
    previous_log: range | None = None
    """Bytes of the log that the life before wrote."""

    @property
    def name(self) -> str:
        """Its name in the pod."""
        return str(self.spec["name"])

    @property
    def is_sidecar(self) -> bool:
        """Whether it is an init container that keeps running beside the others."""
        return self.spec.get("restartPolicy") == "Always"

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return "running" in self.state

    @property
    def is_started(self) -> bool:
        """Whether it runs and its startup probe, if any, has succeeded."""
        return self.is_running and (self.prober is None or self.prober.started)

    @property
    def is_ready(self) -> bool:
        """Whether it runs and its readiness probe, if any, says yes."""
        return self.is_running and (self.prober is None or self.prober.ready)

    @property
    def has_succeeded(self) -> bool:
        """Whether its program has ended for good, without error."""
        return "terminated" in self.state and self.exit_code == 0

    @property
    def has_failed(self) -> bool:
        """Whether its program has ended with an error and not been started again."""
        return "terminated" in self.state and self.exit_code != 0

    def set_state(self, kind: str, **details: Any) -> None:
        """Enter a state of the API: waiting, running or terminated."""
        if "terminated" in self.state:
            self.last_state = self.state
        self.state = {kind: details}
        self.changed()

    def status(self) -> Json:
        """The entry for containerStatuses or initContainerStatuses."""
        return {
            "name": self.name,
            "image": self.spec.get("image", ""),
            "imageID": "",
            "ready": self.is_ready,
            "started": self.is_started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last_state,
        }

    def kill(self) -> None:
        """End the program at once and do not start it again."""
        self.stopping = True
        self.send(signal.SIGKILL)

    def send(self, number: int) -> None:
        """Send a signal to the program, if it runs."""
        if self.outer_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.outer_pid, number)


@dataclass(frozen=True)
class Runner:
    """Starts the containers of one pod inside its sandbox."""

    ctx: LabContext
    sandbox: Sandbox
    pod: Json
    pod_directory: Path

    async def run(self, container: Container, launch: Callable[[], Awaitable[Launch]], policy: str) -> None:
        """Run a container until it ends for good under the restart policy (Always, OnFailure, Never), or is stopped.

        `launch` says anew before each start how to start it, because Secrets may have changed meanwhile.
        """
        back_off = FIRST_BACK_OFF_S
        while True:
            container.began, started = time.monotonic(), now()
            code = await self._once(container, await launch())
            container.exit_code = code
            message = termination_message(container, termination_log(self.pod_directory, container.name), code)
            container.set_state(
                "terminated",
                exitCode=code,
                reason="Completed" if code == 0 else "Error",
                startedAt=started,
                finishedAt=now(),
                **({"message": message} if message else {}),
            )
            if container.stopping or policy == "Never" or (policy == "OnFailure" and code == 0):
                return
            back_off = FIRST_BACK_OFF_S if time.monotonic() - container.began > STEADY_S else back_off
            container.set_state("waiting", reason="CrashLoopBackOff", message=f"back-off {back_off:g} s")
            await asyncio.sleep(back_off)
            if container.stopping:
                return
            back_off = min(2 * back_off, LONGEST_BACK_OFF_S)
            container.restarts += 1

    async def _once(self, container: Container, launch: Launch) -> int:
        """One life of the program: returns its exit code, 128 + n when it died of signal n."""
        container.busy, container.user = True, launch.user
        process, pid_file = await self._spawn(container, launch)
        waiting = asyncio.create_task(process.wait())
        while not (pid_file.exists() and pid_file.read_text()) and not waiting.done():
            await asyncio.sleep(0.005)
        container.outer_pid = int(pid_file.read_text()) if pid_file.exists() else None
        container.prober = Prober(container.spec, self.sandbox.address, self.executor(container), container.changed)
        container.set_state("running", startedAt=now())
        probing = asyncio.create_task(self._probe(container))
        try:
            code = await waiting
        finally:
            probing.cancel()
            if process.returncode is None:
                process.kill()
            container.outer_pid = None
            container.busy = False
        return code if code >= 0 else 128 - code

    async def _spawn(self, container: Container, launch: Launch) -> tuple[Process, Path]:
        metadata = self.pod["metadata"]
        home = self.pod_directory / "containers" / container.name
        root, pid_file, file = home / "root", home / "pid", home / "container.json"
        root.mkdir(parents=True, exist_ok=True)
        pid_file.unlink(missing_ok=True)
        file.touch(mode=0o600)
        file.write_text(
            json.dumps(
                {
                    "root": str(root),
                    "pid_file": str(pid_file),
                    "hostname": metadata["name"][:63],
                    "mounts": [each.as_json() for each in launch.mounts],
                    "keep": kept_paths(self.ctx, launch.argv),
                    "read_only": launch.read_only,
                    "directory": launch.directory,
                    "argv": launch.argv,
                    "environment": launch.environment,
                    "user": launch.user,
                    "group": launch.group,
                    "no_new_privileges": launch.no_new_privileges,
                }
            )
        )
        logs = self.ctx.logs / "pods"
        logs.mkdir(parents=True, exist_ok=True)
        log = logs / f"{metadata['namespace']}_{metadata['name']}_{container.name}.log"
        termination_log(self.pod_directory, container.name).write_text("")
        with log.open("ab") as output:
            if container.log is not None:
                container.previous_log = range(container.log_begin, output.tell())
            container.log, container.log_begin = log, output.tell()
            process = await asyncio.create_subprocess_exec(
                *("nsenter", f"--net={self.sandbox.network_namespace}"),
                *("unshare", "--mount", "--uts", "--ipc", "--pid", "--fork", "--kill-child=SIGKILL"),
                *(self.ctx.python, "-S", "-E", str(Path(__file__).parent / "container_init.py"), str(file)),
                stdin=DEVNULL,
                stdout=output,
                stderr=output,
            )
        return process, pid_file

    async def _probe(self, container: Container) -> None:
        assert container.prober is not None
        reason = await container.prober.watch()
        container.last_state = {"terminated": {"exitCode": 137, "reason": "Error", "message": reason}}
        grace = float(self.pod["spec"].get("terminationGracePeriodSeconds") or 0)
        container.send(stop_signal(container.spec.get("image", "")))
        await asyncio.sleep(grace)
        container.send(signal.SIGKILL)

    def executor(self, container: Container) -> Callable[[Sequence[str]], Any]:
        """Runs commands inside the container, for exec probes and hooks."""

        async def execute(command: Sequence[str]) -> int:
            if container.outer_pid is None:
                return 1
            environment = {"PATH": search_path(self.ctx)}
            with contextlib.suppress(OSError):
                pairs = Path(f"/proc/{container.outer_pid}/environ").read_bytes().split(b"\0")
                environment |= dict(
                    pair.decode(errors="surrogateescape").split("=", 1) for pair in pairs if b"=" in pair
                )
            # A user of its own is a namespace of its own; the kernel refuses to enter the one that we are in.
            user = ("--user", "--preserve-credentials") if container.user else ()
            process = await asyncio.create_subprocess_exec(
                *("nsenter", f"--target={container.outer_pid}", *JOINED, *user),
                *("--", *command),
                stdin=DEVNULL,
                stdout=DEVNULL,
                stderr=DEVNULL,
                env=environment,
            )
            try:
                return await process.wait()
            finally:
                if process.returncode is None:
                    process.kill()

        return execute

    async def stop(self, container: Container, deadline: Callable[[], float]) -> None:
        """End a container: its preStop hook, SIGTERM, and SIGKILL when the monotonic `deadline` has passed."""
        container.stopping = True
        hook = (container.spec.get("lifecycle") or {}).get("preStop")
        if hook and container.is_running:
            left = max(0.0, deadline() - time.monotonic())
            await succeeds(hook, container.spec, self.sandbox.address, self.executor(container), left)
        asked = False
        while container.busy:
            # The first process of a container is deaf to SIGTERM until its program listens for it: give it that time.
            if not asked and time.monotonic() - container.began > SETTLE_S:
                container.send(stop_signal(container.spec.get("image", "")))
                asked = True
            if time.monotonic() >= deadline():
                container.send(signal.SIGKILL)
            await asyncio.sleep(0.02)


def search_path(ctx: LabContext) -> str:
    """Where a container's program is looked up: the lab's binaries, this package's commands, then the machine's."""
    own = f"{ctx.bin}:{Path(ctx.python).parent}:{postgres.PROGRAMS}"
    return f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def termination_log(pod_directory: Path, container: str) -> Path:
    """The file in which a container leaves its last words (terminationMessagePath)."""
    return pod_directory / "termination" / container


def termination_message(container: Container, file: Path, code: int) -> str:
    """A container's last words as its status shows them; where the pod asks for it, the log's end after a failure."""
    with contextlib.suppress(OSError):
        if text := file.read_bytes()[:MESSAGE_BYTES].decode(errors="replace"):
            return text
    if code == 0 or container.log is None or container.spec.get("terminationMessagePolicy") != FALLBACK:
        return ""
    written = container.log.read_bytes()[container.log_begin :][-LOG_MESSAGE_BYTES:].decode(errors="replace")
    return "".join(written.splitlines(keepends=True)[-LOG_MESSAGE_LINES:])


def kept_paths(ctx: LabContext, argv: Sequence[str] = ()) -> list[str]:
    """What programs need of the machine wherever a pod mounts its volumes: interpreter, this code, binaries, and the
    folder of a script that the command line names.
    """
    binaries = {str(each.resolve().parent) for each in ctx.bin.iterdir()}
    # The cache as a whole: an unpacked Debian program is a wrapper, and its libraries lie beside it.
    kept = {sys.prefix, sys.base_prefix, str(Path(__file__).parents[1]), str(ctx.bin), str(cache_root()), *binaries}
    kept |= {str(Path(word).parent) for word in argv if word.startswith("/") and word.endswith(".py")}
    return sorted((path for path in kept if Path(path).exists()), key=len)


def play(container: Container, *, ends: bool) -> None:
    """Play a container that has no program: an init container that `ends` is done, any other runs and is ready."""
    if ends:
        container.exit_code = 0
        container.set_state("terminated", exitCode=0, reason="Completed", startedAt=now(), finishedAt=now())
    else:
        container.set_state("running", startedAt=now())
