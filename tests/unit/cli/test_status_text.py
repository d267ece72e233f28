"""What `visio-operator status` prints of pools and signals."""

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
