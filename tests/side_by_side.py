"""The whole suite on two workers: what is pure runs two at a time, a laboratory has the machine nearly to itself.

Two laboratories side by side were tried on two cores: they took longer than one after the other, and tests of calls and
of seconds failed. Everything here is silent unless the whole suite runs: a few named files, or a run whose words
somebody reads (`-s`), have one process, as ever.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

WORKERS = 2
OF_THE_MACHINE = ("tests/captions/", "tests/cluster/", "tests/crd/")
"""Where the tests are that start many processes."""
FOLDER = pytest.StashKey[Any]()
"""Where the workers wait for each other."""


@pytest.hookimpl
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    whole = config.args_source is pytest.Config.ArgsSource.TESTPATHS
    return WORKERS if whole and config.option.capture != "no" else 0


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Build what the laboratories lack before the workers start, since their progress would be seen nowhere."""
    config = session.config
    if hasattr(config, "workerinput") or not config.option.tx or config.option.collectonly:
        return
    from visio_lab.progress import open_progress
    from visio_lab.tools import ensure_tools

    config.stash[FOLDER] = tempfile.TemporaryDirectory(prefix="visio-tests-")
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), open_progress() as progress:
        ensure_tools(progress, real_pods=True)


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    node.workerinput["turns"] = node.config.stash[FOLDER].name


def pytest_unconfigure(config: pytest.Config) -> None:
    if folder := config.stash.get(FOLDER, None):
        folder.cleanup()


class Apart(LoadScopeScheduling):
    """Hands out the tests that need a laboratory or the machine as one piece, and all others file by file."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "laboratories" if file.startswith(OF_THE_MACHINE) else file


@pytest.hookimpl(tryfirst=True, optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Apart:
    # In the order of collection: a mistake in what is pure explains failures on the cluster, so it is told first.
    config.option.loadscopereorder = False
    return Apart(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    folder = getattr(item.config, "workerinput", {}).get("turns")
    if not folder:
        return (yield)
    with turn(Path(folder), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the machine, with others or alone. Who waits to be alone lets nobody begin in between."""
    with (folder / "queue").open("w") as queue, (folder / "machine").open("w") as machine:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(machine, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        try:
            yield
        finally:
            # A child that a test left behind would hold it with its copy of the descriptor.
            fcntl.flock(machine, fcntl.LOCK_UN)
