"""Fixtures shared by all tests: one laboratory and one operator per session, a fresh namespace per test."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
_numbers = itertools.count(1)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite the golden files from what is rendered now")
    parser.addoption("--moshi-server", type=Path, help="also hold this binary of Kyutai's server to the contract suite")
    parser.addoption("--visio-source", type=Path, help="test Visio's own programs from this checkout, not stand-ins")
    parser.addoption(
        "--whole-morning", action="store_true", help="play three hours of meetings, not one, against simulate"
    )
    parser.addoption("--every-write", action="store_true", help="kill the operator after each write, not after a few")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests that need the real Visio are no part of the suite without it."""
    return True if collection_path.name == "e2e" and config.getoption("--visio-source") is None else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Pure tests first: a mistake there explains the failures on the cluster that follow from it.
    items.sort(key=lambda item: "/tests/unit/" not in str(item.path))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[object]:
    """A running laboratory, shared by the session; on a new machine it says how the building of its programs goes."""
    from visio_lab import lab as labs
    from visio_lab.progress import open_progress

    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), open_progress() as progress:
        running = labs.up(tmp_path_factory.mktemp("lab") / "shared", progress=progress)
    try:
        yield running
    finally:
        labs.down(running.directory)


@pytest.fixture(scope="session")
def _real_pods_lab(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[object]:
    from visio_lab import lab as labs
    from visio_lab.progress import open_progress

    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), open_progress() as progress:
        running = labs.up(
            tmp_path_factory.mktemp("lab") / "real",
            progress=progress,
            pods="real",
            visio_source=request.config.getoption("--visio-source"),
        )
    try:
        yield running
    finally:
        labs.down(running.directory)


@pytest.fixture(scope="session")
def real_operator(_real_pods_lab) -> Iterator[object]:  # type: ignore[no-untyped-def]
    """The operator of the real laboratory, which a test may stop and has to start again."""
    from visio_lab.operator_process import Restartable, install_operator

    install_operator(_real_pods_lab)
    operator = Restartable(_real_pods_lab)
    operator.start()
    yield operator
    operator.stop()


@pytest.fixture(scope="session")
def real_lab(_real_pods_lab, real_operator) -> object:  # type: ignore[no-untyped-def]
    """A laboratory in which every pod of the platform is a real process, with its front door and an operator."""
    return _real_pods_lab


@pytest.fixture(scope="session")
def operator_identity(lab) -> None:  # type: ignore[no-untyped-def]
    """CRDs, ServiceAccount and RBAC of the operator, installed from its chart."""
    from visio_lab.operator_process import install_operator

    install_operator(lab)


@pytest.fixture(scope="session")
def _operator_slot(lab, operator_identity) -> Iterator[dict[str, object]]:  # type: ignore[no-untyped-def]
    slot: dict[str, object] = {}
    try:
        yield slot
    finally:
        if "process" in slot:
            slot["process"].stop()  # type: ignore[attr-defined]


@pytest.fixture(scope="session")
def session_operator(lab, _operator_slot):  # type: ignore[no-untyped-def]
    """Starts the operator when the session needs it for the first time; `operator` is what tests ask for."""
    from visio_lab.operator_process import start_operator

    _operator_slot["process"] = start_operator(lab, name=f"operator-{next(_numbers)}")


@pytest.fixture
def operator(lab, session_operator, _operator_slot):  # type: ignore[no-untyped-def]
    """The running operator; started again when a test before killed it."""
    from visio_lab.operator_process import free_lease, start_operator

    process = _operator_slot["process"]
    if not process.alive:
        free_lease(lab)
        _operator_slot["process"] = process = start_operator(lab, name=f"operator-{next(_numbers)}")
    return process


@pytest.fixture
def restart_operator(lab, _operator_slot) -> Callable[[], object]:  # type: ignore[no-untyped-def]
    """Start the operator again after a test has killed it, and make it the session's operator."""
    from visio_lab.operator_process import free_lease, start_operator

    def restart() -> object:
        old = _operator_slot.get("process")
        if old is not None:
            old.kill()
        free_lease(lab)
        _operator_slot["process"] = start_operator(lab, name=f"operator-{next(_numbers)}")
        return _operator_slot["process"]

    return restart


@pytest.fixture
def namespace(lab) -> Iterator[str]:  # type: ignore[no-untyped-def]
    """A fresh namespace that enforces PodSecurity `restricted`; removed afterwards without waiting."""
    from visio_lab.operator_process import make_namespace

    name = f"visio-{next(_numbers)}"
    make_namespace(lab, name)
    yield name
    lab.kubectl("delete", "visiodeployments", "--all", "--namespace", name, "--timeout=60s", check=False)
    lab.kubectl("delete", "namespace", name, "--wait=false", check=False)
