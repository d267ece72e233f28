"""What a check found, and how it is told: a line of JSON at once, and all of them in a small file at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

RESULT_PATH = "/dev/termination-log"
"""Where the kubelet looks for a container's last words."""
LONGEST_FILE = 4_000
"""Bytes; the kubelet keeps 4096 of a termination message."""
_SHORTEST_TEXT = 40


@dataclass(frozen=True)
class Result:
    """One check and how it went."""

    check: str
    ok: bool
    seconds: float
    detail: str = ""
    """What was seen; never a secret."""
    field: str = ""
    """The field of the spec that is to be looked at, such as `oidc.secretRef`."""
    next: str = ""
    """The next step for whoever reads it."""
    skipped: bool = False
    """It was not tried, because a check that it needs failed; `ok` is false then, and `detail` names that check."""

    def as_json(self) -> dict[str, Any]:
        """The result as plain data; `skipped` only where it holds."""
        written: dict[str, Any] = {
            "check": self.check,
            "ok": self.ok,
            "seconds": round(self.seconds, 2),
            "detail": self.detail,
            "field": self.field,
            "next": self.next,
        }
        return {**written, "skipped": True} if self.skipped else written


def result_of(written: Mapping[str, Any]) -> Result:
    """The result that `as_json` wrote; raises ValueError for anything else."""
    try:
        return Result(
            check=str(written["check"]),
            ok=written["ok"] is True,
            seconds=float(written["seconds"]),
            detail=str(written.get("detail", "")),
            field=str(written.get("field", "")),
            next=str(written.get("next", "")),
            skipped=written.get("skipped") is True,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"this is no result of a check: {error}") from None


def print_result(result: Result) -> None:
    """Say a result on standard output, as one line of JSON."""
    print(json.dumps(result.as_json(), ensure_ascii=False), flush=True)


def print_progress(check: str, waiting: str) -> None:
    """Say on standard output that a check has begun, or what it waits for."""
    print(json.dumps({"check": check, "waiting": waiting}, ensure_ascii=False), flush=True)


def write_results(results: Sequence[Result], path: Path) -> None:
    """Write all results into one file of at most LONGEST_FILE bytes; long texts are cut, no result is left out.

    Raises OSError when the file cannot be written.
    """
    path.write_bytes(_within(results))


def _within(results: Sequence[Result]) -> bytes:
    longest = 600
    while True:
        entries = []
        for result in results:
            entry = result.as_json()
            for name in ("detail", "next"):
                if len(entry[name]) > longest:
                    entry[name] = f"{entry[name][: longest - 1]}…"
            entries.append(entry)
        text = json.dumps({"results": entries}, ensure_ascii=False, separators=(",", ":")).encode()
        if len(text) <= LONGEST_FILE or longest <= _SHORTEST_TEXT:
            return text
        longest = max(_SHORTEST_TEXT, longest * 2 // 3)
