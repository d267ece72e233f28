"""What `visio-operator smoke` prints, from a log, from last words, or from both."""

from __future__ import annotations

import json
from typing import Any

import pytest

from visio_checks.result import Result
from visio_operator.cli.smoke import _not_ready
from visio_operator.cli.smoke_report import Report

WEB = Result("web", True, 0.12, "11 characters of HTML")
MEDIA = Result("media", False, 15.0, "nothing arrives", "spec.sfu.network", "open the firewall")
DATA = Result("data", False, 0.0, "not tried, since media did not pass", skipped=True)


def _lines(*results: Result) -> str:
    return "".join(json.dumps(result.as_json()) + "\n" for result in results)


def _words(*results: Result, code: int = 0) -> dict[str, Any]:
    message = json.dumps({"results": [result.as_json() for result in results]})
    return {"exitCode": code, "reason": "Completed" if code == 0 else "Error", "message": message}


def test_each_check_is_printed_once_as_it_ends(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("visio/visio", as_json=False)
    report.log(_lines(WEB) + '{"check": "media", "waiting": ""}\n' + json.dumps(MEDIA.as_json())[:20])
    assert capsys.readouterr().out == "pass  web               0.12 s  11 characters of HTML\n"
    report.log(_lines(WEB) + '{"check": "media", "waiting": ""}\n' + _lines(MEDIA, DATA))
    report.last_words(_words(WEB, MEDIA, DATA, code=1))
    assert report.finish() == 1
    assert capsys.readouterr().out.splitlines() == [
        "FAIL  media            15.00 s  nothing arrives",
        "      field          spec.sfu.network",
        "      next           open the firewall",
        "----  data              0.00 s  not tried, since media did not pass",
        "visio/visio: 1 passed, 1 failed, 1 not tried, in 0 s",
    ]


def test_last_words_are_enough(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("visio/visio", as_json=False)
    report.without_log("the kubelet cannot be reached")
    report.last_words(_words(WEB))
    assert report.finish() == 0
    assert "visio/visio: 1 passed, in 0 s" in capsys.readouterr().out


def test_a_wait_for_a_node_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("visio/visio", as_json=False)
    report.log('{"check": "captions", "waiting": "waits for a GPU node"}\n')
    report.log('{"check": "captions", "waiting": "waits for a GPU node"}\n' * 2)
    assert capsys.readouterr().out == "....  captions: waits for a GPU node\n"


def test_as_json_everything_comes_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("visio/visio", as_json=True)
    report.log(_lines(WEB, MEDIA))
    assert capsys.readouterr().out == ""
    assert report.finish() == 1
    answer = json.loads(capsys.readouterr().out)
    assert (answer["deployment"], answer["ok"], answer["problem"]) == ("visio/visio", False, "")
    assert answer["results"] == [WEB.as_json(), MEDIA.as_json()]


@pytest.mark.parametrize(
    ("terminated", "problem"),
    [
        ({"exitCode": 137, "reason": "OOMKilled"}, "ended without a result: OOMKilled, exit code 137"),
        ({"exitCode": 2, "reason": "Error", "message": "no JSON"}, "ended without a result: Error, exit code 2"),
        (_words(WEB, code=143), "ended before the last one: Error, exit code 143"),
    ],
)
def test_an_end_without_results_is_a_failure(
    terminated: dict[str, Any], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report("visio/visio", as_json=False)
    report.last_words(terminated)
    assert report.finish() == 1
    assert problem in capsys.readouterr().err


def test_what_is_missing_is_said() -> None:
    ready = {"conditions": [{"type": "Ready", "status": "True"}]}
    assert _not_ready({"status": ready}) == ""
    assert _not_ready({}) == "the operator has not looked at it yet"
    behind = {
        "conditions": [
            {"type": "Ready", "status": "False", "reason": "PartsNotReady", "message": "egress is starting."}
        ],
        "parts": [
            {"name": "egress", "ready": 0, "desired": 1, "state": "Progressing"},
            {"name": "sfu", "state": "Ready"},
        ],
    }
    assert _not_ready({"status": behind}) == "egress is starting (egress 0/1)"
