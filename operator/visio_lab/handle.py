"""The handle of one running lab."""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visio_lab import certificates, control_plane, host_process
from visio_lab.errors import LabError

TOKEN_DURATION = "24h"  # noqa: S105  (a duration)
ENTER_TIMEOUT_S = 10.0
JOINED = ("--user", "--net", "--mount", "--pid")


class EnteredProcess(subprocess.Popen[bytes]):
    """A program inside the lab. Signals go to the program and not to the `nsenter` that waits for it outside."""

    def send_signal(self, sig: int) -> None:
        """Send a signal to the program; nothing happens when it has ended."""
        if self.poll() is None and (program := host_process.first_child(self.pid, ENTER_TIMEOUT_S)):
            os.kill(program.pid, sig)


@dataclass(frozen=True)
class Lab:
    """One running lab, used from the host. Everything in it ends with it."""

    directory: Path
    supervisor_pid: int

    @property
    def kubeconfig(self) -> Path:
        """Administrator, for programs on the host."""
        return self.directory / "kubeconfig"

    @property
    def inner_kubeconfig(self) -> Path:
        """Administrator, for programs inside the lab."""
        return self.directory / "kubeconfig.inner"

    @property
    def audit_log(self) -> Path:
        """The API server's audit log: JSON lines at level Metadata."""
        return control_plane.audit_log(self.directory)

    @property
    def bin(self) -> Path:
        """Every program of the lab by its name."""
        return self.directory / "bin"

    def enter(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        log: Path | None = None,
        cwd: Path | None = None,
        **popen: Any,
    ) -> EnteredProcess:
        """Start a program inside the lab's namespaces; it ends with the lab at the latest.

        `env` replaces the environment of this process, `log` takes both of the program's outputs, `cwd` is the current
        directory if None. Everything else goes to `subprocess.Popen`.
        """
        environment = dict(os.environ if env is None else env)
        environment["PATH"] = f"{self.bin}:{environment.get('PATH', os.defpath)}:/usr/sbin:/sbin"
        # Joining a mount namespace leaves the program in its root folder.
        in_folder = ["sh", "-c", 'cd "$0" && exec "$@"', str(cwd or Path.cwd())]
        command = ["nsenter", f"--target={self.supervisor_pid}", *JOINED, "--preserve-credentials"]
        popen.setdefault("stdin", subprocess.DEVNULL)
        if log is None:
            return EnteredProcess([*command, *in_folder, *argv], env=environment, **popen)
        with log.open("ab") as output:
            return EnteredProcess(
                [*command, *in_folder, *argv], env=environment, stdout=output, stderr=subprocess.STDOUT, **popen
            )

    def kubectl(self, *arguments: str, input: str | None = None, check: bool = True) -> str:  # noqa: A002
        """Run kubectl as administrator and return what it printed; with `check`, LabError with its complaint."""
        # kubectl's own cache goes with the lab; the user's would keep an entry per lab for ever.
        own = [f"--kubeconfig={self.kubeconfig}", f"--cache-dir={self.directory / 'kubectl-cache'}"]
        result = subprocess.run(
            [str(self.bin / "kubectl"), *own, *arguments],
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if check and result.returncode:
            raise LabError(f"kubectl {' '.join(arguments)}: {result.stderr.strip()}")
        return result.stdout

    def kubectl_json(self, *arguments: str) -> Any:
        """What kubectl prints with `-o json`, parsed."""
        return json.loads(self.kubectl(*arguments, "-o", "json"))

    def service_account_kubeconfig(self, namespace: str, name: str) -> Path:
        """A kubeconfig of a ServiceAccount for programs inside the lab; its token lives for TOKEN_DURATION."""
        token = self.kubectl("create", "token", name, f"--namespace={namespace}", f"--duration={TOKEN_DURATION}")
        authority = (self.directory / "pki" / "ca.crt").read_bytes()
        folder = self.directory / "service-accounts"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / f"{namespace}.{name}.kubeconfig"
        path.unlink(missing_ok=True)
        content = certificates.kubeconfig_for_user(
            control_plane.INNER_SERVER, authority, {"token": token.strip()}, namespace
        )
        certificates.write_private(path, content)
        return path
