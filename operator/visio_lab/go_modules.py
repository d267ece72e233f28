"""Sources of Go modules: where the module cache has them, and copies with our changes for tools that need some.

A tool's `patches.json` lists the modules that it builds from a changed copy, and why; its go.mod replaces each of them
by that folder. Its `crds.json` lists the definitions of custom resources that come with modules, and other manifests.
"""

import json
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from visio_lab.errors import LabError

PATCHES = "patches.json"
CRDS = "crds.json"
DOWNLOAD_S = 600


@dataclass(frozen=True)
class Patch:
    """A module of which a changed copy is built; paths are relative to the module, those of `add` to the tool."""

    module: str
    version: str
    folder: str
    reason: str
    leave_out: tuple[str, ...] = ()
    add: Mapping[str, str] = field(default_factory=dict)
    insert: tuple[Mapping[str, str], ...] = ()


def patches(tool: Path) -> tuple[Patch, ...]:
    """The patches of the tool in this folder; none where it has no such file."""
    file = tool / PATCHES
    return tuple(Patch(**each) for each in json.loads(file.read_text())) if file.exists() else ()


def module_folder(go: Path, module: str, version: str, environment: Mapping[str, str]) -> Path:
    """Where the module cache has a module, which is downloaded if it is not there; LabError when that fails.

    `environment` is what Go runs with (proxies, caches). The checksum database vouches for what comes.
    """
    with tempfile.TemporaryDirectory(prefix="go-module.") as nowhere:
        argv = [str(go), "mod", "download", "-json", f"{module}@{version}"]
        done = subprocess.run(
            argv, cwd=nowhere, env=dict(environment), capture_output=True, text=True, timeout=DOWNLOAD_S, check=False
        )
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        answer = {"Error": done.stderr.strip()}
    if "Dir" not in answer:
        raise LabError(f"Go module {module}@{version} cannot be had: {answer.get('Error', 'no answer')[:300]}")
    return Path(answer["Dir"])


def patched(go: Path, tool: Path, target: Path, environment: Mapping[str, str]) -> Path:
    """The folder to build a tool in: its own, or a copy below `target` beside the changed modules.

    LabError when a module cannot be had, or when a line after which something is to be inserted is not there once.
    """
    wanted = patches(tool)
    if not wanted:
        return tool
    copy = target / tool.name
    shutil.copytree(tool, copy)
    for patch in wanted:
        source = module_folder(go, patch.module, patch.version, environment)
        _apply(patch, source, tool, copy / patch.folder)
    return copy


def _apply(patch: Patch, source: Path, tool: Path, target: Path) -> None:
    left_out = {str(source / each) for each in patch.leave_out}

    def ignored(folder: str, names: list[str]) -> set[str]:
        return {name for name in names if str(Path(folder) / name) in left_out}

    # The cache is read-only, so only contents are copied, and no permissions.
    shutil.copytree(source, target, ignore=ignored, copy_function=shutil.copyfile)
    for folder in (target, *(each for each in target.rglob("*") if each.is_dir())):
        folder.chmod(0o755)
    for place, file in patch.add.items():
        (target / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tool / file, target / place)
    for change in patch.insert:
        _insert(target / change["file"], change["after"], change["line"])


def _insert(file: Path, after: str, line: str) -> None:
    lines = file.read_text().splitlines()
    if lines.count(after) != 1:
        raise LabError(f"{file.name} of a patched module has {lines.count(after)} times the line {after.strip()!r}")
    place = lines.index(after) + 1
    file.write_text("\n".join([*lines[:place], line, *lines[place:]]) + "\n")


def copy_crds(go: Path, tool: Path, target: Path, environment: Mapping[str, str]) -> None:
    """Put the CRDs that the tool's `crds.json` names beside its programs, in folder `crds` or the one it names.

    Some lie in a chart, guarded by a condition of Helm's on a line of its own; that is left out.
    """
    wanted = tool / CRDS
    if not wanted.exists():
        return
    for each in json.loads(wanted.read_text()):
        folder = module_folder(go, each["module"], each["version"], environment) / each["folder"]
        copies = target / each.get("into", "crds")
        copies.mkdir(exist_ok=True)
        for file in sorted(file for pattern in each["files"] for file in folder.glob(pattern)):
            lines = (line for line in file.read_text().splitlines() if not line.startswith("{{"))
            (copies / file.name).write_text("\n".join(lines) + "\n")
