"""`visio-operator diff` on a live platform: it tells what applying a file does, writes nothing and shows no secret."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import live
from visio_lab.operator_process import make_namespace
from visio_operator.cli import main


def _older(spec: dict[str, Any]) -> None:
    spec["version"] = "1.25.0"


@pytest.fixture(scope="module")
def shown(lab, operator_identity, session_operator) -> Iterator[str]:
    """A Ready platform, two releases below the example's."""
    make_namespace(lab, "shown")
    live.apply(lab, live.deployment("minimal.yaml", "shown", change=_older))
    live.wait_ready(lab, "shown")
    yield "shown"
    lab.kubectl("delete", "vd", "visio", "--namespace", "shown", "--timeout=60s")
    lab.kubectl("delete", "namespace", "shown", "--wait=false")


def _diff(lab: Any, path: Path, objects: list[dict[str, Any]], capsys: Any, *options: str) -> dict[str, Any]:
    """The one deployment of the answer as data; the same in text is checked for secrets by the caller's namespace."""
    path.write_text(yaml.safe_dump_all([one for one in objects if one["kind"] == "VisioDeployment"]))
    assert main(["diff", "-f", str(path), "--kubeconfig", str(lab.kubeconfig), "-o", "json", *options]) == 0
    [item] = json.loads(capsys.readouterr().out)["items"]
    return dict(item)


def _named(changes: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return {(change["kind"], change["name"]) for change in changes}


def _intents(lab: Any, namespace: str) -> dict[tuple[str, str], dict[str, Any]]:
    return {key: live.intent(item) for key, item in live.owned(lab, namespace).items()}


def test_an_upgrade_is_told_rung_by_rung_and_what_cannot_be_is_refused(lab, operator, shown, tmp_path, capsys) -> None:
    file, since = tmp_path / "visio.yaml", time.time()
    told = _diff(lab, file, live.deployment("minimal.yaml", shown), capsys)
    assert (told["running"], told["wanted"]) == ("1.25.0", "1.27.0")
    assert [rung["version"] for rung in told["rungs"]] == ["1.26.0", "1.27.0"]
    for rung in told["rungs"]:
        assert {"backend", "celery-backend", "frontend"} <= set(rung["restarts"])
        image = "spec.template.spec.containers[backend].image"
        [backend] = [one for one in rung["changes"] if (one["kind"], one["name"]) == ("Deployment", "visio-backend")]
        [field] = [one for one in backend["fields"] if one["path"] == image]
        assert field["after"].endswith(f":v{rung['version']}")
    kubeconfig = ["--kubeconfig", str(lab.kubeconfig)]
    assert main(["diff", "-f", str(file), *kubeconfig]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.startswith("~ Deployment visio-backend") for line in lines) == 1
    assert lines[-1].startswith(f"upgrade {told['upgradeDigest']}: 2 rungs, ")

    def lower(spec: dict[str, Any]) -> None:
        spec["version"] = "1.24.0"

    [wanted] = [one for one in live.deployment("minimal.yaml", shown, change=lower) if one["kind"] == "VisioDeployment"]
    file.write_text(yaml.safe_dump(wanted))
    assert main(["diff", "-f", str(file), *kubeconfig]) == 2
    assert "going back to 1.24.0 is not possible" in capsys.readouterr().err

    other = live.deployment("minimal.yaml", shown, name="other")
    created = _diff(lab, file, other, capsys)
    assert not created["exists"]
    assert {one["action"] for one in created["changes"]} == {"create"}
    assert ("Deployment", "other-backend") in _named(created["changes"])
    assert ("Secret", "other-keys") in _named(created["changes"])
    file.write_text(yaml.safe_dump({**wanted, "spec": {**wanted["spec"], "hots": "x"}}))
    assert main(["diff", "-f", str(file), *kubeconfig]) == 2
    assert "spec.hots: this field does not exist" in capsys.readouterr().err
    users = {entry["user"]["username"] for entry in live.audit(lab, since) if "dryRun" in entry["requestURI"]}
    assert users == set(), "there was nothing to ask: no object would be written at once"


def test_it_tells_exactly_what_applying_the_file_then_does(lab, operator, shown, tmp_path, capsys) -> None:
    file, since = tmp_path / "visio.yaml", time.time()
    same = _diff(lab, file, live.deployment("minimal.yaml", shown, change=_older), capsys)
    assert (same["changes"], same["restarts"], same["rungs"]) == ([], {}, [])

    def edited(spec: dict[str, Any]) -> None:
        _older(spec)
        spec["recording"] = {"enabled": False}
        spec["mail"] = {"host": "smtp.example.gouv.fr", "sender": "visio@example.gouv.fr", "port": 1025}
        spec["overrides"] = [{"part": "frontend", "resources": {"limits": {"memory": "333Mi"}}}]

    wanted = live.deployment("minimal.yaml", shown, change=edited)
    told = _diff(lab, file, wanted, capsys)
    frontend = next(one for one in told["changes"] if (one["kind"], one["name"]) == ("Deployment", "visio-frontend"))
    limit = "spec.template.spec.containers[frontend].resources.limits.memory"
    assert [(one["path"], one["after"]) for one in frontend["fields"]] == [(limit, "333Mi")]
    assert set(told["restarts"]) >= {"frontend", "backend"}
    assert main(["diff", "-f", str(file), "--kubeconfig", str(lab.kubeconfig)]) == 0
    text = capsys.readouterr().out
    assert f"~ Deployment visio-frontend  {limit}: " in text
    assert "\x1b" not in text

    written = [entry for entry in live.writes(lab, since, "") if entry["objectRef"].get("namespace") == shown]
    ours = [entry for entry in written if "dryRun=All" in entry["requestURI"]]
    assert ours, "the API server was asked"
    assert [entry for entry in written if entry["user"]["username"] == ours[0]["user"]["username"]] == ours
    for secret in live.items(lab, "secrets", shown):
        for value in (secret.get("data") or {}).values():
            plain = base64.b64decode(value).decode(errors="replace")
            assert len(plain) < 12 or plain not in text + json.dumps(told), secret["metadata"]["name"]

    before = _intents(lab, shown)
    live.apply(lab, wanted)
    live.eventually("the edit is rolled out", lambda: _settled(lab, shown), 90)
    after = _intents(lab, shown)
    changed = {key for key in before | after if before.get(key) != after.get(key)}
    assert changed == _named(told["changes"])
    assert {key for key in before if key not in after} == _named(
        [one for one in told["changes"] if one["action"] == "delete"]
    )


def _settled(lab: Any, namespace: str) -> bool:
    found = live.get(lab, "vd", "visio", namespace) or {}
    states = {one["type"]: one for one in found["status"]["conditions"]}
    seen = found["status"]["observedGeneration"] == found["metadata"]["generation"]
    return seen and states["Progressing"]["status"] == "False" and states["Ready"]["status"] == "True"
