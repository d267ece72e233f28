"""`visio-operator smoke` on a platform that only the operator configured, and on one with a single wrong setting."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

import live
import smoke_platform as platform
from visio_checks.names import NAMES

NAMESPACE = "smoke"
WRONG = "wrong-value-of-a-test"
QUICK = tuple(name for name in NAMES if name not in ("captions", "recording", "transcription"))
"""What cannot hang on a setting of captions, recording or transcription, nor these on what it tells."""

Json = dict[str, Any]
Break = Callable[[Any], AbstractContextManager[None]]


@pytest.fixture(scope="module")
def smoking(real_lab) -> Iterator[Any]:  # type: ignore[no-untyped-def]
    """The platform, Ready, with one GPU node for captions and one for transcription."""
    platform.make_outside_services(real_lab)
    platform.make_platform(real_lab, NAMESPACE)
    yield real_lab
    real_lab.kubectl("delete", "vd", "visio", "--namespace", NAMESPACE, "--timeout=60s", check=False)
    real_lab.kubectl("delete", "namespace", NAMESPACE, platform.OUTSIDE, "--wait=false", check=False)


@pytest.fixture(scope="module")
def unguarded(smoking, real_operator) -> Iterator[Any]:  # type: ignore[no-untyped-def]
    """The platform without an operator, which would put right what these tests spoil."""
    real_operator.stop()
    yield smoking
    real_operator.start()


def _failed(results: Mapping[str, Json]) -> set[str]:
    return {name for name, result in results.items() if not result["ok"] and not result.get("skipped")}


def test_everything_works_with_what_the_operator_wrote(smoking: Any) -> None:
    code, results, error = platform.run_smoke(smoking, NAMESPACE, "--timeout", "120")
    failed = _failed(results)
    assert (code, failed, error) == (0, set(), ""), [results[name] for name in sorted(failed)]
    assert tuple(results) == NAMES
    assert all(result["ok"] and result["detail"] for result in results.values())
    jobs = live.items(smoking, "jobs.batch", NAMESPACE, "app.kubernetes.io/component=smoke")
    assert [job for job in jobs if not job["metadata"].get("deletionTimestamp")] == []


def test_no_call_is_made_where_there_is_nothing_to_call(smoking: Any) -> None:
    code, results, error = platform.run_smoke(smoking, "default")
    assert (code, results) == (2, {})
    assert "there is no VisioDeployment visio in namespace default" in error


def _secret(name: str, key: str) -> Break:
    """A value of a Secret is not the one that the other side knows."""

    @contextmanager
    def spoil(lab: Any) -> Iterator[None]:
        before = (live.get(lab, "secret", name, NAMESPACE) or {})["data"][key]
        _merge(lab, "secret", name, {"data": {key: base64.b64encode(WRONG.encode()).decode()}})
        yield
        _merge(lab, "secret", name, {"data": {key: before}})

    return spoil


def _variable(part: str, container: str, name: str) -> Break:
    """One container of a part has another value than the rest of the platform."""

    @contextmanager
    def spoil(lab: Any) -> Iterator[None]:
        before = (live.get(lab, "deployment", f"visio-{part}", NAMESPACE) or {})["spec"]
        template = json.loads(json.dumps(before["template"]))
        for one in (*template["spec"]["containers"], *template["spec"].get("initContainers", ())):
            if one["name"] == container:
                # A secret value may come as a file, which the variable's name then says.
                others = [each for each in one["env"] if each["name"] not in (name, f"{name}_FILE")]
                assert len(others) == len(one["env"]) - 1
                one["env"] = [*others, {"name": name, "value": WRONG}]
        # The old pods would otherwise stay until the new ones are ready, which these never are.
        strategy = {"type": "Recreate", "rollingUpdate": None}
        _merge(lab, "deployment", f"visio-{part}", {"spec": {"template": template, "strategy": strategy}})
        _replaced(lab, part)
        yield
        _merge(lab, "deployment", f"visio-{part}", {"spec": {"template": before["template"]}})
        lab.kubectl("rollout", "status", f"deployment/visio-{part}", "--namespace", NAMESPACE, "--timeout=60s")

    return spoil


def _replaced(lab: Any, part: str) -> None:
    """Wait until only pods of the new template are there, and their containers run."""

    def new() -> bool:
        live_spec = live.get(lab, "deployment", f"visio-{part}", NAMESPACE) or {}
        status, wanted = live_spec["status"], live_spec["spec"]["replicas"]
        current = int(status.get("observedGeneration", 0)) >= int(live_spec["metadata"]["generation"])
        return current and status.get("updatedReplicas") == status.get("replicas") == wanted

    live.eventually(f"the pods of {part} are replaced", new, timeout=40)


def _without(kind: str, name: str) -> Break:
    """An object is not there: without the Service of the node ports media are stopped as by a closed firewall."""

    @contextmanager
    def spoil(lab: Any) -> Iterator[None]:
        found = live.get(lab, kind, name, NAMESPACE) or {}
        lab.kubectl("delete", kind, name, "--namespace", NAMESPACE)
        yield
        kept = {
            key: found["metadata"][key] for key in ("name", "namespace", "labels", "annotations", "ownerReferences")
        }
        live.apply(lab, [{key: found[key] for key in ("apiVersion", "kind", "spec")} | {"metadata": kept}])

    return spoil


def _merge(lab: Any, kind: str, name: str, patch: Json) -> None:
    lab.kubectl("patch", kind, name, "--namespace", NAMESPACE, "--type=merge", "--patch", json.dumps(patch))


@pytest.mark.parametrize(
    ("spoil", "check", "field", "only"),
    [
        pytest.param(_secret("visio-oidc", "clientSecret"), "sign-in", "spec.oidc.secretRef", QUICK, id="oidc"),
        pytest.param(_secret("mail", "password"), "mail", "spec.mail.secretRef", QUICK, id="mail"),
        pytest.param(_secret("docs", "apiKey"), "docs", "spec.docs.secretRef", QUICK, id="docs"),
        pytest.param(_secret("llm", "apiKey"), "llm", "spec.llm.secretRef", QUICK, id="llm"),
        pytest.param(_variable("backend", "backend", "DB_NAME"), "api", "spec.host", QUICK, id="database"),
        pytest.param(_variable("backend", "backend", "REDIS_URL"), "api", "spec.host", QUICK, id="redis"),
        pytest.param(
            _variable("backend", "backend", "LIVEKIT_API_SECRET"), "webhook", "spec.livekit", QUICK, id="livekitKeys"
        ),
        pytest.param(_without("ingress", "visio-web"), "web", "spec.host", ("web", "join"), id="host"),
        pytest.param(_without("ingress", "visio-livekit"), "join", "spec.livekitHost", (), id="livekitHost"),
        pytest.param(_without("service", "visio-sfu-media"), "media", "spec.sfu.network", (), id="mediaPorts"),
        pytest.param(
            _secret("visio-garage", "secretAccessKey"), "recording", "spec.objectStorage.secretRef", (), id="s3"
        ),
        pytest.param(_secret("visio-keys", "summaryApiToken"), "transcription", "spec.transcription", (), id="summary"),
        pytest.param(
            _variable("subtitles", "subtitles", "LIVEKIT_API_SECRET"), "captions", "spec.captions", (), id="agents"
        ),
        pytest.param(
            _variable("subtitles", "captions-proxy", "KYUTAI_API_KEY"), "captions", "spec.captions", (), id="kyutai"
        ),
    ],
)
def test_one_wrong_setting_fails_its_check_alone(
    spoil: Break, check: str, field: str, only: tuple[str, ...], unguarded: Any
) -> None:
    with spoil(unguarded):
        arguments = ["--only", *only] if only else []
        code, results, error = platform.run_smoke(unguarded, NAMESPACE, "--timeout", "120", *arguments)
    failed = _failed(results)
    assert (code, failed) == (1, {check}), (error, [results[name] for name in sorted(failed)])
    assert results[check]["field"] == field
    assert results[check]["next"]
    assert WRONG not in json.dumps(results)
