"""The operator of a lab is started again when it lost its lease, and only then."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from visio_lab import operator_process
from visio_lab.handle import EnteredProcess
from visio_lab.operator_process import MOST_RESTARTS, OperatorProcess


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operator_process, "RESTART_AFTER_S", 0.01)


def _ending(*codes: int) -> tuple[Callable[[], EnteredProcess], list[int]]:
    """Starts programs that end with these codes one after the other, then one that stays; and what was started."""
    started: list[int] = []

    def start() -> EnteredProcess:
        index = len(started)
        started.append(index)
        program = f"import sys; sys.exit({codes[index]})" if index < len(codes) else "import time; time.sleep(60)"
        # Signals go to its child, as that of `nsenter`.
        return EnteredProcess(["sh", "-c", '"$@"; exit $?', "sh", sys.executable, "-c", program])

    return start, started


def _until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not check():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_that_lost_its_lease_is_started_again_until_it_is_told_to_end(tmp_path: Path) -> None:
    start, started = _ending(1, 1)
    operator = OperatorProcess(start(), tmp_path / "log", start)
    _until(lambda: len(started) == 3)
    assert operator.alive
    operator.stop()
    assert not operator.alive
    time.sleep(0.1)
    assert len(started) == 3


@pytest.mark.parametrize("code", [0, 2])
def test_one_that_ended_for_another_reason_is_not(tmp_path: Path, code: int) -> None:
    start, started = _ending(code)
    operator = OperatorProcess(start(), tmp_path / "log", start)
    _until(lambda: not operator.alive)
    time.sleep(0.1)
    assert len(started) == 1


def test_one_that_always_ends_is_given_up(tmp_path: Path) -> None:
    start, started = _ending(*[1] * 20)
    operator = OperatorProcess(start(), tmp_path / "log", start)
    _until(lambda: not operator.alive)
    assert len(started) == 1 + MOST_RESTARTS


def test_a_killed_one_stays_dead(tmp_path: Path) -> None:
    start, started = _ending()
    operator = OperatorProcess(start(), tmp_path / "log", start)
    operator.kill()
    assert not operator.alive
    time.sleep(0.1)
    assert len(started) == 1
