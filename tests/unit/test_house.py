"""The rules of the house: what holds for every file of the project."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
LONGEST = 400
GENERATED = (
    "crds/",
    "docs/reference/",
    "charts/visio-operator/files/",
    "tests/golden/",
    "requirements.lock",
    ".ci/checkov.lock",
)
"""Written by programs, so their length says nothing about how readable the project is; so are the Go modules' sums."""
INDEXES = re.compile(
    "|".join(
        re.escape(".".join(labels))
        for labels in [
            ("pypi", "org"), ("pythonhosted", "org"), ("proxy", "golang", "org"), ("sum", "golang", "org"),
            ("deb", "debian", "org"), ("npmjs", "org"), ("crates", "io"),
        ]
    )
    + "|--(extra-)?index-url|--find-links"
)  # fmt: skip
MACHINE = re.compile(r"(?<![\w./*-])/(root|home/\w+|opt/wheels|work)/")


def committed() -> list[Path]:
    """Every file that git has or would take."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [path for line in listed.splitlines() if (path := ROOT / line).is_file()]


def text_of(path: Path) -> str:
    return path.read_bytes().decode("utf-8", "replace")


def packages() -> list[Path]:
    return sorted(path for path in (ROOT / "operator").rglob("__init__.py"))


def test_the_source_root_is_no_package() -> None:
    """As one it would shadow the standard library's module `operator` for whoever runs Python in the root."""
    assert not (ROOT / "operator" / "__init__.py").exists()


def test_the_image_has_every_package_but_the_laboratory() -> None:
    copied = set(re.findall(r"^COPY operator/(\w+) /app/\1$", text_of(ROOT / "Dockerfile"), re.MULTILINE))
    assert copied == {path.parent.name for path in (ROOT / "operator").glob("*/__init__.py")} - {"visio_lab"}


def test_no_file_is_longer_than_can_be_read_at_once() -> None:
    lengths = {
        str(name): text_of(path).count("\n")
        for path in committed()
        if not str(name := path.relative_to(ROOT)).startswith(GENERATED) and path.name != "go.sum"
    }
    assert {name: length for name, length in lengths.items() if length > LONGEST} == {}


@pytest.mark.parametrize("pattern, what", [(INDEXES, "a package index"), (MACHINE, "a path of one machine")])
def test_no_file_names(pattern: re.Pattern[str], what: str) -> None:
    own = Path(__file__)
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in committed()
        if path != own and path.name not in ("go.sum", "go.mod")
        for number, line in enumerate(text_of(path).splitlines(), 1)
        if pattern.search(line)
    ]
    assert found == [], f"{what} is named"


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    commands = re.findall(r'^step "Tests" (.+)$', text_of(ROOT / ".ci" / "run"), re.MULTILINE)
    assert commands == ["uv run pytest"]
    assert commands[0] in text_of(ROOT / "README.md")


def test_every_command_of_the_readme_exists() -> None:
    from visio_operator.cli import COMMANDS

    named = set(re.findall(r"\bvisio-operator ([a-z][a-z-]+)(?= |$|`)", "\n".join(code_of(ROOT / "README.md"))))
    assert named <= {command.name for command in COMMANDS}


def code_of(path: Path) -> list[str]:
    """The lines of a page's code blocks that start a program."""
    blocks = re.findall(r"^```[a-z]*\n(.*?)^```", text_of(path), re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if re.match(r"\s*(uv run )?visio-operator ", line)]


def test_every_package_says_what_it_is_for() -> None:
    short = [
        str(path.relative_to(ROOT))
        for path in packages()
        if len((ast.get_docstring(ast.parse(text_of(path))) or "").split()) < 5
    ]
    assert short == []


def test_the_lock_with_index_addresses_is_not_committed() -> None:
    assert ROOT / "uv.lock" not in committed()
