"""What the summary service answers to its tenants, and what its worker says of what it cannot transcribe."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from minio import Minio
from visio_fakes import Others
from visio_stack import Services, Visio, eventually

from rendered_environment import KEY_ID, SECRET, SECRETS

TRANSCRIBE, BUCKET = "/api/v2/async-jobs/transcribe", "meet-media-storage"
JOB = {"user_sub": "sub", "cloud_storage_url": "http://127.0.0.1:1/recordings/a.ogg", "language": "fr"}
BEARER = {"Authorization": f"Bearer {SECRETS['summaryApiToken']}"}


@pytest_asyncio.fixture
async def tenant(visio: Visio) -> AsyncIterator[aiohttp.ClientSession]:
    """Somebody who knows the service's address."""
    async with aiohttp.ClientSession(visio.summary) as session:
        yield session


async def ask(tenant: aiohttp.ClientSession, method: str, path: str, **options: Any) -> aiohttp.ClientResponse:
    """One request, whose answer is read."""
    async with tenant.request(method, path, **options) as response:
        await response.read()
        return response


@pytest.mark.parametrize("path", ["/__heartbeat__", "/__lbheartbeat__"])
async def test_the_kubelet_is_answered(tenant: aiohttp.ClientSession, path: str) -> None:
    assert (await ask(tenant, "GET", path)).status == 200


async def test_a_wrong_key_is_forbidden(tenant: aiohttp.ClientSession) -> None:
    assert (await ask(tenant, "POST", TRANSCRIBE, json=JOB, headers={"Authorization": "Bearer wrong"})).status == 403
    assert (await ask(tenant, "POST", TRANSCRIBE, json=JOB)).status in (401, 403)


@pytest.mark.parametrize("change", [{"language": "tlh"}, {"cloud_storage_url": "recordings/a.ogg"}, {"user_sub": None}])
async def test_a_malformed_job_is_unprocessable(tenant: aiohttp.ClientSession, change: dict[str, Any]) -> None:
    response = await ask(tenant, "POST", TRANSCRIBE, json=JOB | change, headers=BEARER)
    assert response.status == 422
    assert (await response.json())["detail"][0]["loc"] == ["body", *change]


async def test_a_slash_at_the_end_costs_a_redirect(tenant: aiohttp.ClientSession) -> None:
    response = await ask(tenant, "POST", f"{TRANSCRIBE}/", json=JOB, headers=BEARER, allow_redirects=False)
    assert response.status == 307


async def test_an_unknown_job_is_not_found(tenant: aiohttp.ClientSession) -> None:
    assert (await ask(tenant, "GET", f"{TRANSCRIBE}/no-such-job", headers=BEARER)).status == 404


async def outcome(tenant: aiohttp.ClientSession, recorded: Others, url: str) -> dict[str, Any]:
    """Ask for the transcript of a file; returns what the tenant's webhook hears."""
    accepted = await (
        await ask(tenant, "POST", TRANSCRIBE, json=JOB | {"cloud_storage_url": url}, headers=BEARER)
    ).json()
    job = accepted["job_id"]
    assert accepted == {"job_id": job, "type": "transcript", "status": "pending"}

    async def told() -> Any:
        return [each for each in recorded.named("webhook") if each["job_id"] == job]

    (told_once,) = await eventually(told, "the tenant hears of its job", 60)
    return dict(told_once)


async def test_what_is_no_recording_is_told_so(
    tenant: aiohttp.ClientSession, recorded: Others, around: Services, visio: Visio
) -> None:
    store = Minio(endpoint=f"127.0.0.1:{around.s3}", access_key=KEY_ID, secret_key=SECRET, secure=False)
    content = b"no sound at all"
    await asyncio.to_thread(store.put_object, BUCKET, "recordings/none.ogg", io.BytesIO(content), len(content))
    told = await outcome(tenant, recorded, store.presigned_get_object(BUCKET, "recordings/none.ogg"))
    assert told["error_code"] == "no_audio_in_file"


async def test_a_recording_that_cannot_be_fetched_is_a_failure(tenant: aiohttp.ClientSession, recorded: Others) -> None:
    told = await outcome(tenant, recorded, JOB["cloud_storage_url"])
    assert (told["status"], told["error_code"]) == ("failure", "unknown_error")
    shown = await (await ask(tenant, "GET", f"{TRANSCRIBE}/{told['job_id']}", headers=BEARER)).json()
    assert shown["status"] == "failure"


async def test_a_text_becomes_a_summary(tenant: aiohttp.ClientSession, recorded: Others, visio: Visio) -> None:
    asked = {"user_sub": "sub", "content": "**Marianne**: Bonjour"}
    path = "/api/v2/async-jobs/summarize"
    accepted = await (await ask(tenant, "POST", path, json=asked, headers=BEARER)).json()
    assert (accepted["type"], accepted["status"]) == ("summary", "pending")

    async def told() -> Any:
        return [each for each in recorded.named("webhook") if each["job_id"] == accepted["job_id"]]

    (told_once,) = await eventually(told, "the tenant hears of its summary", 60)
    assert told_once["status"] == "success"
    async with aiohttp.ClientSession() as reader, reader.get(told_once["summary_data_url"]) as response:
        assert "answer" in await response.text()
    call = recorded.named("llm")[0]
    assert call["model"] == visio.summary_environment["LLM_MODEL"]
    assert call["Authorization"] == f"Bearer {SECRETS['apiKey']}"
    # In short, the plan, its one part, the next steps, and the cleaning.
    assert len(recorded.named("llm")) == 5
