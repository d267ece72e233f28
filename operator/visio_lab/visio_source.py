"""Visio's own programs from checkouts of suitenumerique/meet, in place of their stand-ins (`--visio-source DIR`).

There may be a checkout for each of several releases: an image's tag says whose programs run, so that an upgrade changes
them. What is needed of a checkout is copied into the cache and set up there once: an environment from PyPI for each of
backend, summary and agents, and the front end by Node's npm. Nothing of it is part of this project.
Visio asks for a newer Python than 3.11, on which its programs run all the same, given the one function of 3.13 that
they call; their dependencies are those that they name, with kombu as they lock it.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from visio_lab.errors import LabError
from visio_lab.locks import locked
from visio_lab.progress import Progress, Step
from visio_lab.tools import cache_root

PROGRAMS = {"meet-backend": "backend", "meet-summary": "summary", "meet-agents": "agents"}
"""Image repository to the folder of its source below `src`."""
FURTHER = {"agents": ("httpx",)}
"""What a program imports and does not name."""
NEEDED = ("uv", "npm", "npx", "ffmpeg", "ffprobe")
"""Programs of the system: some set Visio up, its transcription workers call the others."""
NEWER_PYTHON = (
    'import mimetypes; mimetypes.guess_file_type = getattr(mimetypes, "guess_file_type", mimetypes.guess_type)\n'
)
"""A path configuration file, which Python runs at its start: `guess_file_type` is new in 3.13."""
LEFT_OUT = shutil.ignore_patterns("node_modules", "dist", "__pycache__", ".venv", "tests")
GUNICORN = Path("docker", "files", "usr", "local", "etc", "gunicorn", "meet.py")
STATIC_FILES = "DJANGO_STORAGES_STATICFILES_BACKEND=django.contrib.staticfiles.storage.StaticFilesStorage"
"""Visio collects static files into a fixed folder of its image; without them the administration lacks its looks."""
DONE = "complete"
PAGES = "/usr/share/nginx/html"
"""Where the front end's image has the pages and scripts that nginx serves."""


def prepared(source: Path) -> Path:
    """The folder in the cache that holds the checkout's programs, whether or not it is there yet.

    Raises LabError when `source` is no checkout of Visio.
    """
    version_of(source)
    return cache_root() / "visio-source" / _digest(source)


def version_of(source: Path) -> str:
    """The release that a checkout holds, by its own word. Raises LabError when it is no checkout of Visio."""
    for needed in ("src/backend/manage.py", "src/backend/pyproject.toml"):
        if not (source / needed).is_file():
            raise LabError(
                f"--visio-source {source}: not a checkout of Visio (suitenumerique/meet): it lacks {needed}; name the "
                "folder that `git archive TAG | tar x` filled",
                exit_code=2,
            )
    told = tomllib.loads((source / "src" / "backend" / "pyproject.toml").read_text()).get("project", {}).get("version")
    if not (isinstance(told, str) and re.fullmatch(r"\d+\.\d+\.\d+", told)):
        raise LabError(
            f"--visio-source {source}: src/backend/pyproject.toml names no release but {told}: name that of a tag",
            exit_code=2,
        )
    return told


def checkouts(sources: Sequence[Path]) -> dict[str, Path]:
    """The checkouts by the release that each holds, the oldest first.

    Raises LabError for a folder that is no checkout of Visio, and for two of one release.
    """
    found: dict[str, Path] = {}
    for source in sources:
        version = version_of(source)
        if version in found:
            raise LabError(
                f"--visio-source {found[version]} and {source}: both hold Visio {version}: name one of them",
                exit_code=2,
            )
        found[version] = source
    return dict(sorted(found.items(), key=lambda item: _order(item[0])))


def home_for(image: str, homes: Mapping[str, Path]) -> Path | None:
    """Where the programs of an image are: of the release that its tag names, else of the nearest one before it.

    `homes` are folders of `prepare` by release, from the oldest on. Before the first one there is only that, and a tag
    that names no release gets the newest.
    """
    if not homes:
        return None
    tag = re.fullmatch(r"v?(\d+\.\d+\.\d+)", image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[2])
    if tag is None:
        return list(homes.values())[-1]
    reached = [home for version, home in homes.items() if _order(version) <= _order(tag[1])]
    return reached[-1] if reached else next(iter(homes.values()))


