"""What `visio-operator status` prints of pools, signals and upgrades."""

from __future__ import annotations

from typing import Any

import pytest

from visio_operator.cli.status import show_status

LEAD = {
    "orders": 12,
    "medianSeconds": 402.4,
    "p95Seconds": 530.0,
    "stages": [{"name": "boot", "medianSeconds": 74.0}, {"name": "weights", "medianSeconds": 80.6}],
}


def printed(capsys: pytest.CaptureFixture[str], **status: Any) -> list[str]:
    show_status({"metadata": {"name": "main", "namespace": "visio"}, "status": status}, False)
    return capsys.readouterr().out.splitlines()[2:]


def test_a_pool_shows_its_lead_once_it_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    pools = [{"name": "captions", "gpuReady": 1, "desired": 2, "lead": LEAD}, {"name": "batch"}]
    assert printed(capsys, pools=pools) == [
        "  pool captions        1/2 GPU nodes",
        "  lead captions        first slot after 402 s, 95 of 100 after 530 s, of 12 servers (boot 74, weights 81)",
        "  pool batch           0/0 GPU nodes",
    ]


def test_only_missing_signals_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    since = {"since": "2026-03-02T09:00:00Z"}
    signals = [
        {"name": "captionsSlots", "state": "Fresh", "message": "", **since},
        {"name": "workerQueues", "state": "Missing", "message": "no Redis; kept", **since},
    ]
    assert printed(capsys, signals=signals) == [
        "  signal workerQueues  missing since 2026-03-02T09:00:00Z  no Redis; kept"
    ]


def test_a_panic_of_captions_shows(capsys: pytest.CaptureFixture[str]) -> None:
    captions = {"used": 61, "total": 64}
    assert printed(capsys, captions=captions) == ["  captions slots       61/64 in use"]
    assert printed(capsys, captions={**captions, "panicSince": "2026-03-02T09:00:00Z"}) == [
        "  captions slots       61/64 in use, in panic since 2026-03-02T09:00:00Z"
    ]


WAITING = {
    "from": "1.25.0",
    "to": "1.27.0",
    "path": ["1.26.0", "1.27.0"],
    "held": "WaitingForRing",
    "since": "2026-06-05T20:30:00Z",
    "message": "the rung to 1.26.0 waits for earlier rings: pilot visio/x runs 1.25.0",
    "nextStart": "2026-06-07T20:00:00Z",
    "blockers": ["pilot visio/x runs 1.25.0"],
    "approvalDigest": "0123456789ab",
}


def test_an_upgrade_shows_its_way_what_holds_it_and_when_it_can_go_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, upgrade=WAITING) == [
        "  upgrade              1.25.0 -> 1.26.0 -> 1.27.0 (2 rungs)",
        "       held since 2026-06-05T20:30:00Z: WaitingForRing",
        "       next start: 2026-06-07T20:00:00Z",
        "       waits for pilot visio/x runs 1.25.0",
        "       the rung to 1.26.0 waits for earlier rings: pilot visio/x runs 1.25.0",
        "       approve: visio-operator approve main -n visio --digest 0123456789ab",
    ]


def test_a_rung_shows_its_step(capsys: pytest.CaptureFixture[str]) -> None:
    climbing = {"from": "1.26.0", "to": "1.27.0", "path": ["1.27.0"], "rung": "1.27.0", "step": "media"}
    assert printed(capsys, upgrade={**climbing, "since": "2026-06-05T20:30:00Z", "message": "sfu is to follow"}) == [
        "  upgrade              1.26.0 -> 1.27.0 (1 rung)",
        "       rung 1.27.0, step media since 2026-06-05T20:30:00Z",
        "       sfu is to follow",
    ]


def test_a_release_that_runs_says_nothing_of_upgrades(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, upgrade={"from": "1.27.0", "to": "1.27.0", "runningSince": "2026-06-05T20:30:00Z"}) == []
