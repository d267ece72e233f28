"""The command line: exit codes, and that nobody sees a stack trace."""

import json
from pathlib import Path

import pytest
import yaml

from builders import a_deployment
from visio_operator.cli import COMMANDS, main


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    path = tmp_path / "visio.yaml"
    path.write_text(yaml.safe_dump(a_deployment().cr()))
    return path


@pytest.mark.parametrize("name", [command.name for command in COMMANDS])
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main([name, "--help"])
    except SystemExit as ended:
        code = ended.code
    assert code == 0
    assert name in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["check"], ["status"]])
def test_bad_arguments_are_bad_input(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_valid_file_passes(valid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "-f", str(valid)]) == 0
    assert "ok" in capsys.readouterr().out


def test_all_problems_are_listed_with_their_fields(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(a_deployment().having(host="Visio", version="9").cr()))
    assert main(["check", "-f", str(wrong), "-o", "json"]) == 2
    assert {problem["field"] for problem in json.loads(capsys.readouterr().out)} >= {"spec.host", "spec.version"}


@pytest.mark.parametrize("command", ["check", "render"])
def test_a_file_that_cannot_be_read_is_bad_input(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "-f", "/no/such/file"]) == 2
    assert "/no/such/file: No such file" in capsys.readouterr().err


def test_all_manifests_are_printed(valid: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "-f", str(valid)]) == 0
    printed = list(yaml.safe_load_all(capsys.readouterr().out))
    assert {(m["kind"], m["metadata"]["name"]) for m in printed} == {
        (m["kind"], m["metadata"]["name"]) for m in a_deployment().manifests()
    }


def test_no_manifest_of_an_invalid_file_is_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(yaml.safe_dump(a_deployment().having(host="Visio").cr()))
    assert main(["render", "-f", str(wrong)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "spec.host" in captured.err


def test_without_a_cluster_one_line_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KUBECONFIG", "/no/such/kubeconfig")
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    for command in (["status", "visio"], ["why", "visio"], ["run"]):
        assert main(command) == 2
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1
        assert "/no/such/kubeconfig" in lines[0]