def prepare(source: Path, progress: Progress) -> Path:
    """Set the checkout's programs up, once for its content; returns their folder. Raises LabError."""
    target, called = prepared(source), f"visio {version_of(source)}"
    if missing := [name for name in NEEDED if shutil.which(name) is None]:
        raise LabError(f"--visio-source needs {', '.join(missing)}, which this system has not; install it", exit_code=2)

    def waiting(holder: str) -> None:
        progress.update(Step(called, f"waiting for process {holder}, which sets it up"))

    with locked(target.parent / f"{target.name}.lock", waiting):
        if not (target / DONE).exists():
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            steps = [*PROGRAMS.values(), "frontend"]
            for index, name in enumerate(steps):
                progress.update(Step(called, f"setting up {name}", fraction=index / len(steps)))
                shutil.copytree(source / "src" / name, target / name, ignore=LEFT_OUT)
                if name == "frontend":
                    _build_frontend(target)
                else:
                    _install(source, target, name)
            _complete_backend(source, target)
            (target / DONE).touch()
    progress.update(Step(called, "done"))
    return target


def program(image: str, words: Sequence[str], home: Path, python: str) -> list[str] | None:
    """How Visio's own program is started for an image's command line; None for images that are not Visio's.

    `home`: what `prepare` gave; `python`: the interpreter that serves the front end's files in place of nginx, from
    where its image has them (`files`).
    """
    if image == "meet-frontend":
        return [python, "-m", "visio_lab.standins.frontend", *words, "--pages", PAGES]
    if image not in PROGRAMS:
        return None
    name = PROGRAMS[image]
    path = f"{home / 'venvs' / name / 'bin'}:/usr/local/bin:/usr/bin:/bin"
    variables = [f"PATH={path}", "PYTHONDONTWRITEBYTECODE=1"]
    if name == "backend":
        variables.append(STATIC_FILES)
    argv = [str(home / "gunicorn.py") if word.endswith("/gunicorn/meet.py") else word for word in words]
    if image == "meet-agents" and not argv:
        argv = ["python", "multi_user_transcriber.py", "start"]
    # The lab's own code has no place in the search path of a program that is not ours.
    return ["env", "-u", "PYTHONPATH", "-C", str(home / name), *variables, *argv]


def files(image: str, home: Path) -> dict[str, Path]:
    """What a container sees of its image besides programs: paths in the image to what lies there."""
    return {PAGES: home / "frontend" / "dist"} if image == "meet-frontend" else {}


def _order(version: str) -> tuple[int, ...]:
    """As in visio_operator.api.releases, which takes seconds to import."""
    return tuple(int(number) for number in version.split("."))


@cache
def _digest(source: Path) -> str:
    """Twelve digits that change with any file that is used."""
    digest = hashlib.sha256(sys.version.encode())
    for name in (*PROGRAMS.values(), "frontend"):
        root = source / "src" / name
        for folder, folders, files in os.walk(root):
            folders[:] = sorted(set(folders) - {"node_modules", "dist", "__pycache__", ".venv", "tests"})
            for file in sorted(files):
                path = Path(folder, file)
                digest.update(str(path.relative_to(source)).encode())
                digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:12]


def _install(source: Path, target: Path, name: str) -> None:
    """An environment with the dependencies that a program names."""
    project = tomllib.loads((source / "src" / name / "pyproject.toml").read_text())["project"]
    venv = target / "venvs" / name
    _run(["uv", "venv", "--quiet", "--python", sys.executable, str(venv)], target)
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(_kombu(source))
        constraints.flush()
        wanted = [*project["dependencies"], *FURTHER.get(name, ())]
        _run(["uv", "pip", "install", "--quiet", "--python", str(venv), "-c", constraints.name, *wanted], target)
    (packages,) = (venv / "lib").glob("python*/site-packages")
    (packages / "newer_python.pth").write_text(NEWER_PYTHON)


def _kombu(source: Path) -> str:
    """Newer releases of kombu want another redis than Visio's programs name."""
    lock = source / "src" / "backend" / "uv.lock"
    packages = tomllib.loads(lock.read_text())["package"] if lock.is_file() else []
    return "".join(f"kombu=={one['version']}\n" for one in packages if one["name"] == "kombu")


def _complete_backend(source: Path, target: Path) -> None:
    """What the image adds to the source: gunicorn's configuration."""
    text = (source / GUNICORN).read_text().replace('python_path = "/app"', f'python_path = "{target / "backend"}"')
    (target / "gunicorn.py").write_text(text)


def _build_frontend(target: Path) -> None:
    folder = target / "frontend"
    for argv in (["npm", "ci", "--no-audit", "--no-fund"], ["npx", "panda", "codegen"], ["npx", "vite", "build"]):
        _run(argv, folder)
    shutil.rmtree(folder / "node_modules")


def _run(argv: list[str], folder: Path) -> None:
    done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
    if done.returncode:
        lines = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise LabError(f"{' '.join(argv[:3])} failed for Visio: {lines[-1][:300] if lines else 'it said nothing'}")
