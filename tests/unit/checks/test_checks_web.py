"""Page, API, sign-in, webhooks, jobs and deliveries against servers that answer as the real ones, and then do not."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from livekit import api
from test_checks_order import EVERYTHING

from visio_checks.call import Call, NotTriedError
from visio_checks.deliveries import check_docs, check_llm
from visio_checks.fault import Fault
from visio_checks.settings import Service, SignIn, read_settings
from visio_checks.transcription import check_transcription
from visio_checks.web import check_api, check_sign_in, check_web
from visio_checks.webhook import check_webhook, delivered

KEY, SECRET = "key", "s" * 32


@dataclass
class World:
    """The servers, and what a test changes about them."""

    base: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    success: int = 0
    failure: int = 0
    job: list[Any] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        path = request.path
        if path in self.answers:
            answer = self.answers[path]
            return answer(request) if callable(answer) else web.json_response(status=answer)
        if path in self.fixed:
            return self.fixed[path]()
        own: dict[str, Callable[[web.Request], Awaitable[web.Response]]] = {
            "/token": self.token,
            "/api/v1.0/rooms/webhooks-livekit/": self.webhook,
            "/api/v1.0/documents/create-for-owner/": self.docs,
            "/jobs": self.jobs,
        }
        return await own[path](request) if path in own else web.Response(status=404)

    def __post_init__(self) -> None:
        livekit = {"livekit": {"url": "https://livekit.visio.example.gouv.fr"}}
        self.fixed: dict[str, Callable[[], web.Response]] = {
            "/": lambda: web.Response(text="<html></html>", content_type="text/html"),
            "/api/v1.0/config/": lambda: web.json_response(livekit),
            "/api/v1.0/authenticate/": lambda: web.Response(
                status=302, headers={"Location": f"{self.base}/authorize?client_id=visio&state=1"}
            ),
            "/authorize": lambda: web.Response(text="sign in"),
            "/jwks": lambda: web.json_response({"keys": [{}, {}]}),
            "/llm/models": lambda: web.json_response({"data": [{"id": "m"}]}),
            "/metrics": self.metrics,
            "/jobs/1": self.state,
            "/transcript": lambda: web.json_response({"segments": [{"text": "bonjour"}, {"text": "à tous"}]}),
        }

    def metrics(self) -> web.Response:
        line = 'livekit_webhook_dispatch_total{{node_id="a",reason="",status="{}"}} {}\n'
        return web.Response(text=line.format("success", self.success) + line.format("failure", self.failure))

    def state(self) -> web.Response:
        state = self.job.pop(0)
        return web.json_response(status=state) if isinstance(state, int) else web.json_response(state)

    async def token(self, request: web.Request) -> web.Response:
        form = await request.post()
        known = form["client_secret"] == "right" and form["client_id"] == "visio"
        return web.json_response({"error": "invalid_grant" if known else "invalid_client"}, status=400)

    async def webhook(self, request: web.Request) -> web.Response:
        receiver = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))
        try:
            receiver.receive(await request.text(), request.headers["Authorization"])
        except Exception:
            return web.json_response({}, status=400)
        return web.json_response({})

    async def docs(self, request: web.Request) -> web.Response:
        return web.json_response({}, status=400 if request.headers["Authorization"] == "Bearer right" else 403)

    async def jobs(self, request: web.Request) -> web.Response:
        if request.headers["Authorization"] != "Bearer right":
            return web.json_response({}, status=403)
        assert (await request.json())["cloud_storage_url"]
        return web.json_response({"job_id": "1", "status": "pending"})


@pytest.fixture
async def world() -> AsyncIterator[World]:
    state = World()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", state.handle)
    async with TestServer(app) as server:
        state.base = str(server.make_url("")).rstrip("/")
        yield state


@pytest.fixture
async def call(world: World, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Call]:
    settings = read_settings(EVERYTHING)
    base = world.base
    settings = replace(
        settings,
        origin=base,
        livekit=replace(settings.livekit, key=KEY, secret=SECRET, metrics=(base.removeprefix("http://"),)),
        sign_in=SignIn(f"{base}/authorize", f"{base}/token", f"{base}/jwks", "visio", "right"),
        summary=Service(f"{base}/jobs", "right"),
        docs=Service(base, "right"),
        llm=Service(f"{base}/llm", "right", "m"),
    )
    async with aiohttp.ClientSession() as http:
        monkeypatch.setattr("visio_checks.call._LEAST_PATIENCE", 0.2)
        made = Call(settings, http, patience=0.2)
        made.delivered = await delivered(http, settings.livekit.metrics)
        made.recorded, made.storage_works = "recordings/call.ogg", True
        monkeypatch.setattr("visio_checks.webhook._LONGEST", 0.2)
        yield made


Check = Callable[[Call], Awaitable[str]]


@pytest.mark.parametrize("check", [check_web, check_api, check_sign_in, check_docs, check_llm])
async def test_a_deployment_as_it_should_be_passes(check: Check, call: Call) -> None:
    assert await check(call)


@pytest.mark.parametrize(
    ("check", "path", "status", "field"),
    [
        (check_web, "/", 502, "spec.host"),
        (check_api, "/api/v1.0/config/", 503, "spec.host"),
        (check_sign_in, "/jwks", 404, "spec.oidc.jwksEndpoint"),
        (check_sign_in, "/token", 404, "spec.oidc.tokenEndpoint"),
        (check_sign_in, "/authorize", 400, "spec.oidc.authorizationEndpoint"),
        (check_sign_in, "/api/v1.0/authenticate/", 500, "spec.oidc.authorizationEndpoint"),
        (check_docs, "/api/v1.0/documents/create-for-owner/", 404, "spec.docs.url"),
        (check_llm, "/llm/models", 401, "spec.llm.secretRef"),
    ],
)
async def test_an_answer_that_is_wrong_names_its_field(
    check: Check, path: str, status: int, field: str, world: World, call: Call
) -> None:
    world.answers[path] = status
    with pytest.raises(Fault) as fault:
        await check(call)
    assert fault.value.field == field and fault.value.next_step


async def test_another_livekit_is_found(world: World, call: Call) -> None:
    world.answers["/api/v1.0/config/"] = lambda _: web.json_response({"livekit": {"url": "https://other.example"}})
    with pytest.raises(Fault, match=r"other\.example"):
        await check_api(call)


async def test_a_wrong_client_secret_is_told_from_a_wrong_code(call: Call) -> None:
    call.settings = replace(call.settings, sign_in=replace(call.settings.sign_in, client_secret="wrong"))
    with pytest.raises(Fault) as fault:
        await check_sign_in(call)
    assert fault.value.field == "spec.oidc.secretRef"
    assert "wrong" not in str(fault.value)


async def test_a_docs_key_that_is_refused_is_found(call: Call) -> None:
    call.settings = replace(call.settings, docs=replace(call.settings.docs, key="wrong"))  # type: ignore[type-var]
    with pytest.raises(Fault) as fault:
        await check_docs(call)
    assert fault.value.field == "spec.docs.secretRef"


async def test_a_webhook_has_to_be_accepted_and_delivered(world: World, call: Call) -> None:
    with pytest.raises(Fault, match=r"none of this call's webhooks .* \(0 failed"):
        await check_webhook(call)
    world.failure = 1
    with pytest.raises(Fault, match=r"1 failed for good"):
        await check_webhook(call)
    world.success = 2
    assert "delivered 2" in await check_webhook(call)
    call.settings = replace(call.settings, livekit=replace(call.settings.livekit, secret="t" * 32))
    with pytest.raises(Fault, match="does not take what LiveKit's key has signed"):
        await check_webhook(call)


async def test_a_job_is_followed_from_the_queue_to_its_words(world: World, call: Call) -> None:
    call._waits_until += 5
    done = {"status": "success", "transcription_data_url": f"{world.base}/transcript"}
    world.job = [404, {"status": "pending"}, done]
    assert (await check_transcription(call)).endswith("bonjour à tous")


async def test_a_job_that_nobody_takes_names_the_pool(world: World, call: Call) -> None:
    world.job = [404] * 20
    with pytest.raises(Fault) as fault:
        await check_transcription(call)
    assert fault.value.field == "spec.transcription.pool"


async def test_a_job_that_fails_says_why(world: World, call: Call) -> None:
    world.job = [json.loads('{"status": "failure", "error_code": "no_audio_in_file"}')]
    with pytest.raises(Fault, match="no_audio_in_file"):
        await check_transcription(call)


async def test_a_token_that_summary_refuses_is_found(call: Call) -> None:
    call.settings = replace(call.settings, summary=replace(call.settings.summary, key="wrong"))  # type: ignore[type-var]
    with pytest.raises(Fault, match="does not accept the API's token"):
        await check_transcription(call)


async def test_without_a_bucket_a_transcription_says_nothing(call: Call) -> None:
    call.storage_works = False
    with pytest.raises(NotTriedError):
        await check_transcription(call)
