"""Programs which the lab needs from the operating system, without root and without a change to the system.

A program on PATH is used as it is. Otherwise apt resolves and downloads its package and the libraries that this system
lacks, with a state directory of its own, and dpkg unpacks them into the user's cache.
"""

import os
import platform
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from visio_lab.errors import LabError
from visio_lab.locks import locked
from visio_lab.progress import Progress, Step
from visio_lab.tools import cache_root

PACKAGES = {"nft": "nftables", "redis-server": "redis-server", "ip": "iproute2"}
"""Debian's package of each program that can be unpacked."""
POD_PACKAGES = {"turnserver": "coturn"}
"""The same for programs that only real pods need; a lab without them plays those pods, and says so."""
UTIL_LINUX = ("unshare", "nsenter", "mount")
SYSTEM_FOLDERS = ("/usr/sbin", "/sbin")
"""Not on the PATH of a plain user, and Debian has nft and ip there."""
APT_TIMEOUT_S = 300
VERSION_ARGUMENT = {"nft": "--version", "redis-server": "--version", "ip": "-Version", "turnserver": "--version"}
NAMESPACES = ("--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""What `unshare` gives to a lab."""


def ensure_programs(progress: Progress, *, real_pods: bool = False) -> dict[str, Path]:
    """The path of every program of PACKAGES, unpacked where missing; raises LabError (exit code 2) if impossible.

    With `real_pods` also those of POD_PACKAGES that can be had.
    """
    found = {program: find_program(program) or _ensure_unpacked(program, progress) for program in PACKAGES}
    for program, package in POD_PACKAGES.items() if real_pods else ():
        try:
            found[program] = find_program(program) or _ensure_unpacked(program, progress)
        except LabError as error:
            progress.update(Step(package, f"left out, its pods are played: {error}"))
    return found


def find_program(name: str) -> Path | None:
    """Where the system has the program, or None."""
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *SYSTEM_FOLDERS])
    path = shutil.which(name, path=search)
    return Path(path) if path else None


def require_namespaces() -> None:
    """Raise LabError (exit code 2) unless this user may make the namespaces that a lab lives in."""
    missing = [name for name in UTIL_LINUX if find_program(name) is None]
    if missing:
        raise LabError(f"the lab needs {', '.join(missing)}: install the package util-linux", exit_code=2)
    probe = subprocess.run(["unshare", *NAMESPACES, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        raise LabError(
            f"this system forbids the lab's namespaces ({_last_line(probe.stderr)}): allow them with one of the "
            "sysctls kernel.unprivileged_userns_clone=1, kernel.apparmor_restrict_unprivileged_userns=0 or "
            "user.max_user_namespaces=10000; in a container, also unmask /proc",
            exit_code=2,
        )


def _ensure_unpacked(program: str, progress: Progress) -> Path:
    """The wrapper of an unpacked program, unpacked now if it is not there or no longer works."""
    package, started = _package(program), time.monotonic()
    folder = cache_root() / "debian" / f"{package}-{_system()}"
    wrapper = folder / "bin" / program

    def say(state: str) -> None:
        progress.update(Step(package, state, time.monotonic() - started))

    if _works(wrapper, program):
        return wrapper
    with locked(folder.parent / "lock", lambda holder: say(f"waiting for process {holder}, which unpacks packages")):
        if not _works(wrapper, program):
            say("downloading")
            _unpack(program, folder)
            if not _works(wrapper, program):
                raise LabError(
                    f"the lab needs {program}, and the one unpacked from package {package} does not run: install it",
                    exit_code=2,
                )
            say("done")
    return wrapper


def _package(program: str) -> str:
    return (PACKAGES | POD_PACKAGES)[program]


def _unpack(program: str, folder: Path) -> None:
    package = _package(program)
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise LabError(f"the lab needs {program}: install the package {package}", exit_code=2)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", dir=folder.parent) as scratch:
        partial = Path(scratch) / "unpacked"
        for archive in _download(package, Path(scratch)):
            _run(["dpkg", "-x", str(archive), str(partial)], program)
        # Written with the final path inside: the libraries are found there after the rename.
        _write_wrapper(partial, folder, program)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)


def _download(package: str, scratch: Path) -> list[Path]:
    """Archives of the package and of whatever it needs that this system has not installed."""
    for each in ("state/lists/partial", "cache/archives/partial"):
        (scratch / each).mkdir(parents=True)
    options = [
        f"Dir::State={scratch / 'state'}",
        f"Dir::State::status={Path('/var/lib/dpkg/status')}",
        f"Dir::Cache={scratch / 'cache'}",
        "Debug::NoLocking=1",
        # apt's own unprivileged user could not write into our cache.
        "APT::Sandbox::User=root",
        "APT::Install-Recommends=false",
    ]
    apt = ["apt-get", "-q", "-y", *(word for option in options for word in ("-o", option))]
    _run([*apt, "update"], package)
    _run([*apt, "install", "--download-only", package], package)
    return sorted((scratch / "cache" / "archives").glob("*.deb"))


def _write_wrapper(partial: Path, folder: Path, program: str) -> None:
    """A script which runs the unpacked program with the unpacked libraries."""
    binary = next((path for path in partial.glob(f"**/*bin/{program}") if path.is_file()), None)
    if binary is None:
        raise LabError(f"the package {_package(program)} has no program {program}: install it", exit_code=2)
    libraries = sorted({path.parent.relative_to(partial) for path in partial.glob("**/lib/**/*.so*")})
    search = ":".join(str(folder / each) for each in libraries)
    wrapper = partial / "bin" / program
    # Debian's merged /usr packages carry no /bin; older ones do.
    wrapper.parent.mkdir(exist_ok=True)
    target = folder / binary.relative_to(partial)
    wrapper.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{search}" exec "{target}" "$@"\n')
    wrapper.chmod(0o755)


def _works(path: Path, program: str) -> bool:
    try:
        argv = [str(path), VERSION_ARGUMENT[program]]
        return subprocess.run(argv, capture_output=True, timeout=30, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _run(argv: list[str], wanted: str) -> None:
    environment = os.environ | {"LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    try:
        result = subprocess.run(
            argv,
            capture_output=True,
            text=True,
            env=environment,
            stdin=subprocess.DEVNULL,
            timeout=APT_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"the lab needs {wanted}, and {argv[0]} did not end in {APT_TIMEOUT_S} s: install it") from None
    if result.returncode:
        raise LabError(
            f"the lab needs {wanted}, and {argv[0]} failed ({_last_line(result.stderr)}): install it", exit_code=2
        )


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1][:200] if lines else "it said nothing"


def _system() -> str:
    """The system's release and machine: programs of one do not run on another."""
    release = platform.freedesktop_os_release()
    return f"{release.get('ID', 'linux')}-{release.get('VERSION_ID', 'any')}-{platform.machine()}"
