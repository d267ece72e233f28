"""Which checks are made, in which order, and what a failure means for those after it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

import pytest

from visio_checks import order
from visio_checks.call import Call, NotTriedError
from visio_checks.fault import Fault
from visio_checks.names import NAMES
from visio_checks.result import Result
from visio_checks.settings import Settings, read_settings

ENVIRON = {
    "CHECKS_HOST": "visio.example.gouv.fr", "LIVEKIT_API_URL": "https://livekit.visio.example.gouv.fr",
    "LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s" * 32,
    "OIDC_OP_AUTHORIZATION_ENDPOINT": "https://auth.example.gouv.fr/authorize",
    "OIDC_OP_TOKEN_ENDPOINT": "https://auth.example.gouv.fr/token",
    "OIDC_OP_JWKS_ENDPOINT": "https://auth.example.gouv.fr/jwks",
    "OIDC_RP_CLIENT_ID": "visio", "OIDC_RP_CLIENT_SECRET": "hidden",
}  # fmt: skip
EVERYTHING = ENVIRON | {
    "RECORDING_ENABLE": "True", "ROOM_SUBTITLE_ENABLED": "True", "ROOM_SUBTITLE_AGENT_NAME": "agent",
    "CHECKS_CAPTIONS_SERVERS": "visio-captions.visio.svc.cluster.local",
    "AWS_S3_ENDPOINT_URL": "http://visio-garage:3900", "AWS_STORAGE_BUCKET_NAME": "visio",
    "AWS_S3_ACCESS_KEY_ID": "id", "AWS_S3_SECRET_ACCESS_KEY": "secret",
    "SUMMARY_SERVICE_ENDPOINT": "http://visio-summary/api/v2/async-jobs/transcribe", "SUMMARY_SERVICE_API_TOKEN": "t",
    "DJANGO_EMAIL_HOST": "smtp.example.gouv.fr", "IS_LASUITE_DOCS_INTEGRATION_ENABLED": "True",
    "LASUITE_DOCS_BASE_URL": "https://docs.example.gouv.fr", "LASUITE_DOCS_SERVER_TO_SERVER_API_KEY": "k",
    "IS_SUMMARY_ENABLED": "True", "LLM_BASE_URL": "https://llm.example.gouv.fr/v1", "LLM_API_KEY": "k",
    "LLM_MODEL": "m",
}  # fmt: skip


async def _nothing(*_: object) -> None:
    return None


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> dict[str, BaseException]:
    """Checks that ask nobody; those that stand here raise."""
    errors: dict[str, BaseException] = {}

    def instead(name: str) -> object:
        async def ask(call: Call) -> str:
            del call
            if name in errors:
                raise errors[name]
            return f"{name} works"

        return ask

    monkeypatch.setattr(order, "CHECKS", tuple(replace(check, ask=instead(check.name)) for check in order.CHECKS))
    monkeypatch.setattr(order, "delivered", _nothing)
    monkeypatch.setattr(order, "_leave", _nothing)
    return errors


async def _results(environ: Mapping[str, str], *only: str) -> dict[str, Result]:
    settings: Settings = read_settings(environ)
    return {result.check: result async for result in order.check_call(settings, only=only, patience=1)}


def test_the_names_are_those_of_the_checks() -> None:
    assert tuple(check.name for check in order.CHECKS) == NAMES
    assert all(NAMES.index(need) < NAMES.index(check.name) for check in order.CHECKS for need in check.needs)


async def test_what_is_not_enabled_is_not_checked(failing: dict[str, BaseException]) -> None:
    assert list(await _results(ENVIRON)) == ["web", "api", "sign-in", "join", "media", "data", "webhook"]
    assert list(await _results(EVERYTHING)) == list(NAMES)
    asked = (await _results(ENVIRON, "captions"))["captions"]
    assert asked.skipped and "has not enabled it" in asked.detail


async def test_a_failure_is_told_once_and_what_needs_it_is_not_tried(failing: dict[str, BaseException]) -> None:
    failing["media"] = Fault("spec.sfu.network", "nothing arrives", "open the firewall")
    results = await _results(EVERYTHING)
    assert {name for name, result in results.items() if not result.ok and not result.skipped} == {"media"}
    assert {name for name, result in results.items() if result.skipped} == {"data", "captions", "recording"}
    assert (results["media"].field, results["media"].next) == ("spec.sfu.network", "open the firewall")
    assert results["data"].detail == "not tried, since media did not pass"


async def test_a_check_that_can_say_nothing_is_not_a_failure(failing: dict[str, BaseException]) -> None:
    failing["transcription"] = NotTriedError("not tried, since the bucket cannot be used")
    assert (await _results(EVERYTHING))["transcription"].skipped


async def test_checks_that_are_named_bring_what_they_need(failing: dict[str, BaseException]) -> None:
    assert list(await _results(EVERYTHING, "captions")) == ["join", "media", "captions"]
    with pytest.raises(ValueError, match="no check nonsense; there are web"):
        await _results(EVERYTHING, "nonsense")


async def test_no_secret_is_told_when_something_unforeseen_happens(failing: dict[str, BaseException]) -> None:
    failing["web"] = RuntimeError("redis://:password@redis")
    told = (await _results(ENVIRON))["web"]
    assert told.detail == "unexpected RuntimeError"


async def test_a_check_that_takes_too_long_is_ended(
    failing: dict[str, BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def forever(call: Call) -> str:
        del call
        await asyncio.sleep(60)
        return ""

    slow = replace(order.CHECKS[0], ask=forever, limit=0.05)
    monkeypatch.setattr(order, "CHECKS", (slow, *order.CHECKS[1:]))
    results = await _results(ENVIRON, "web")
    assert results["web"].detail.startswith("not done within") and results["web"].field == "spec.host"
