"""The tests' own reading of the audit log: what it skips must be nothing that a test looks for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import live

START = 1_800_000_000


def entry(completed: float, took: float, number: int) -> dict[str, Any]:
    def text(at: float) -> str:
        return datetime.fromtimestamp(at, UTC).isoformat().replace("+00:00", "Z")

    return {
        "stage": "ResponseComplete",
        "requestReceivedTimestamp": text(completed - took),
        "stageTimestamp": text(completed),
        "user": {"username": "somebody"},
        "number": number,
    }


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(0, 1500), st.integers(0, 60_000)), min_size=1, max_size=300),
    st.integers(-10, 1500),
    st.booleans(),
)
def test_no_request_since_a_time_is_left_out_however_long_the_log(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    requests: list[tuple[int, int, int]],
    since: int,
    torn: bool,
) -> None:
    monkeypatch.setattr(live, "NEAR", 500)
    completed, entries = float(START), []
    for number, (passed, disorder, took) in enumerate(requests):
        completed += passed
        # Lines are written by many requests at once, so one may say an earlier time than the line before.
        entries.append(entry(completed - disorder / 1000, took / 1000, number))
    log = tmp_path / "audit.jsonl"
    log.write_text("".join(f"{json.dumps(one)}\n" for one in entries) + ('{"stage": "Resp' if torn else ""))
    wanted = [one["number"] for one in entries if live.received(one) >= START + since]
    found = [one["number"] for one in live.audit(SimpleNamespace(audit_log=log), START + since)]
    assert found == wanted
