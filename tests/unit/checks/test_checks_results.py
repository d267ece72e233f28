"""Results as lines of JSON and as last words, and the command that gives them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from visio_checks import command, order
from visio_checks.names import NAMES
from visio_checks.result import LONGEST_FILE, Result, result_of, write_results


def test_a_result_survives_being_written() -> None:
    for result in (
        Result("media", False, 15.0, "no sound", "spec.sfu.network", "open the firewall"),
        Result("data", False, 0.0, "not tried", skipped=True),
        Result("web", True, 0.25),
    ):
        assert result_of(json.loads(json.dumps(result.as_json()))) == result


@pytest.mark.parametrize("written", [{}, {"check": "web"}, {"check": "web", "ok": True, "seconds": None}, []])
def test_anything_else_is_no_result(written: object) -> None:
    with pytest.raises(ValueError, match="no result"):
        result_of(written)  # type: ignore[arg-type]


def test_last_words_fit_however_long_the_details_are(tmp_path: Path) -> None:
    results = [Result(name, False, 1.0, "é" * 3_000, "spec.host", "ü" * 3_000) for name in NAMES]
    write_results(results, tmp_path / "words")
    text = (tmp_path / "words").read_bytes()
    assert len(text) <= LONGEST_FILE
    assert [entry["check"] for entry in json.loads(text)["results"]] == list(NAMES)
    assert json.loads(text)["results"][0]["detail"].endswith("…")


async def _two(*_: object, **__: object) -> AsyncIterator[Result]:
    yield Result("web", True, 0.1)
    yield Result("api", False, 0.1, "gone", "spec.host", "look")


def _environment(monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    values = {
        "CHECKS_RESULT": str(path), "CHECKS_HOST": "visio.example.gouv.fr",
        "LIVEKIT_API_URL": "https://livekit.visio.example.gouv.fr", "LIVEKIT_API_KEY": "key",
        "LIVEKIT_API_SECRET": "secret", "OIDC_OP_AUTHORIZATION_ENDPOINT": "https://auth.example.gouv.fr/authorize",
        "OIDC_OP_TOKEN_ENDPOINT": "https://auth.example.gouv.fr/token",
        "OIDC_OP_JWKS_ENDPOINT": "https://auth.example.gouv.fr/jwks",
        "OIDC_RP_CLIENT_ID": "visio", "OIDC_RP_CLIENT_SECRET": "hidden",
    }  # fmt: skip
    for name, value in values.items():
        monkeypatch.setenv(name, value)


def _run(*arguments: str) -> int:
    import argparse

    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args(arguments))


def test_each_result_is_a_line_and_all_are_last_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _environment(monkeypatch, tmp_path / "words")
    monkeypatch.setattr(order, "check_call", _two)
    assert _run("call") == 1
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["check"] for line in lines] == ["web", "api"]
    assert json.loads((tmp_path / "words").read_text())["results"] == lines


def test_a_variable_that_is_missing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _environment(monkeypatch, tmp_path / "words")
    monkeypatch.delenv("OIDC_RP_CLIENT_SECRET")
    assert _run("call") == 2
    assert "OIDC_RP_CLIENT_SECRET is not set" in capsys.readouterr().err


def test_a_place_that_cannot_be_written_spoils_no_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _environment(monkeypatch, tmp_path / "missing" / "words")
    monkeypatch.setattr(order, "check_call", _two)
    assert _run("call") == 1
    assert "cannot be written" in capsys.readouterr().err
