"""The servers that the contract suite is held against."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from kyutai_servers import Server, Start, running


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "program" in metafunc.fixturenames:
        real = metafunc.config.getoption("--moshi-server")
        programs = [None, *([real] if real else [])]
        names = ["stand-in", "moshi-server"][: len(programs)]
        metafunc.parametrize("program", programs, ids=names, scope="session")


@pytest.fixture(scope="session")
def shared_server(program: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server of two slots for all tests that leave it as it was."""
    with running(tmp_path_factory.mktemp("kyutai"), 2, program) as server:
        yield server


@pytest.fixture
def start(program: Path | None, tmp_path: Path) -> Iterator[Start]:
    """Starts a server with so many slots, for a test that ends it."""
    with ExitStack() as stack:
        yield lambda slots: stack.enter_context(running(tmp_path, slots, program))
