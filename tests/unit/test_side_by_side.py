"""Tests that want the machine for themselves get it, and wait for it no longer than the tests that have begun."""

from __future__ import annotations

import threading
import time
from pathlib import Path

from side_by_side import turn

BRIEFLY = 0.2
"""Seconds in which a thread that may go on surely does; what must not happen is asserted after them."""


def test_others_share_the_machine_and_who_wants_it_alone_waits_for_them_and_holds_up_who_comes_later(
    tmp_path: Path,
) -> None:
    begun: list[str] = []

    def hold(name: str, *, alone: bool, until: threading.Event) -> None:
        with turn(tmp_path, alone=alone):
            begun.append(name)
            until.wait(10)

    ends = {name: threading.Event() for name in ("first", "second", "alone", "late")}
    threads = []
    for name, end in ends.items():
        threads.append(threading.Thread(target=hold, args=(name,), kwargs={"alone": name == "alone", "until": end}))
        threads[-1].start()
        time.sleep(BRIEFLY)
    assert begun == ["first", "second"]
    ends["first"].set()
    time.sleep(BRIEFLY)
    assert begun == ["first", "second"]
    ends["second"].set()
    threads[1].join(10)
    time.sleep(BRIEFLY)
    assert begun == ["first", "second", "alone"]
    ends["alone"].set()
    ends["late"].set()
    for thread in threads:
        thread.join(10)
    assert begun == ["first", "second", "alone", "late"]
