"""What `visio-operator smoke` tells: each check as it ends, and the sum at the end."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from visio_checks.result import Result, result_of

Body = Mapping[str, Any]
_WIDTH = 14


class Report:
    """Collects results from a log and from last words, which overlap, and prints each once."""

    def __init__(self, deployment: str, *, as_json: bool) -> None:
        self._deployment = deployment
        self._as_json = as_json
        self._begun = time.monotonic()
        self._results: dict[str, Result] = {}
        self._lines = 0
        self._problem = ""
        self._unread = ""
        self._doing = ""
        self._alive = sys.stdout.isatty() and not as_json

    def pod(self, pod: Body, state: Body) -> None:
        """How the Job's pod is, as long as it does not run."""
        if "waiting" in state:
            reason = state["waiting"].get("reason") or ""
            message = state["waiting"].get("message") or ""
            phase = (pod.get("status") or {}).get("phase") or "Pending"
            self._now(f"the pod is {phase}{f': {reason} {message}' if reason else ''}".rstrip())

    def log(self, text: str) -> None:
        """The whole log so far; lines that were read before are passed over."""
        lines = text.split("\n")[:-1]
        for line in lines[self._lines :]:
            self._line(line)
        self._lines = max(self._lines, len(lines))

    def without_log(self, why: str) -> None:
        """Logs cannot be read: say that what follows comes at the end."""
        self._unread = why
        self._now(f"no log yet ({why}); the results come at the end")

    def last_words(self, terminated: Body) -> None:
        """The end of the pod: results that no log brought, and why there are none."""
        try:
            found = [result_of(entry) for entry in json.loads(terminated.get("message") or "")["results"]]
        except (ValueError, KeyError, TypeError):
            found = []
        for result in found:
            self._add(result)
        if not self._results:
            reason, code = terminated.get("reason") or "Error", terminated.get("exitCode")
            self._problem = f"the checks ended without a result: {reason}, exit code {code}"
            if self._unread:
                self._problem += f"; their log cannot be read: {self._unread}"
        elif (code := terminated.get("exitCode")) and all(result.ok for result in self._results.values()):
            self._problem = f"the checks ended before the last one: {terminated.get('reason')}, exit code {code}"

    def broken(self, why: str) -> None:
        """The Job came to no end."""
        self._problem = why

    def finish(self) -> int:
        """Print the sum, and return the exit code."""
        self._clear()
        results = list(self._results.values())
        passed = sum(result.ok for result in results)
        skipped = sum(result.skipped for result in results)
        failed = len(results) - passed - skipped
        good = bool(results) and passed == len(results) and not self._problem
        taken = time.monotonic() - self._begun
        if self._as_json:
            answer = {
                "deployment": self._deployment,
                "ok": good,
                "seconds": round(taken, 1),
                "problem": self._problem,
                "results": [result.as_json() for result in results],
            }
            print(json.dumps(answer, indent=2, ensure_ascii=False))
        else:
            counts = [f"{passed} passed", *([f"{failed} failed"] if failed else [])]
            counts += [f"{skipped} not tried"] if skipped else []
            print(f"{self._deployment}: {', '.join(counts)}, in {taken:.0f} s")
        if self._problem:
            print(f"visio-operator smoke: {self._problem}", file=sys.stderr)
        return 0 if good else 1

    def _line(self, line: str) -> None:
        try:
            said = json.loads(line)
        except ValueError:
            return
        if not isinstance(said, dict):
            return
        if "waiting" in said:
            self._now(f"{said.get('check')}{': ' + said['waiting'] if said['waiting'] else ''}", bool(said["waiting"]))
            return
        try:
            self._add(result_of(said))
        except ValueError:
            return

    def _add(self, result: Result) -> None:
        if result.check in self._results:
            return
        self._results[result.check] = result
        if self._as_json:
            return
        self._clear()
        word = "pass" if result.ok else "----" if result.skipped else "FAIL"
        print(f"{word}  {result.check:<{_WIDTH}} {result.seconds:7.2f} s  {result.detail}", flush=True)
        if not result.ok and not result.skipped:
            print(f"      {'field':<{_WIDTH}} {result.field or '-'}")
            print(f"      {'next':<{_WIDTH}} {result.next or '-'}", flush=True)

    def _now(self, text: str, lasting: bool = False) -> None:
        """What goes on: on a terminal a line that the next one overwrites; elsewhere only what takes long."""
        if text == self._doing or self._as_json:
            return
        self._doing = text
        if self._alive:
            self._clear()
            print(f"....  {text}"[:118], end="", flush=True)
        elif lasting:
            print(f"....  {text}", flush=True)

    def _clear(self) -> None:
        if self._alive:
            print("\r\x1b[2K", end="", flush=True)
