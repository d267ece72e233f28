"""The whole suite on two workers: one has the laboratories, the other has the pure tests, at the lowest priority.

A laboratory waits for most of its time, and what it does not use is left to the pure tests. Two laboratories side by
side were tried on two cores: they took longer than one after the other, and tests of calls and of seconds failed.
Everything here is silent unless the whole suite runs: a few named files, or a run whose words somebody reads (`-s`),
have one process, as ever.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from functools import cache
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
    # In the order of collection, in which the laboratories are first: they take longest.
    config.option.loadscopereorder = False
    return Apart(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, Any, Any]:
    folder = getattr(item.config, "workerinput", {}).get("turns")
    if not folder:
        return (yield)
    if not item.nodeid.startswith(OF_THE_MACHINE):
        step_back()
    with turn(Path(folder), alone=item.get_closest_marker("alone") is not None):
        return (yield)


@cache
def step_back() -> None:
    """Leave the processors to whoever wants them, from now on: this worker has only pure tests."""
    # Linux shares processors between sessions first (sched(7), "The autogroup feature"), so that a priority counts for
    # little beside a laboratory, which is another session.
    with suppress(OSError):
        os.setsid()
        Path("/proc/self/autogroup").write_text("19")
    os.nice(19)


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
