"""Fixtures shared by all tests: one laboratory and one operator per session, a fresh namespace per test."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from side_by_side import (  # noqa: F401
    pytest_configure_node,
    pytest_runtest_protocol,
    pytest_sessionstart,
    pytest_unconfigure,
    pytest_xdist_auto_num_workers,
    pytest_xdist_make_scheduler,
)

hypothesis.settings.register_profile("steady", deadline=None, derandomize=True)
hypothesis.settings.register_profile("explore", deadline=None)
hypothesis.settings.load_profile("steady")
"""Others may use the machine: how long one example takes is no outcome. The suite tries the same examples each time, so
that it fails for what a change did; `--hypothesis-profile=explore` tries new ones."""
ROOT = Path(__file__).resolve().parents[1]
_numbers = itertools.count(1)
HPA_SYNC_S = 15 / 60
"""Seconds between two looks at a HorizontalPodAutoscaler: Kubernetes' 15, sixty times as fast."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--update-goldens", action="store_true", help="rewrite the golden files from what is rendered now")
    parser.addoption("--moshi-server", type=Path, help="also hold this binary of Kyutai's server to the contract suite")
    parser.addoption(
        "--visio-source",
        type=Path,
        action="append",
        default=[],
        help="test Visio's own programs from this checkout, not stand-ins; two of different releases for an upgrade",
    )
    parser.addoption(
        "--whole-morning", action="store_true", help="play three hours of meetings, not one, against simulate"
    )
    parser.addoption(
        "--whole-upgrade", action="store_true", help="upgrade over three rungs and two LiveKits under 20 rooms, not 2"
    )
    parser.addoption(
        "--with-hpa", action="store_true", help="play the morning also by the real HPA and a stand-in for KEDA"
    )
    parser.addoption(
        "--with-keda", action="store_true", help="play the morning also by the real HPA and KEDA, which is built first"
    )
    parser.addoption("--every-write", action="store_true", help="kill the operator after each write, not after a few")


def pytest_configure() -> None:
    # A shell's background job ignores Ctrl-C, and so would every program that a test interrupts.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Tests that need the real Visio are no part of the suite without it, nor an upgrade of it with one release."""
    needed = {"e2e": 1, "test_visio_upgrade.py": 2}.get(collection_path.name, 0)
    return True if len(config.getoption("--visio-source")) < needed else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not _baseline(config):
        # A baseline that takes minutes to build and to play, and gates nothing: no part of the suite unless asked for.
        items[:] = [item for item in items if "external_metrics" not in getattr(item, "fixturenames", ())]
    # Pure tests first: a mistake there explains the failures on the cluster that follow from it.
    items.sort(key=lambda item: "/tests/unit/" not in str(item.path))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[object]:
    """A running laboratory, shared by the session; on a new machine it says how the building of its programs goes."""
    from visio_lab import lab as labs
    from visio_lab.progress import open_progress

    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), open_progress() as progress:
        # The morning of test_morning.py is compressed, and so is the pace of the autoscaler that it is compared with.
        sync = HPA_SYNC_S if _baseline(request.config) else None
        running = labs.up(tmp_path_factory.mktemp("lab") / "shared", progress=progress, hpa_sync_s=sync)
    try:
        yield running
    finally:
        labs.down(running.directory)


def _baseline(config: pytest.Config) -> bool:
    return bool(config.getoption("--with-keda") or config.getoption("--with-hpa"))


@pytest.fixture(scope="session")
def external_metrics(lab, request: pytest.FixtureRequest) -> Iterator[str]:  # type: ignore[no-untyped-def]
    """Who feeds autoscalers: KEDA, built when it is asked for the first time, or the laboratory's stand-in for it."""
    from visio_lab.external_metrics import install_standin, remove_standin
    from visio_lab.keda import install_keda, remove_keda
    from visio_lab.progress import open_progress

    if not request.config.getoption("--with-keda"):
        install_standin(lab)
        yield "stand-in for KEDA"
        remove_standin(lab)
        return
    capture = request.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled(), open_progress() as progress:
        install_keda(lab, progress)
    yield "KEDA"
    remove_keda(lab)


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
            visio_sources=request.config.getoption("--visio-source"),
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
