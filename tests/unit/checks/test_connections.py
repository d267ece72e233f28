"""Each fault of a connection is told with the field that has to change and the next step, and without a secret."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping

import pytest
from aiohttp import web

from visio_checks import connections
from visio_checks.connections import check_connections
from visio_checks.result import Result
from visio_checks.stores import without_libpq_options

SECRET = "s3cret-value"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "AGAIN_AFTER_S", 0.01)


@pytest.fixture
async def provider() -> AsyncIterator[str]:
    """An OpenID provider that knows one client, beside the list of a language model; gives its base URL."""

    async def token(request: web.Request) -> web.Response:
        form = await request.post()
        known = (form["client_id"], form["client_secret"]) == ("visio", SECRET)
        error = "invalid_grant" if known else "invalid_client"
        return web.json_response({"error": error}, status=400 if known else 401)

    async def models(request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != f"Bearer {SECRET}":
            return web.json_response({}, status=401)
        return web.json_response({"data": [{"id": "albert-large"}]})

    async def jwks(_: web.Request) -> web.Response:
        return web.json_response({"keys": [{"kty": "RSA"}]})

    async def page(_: web.Request) -> web.Response:
        return web.Response(text="<html>")

    async def user(_: web.Request) -> web.Response:
        return web.Response(status=401)

    application = web.Application()
    application.router.add_get("/jwks", jwks)
    application.router.add_get("/authorize", page)
    application.router.add_get("/userinfo", user)
    application.router.add_post("/token", token)
    application.router.add_get("/v1/models", models)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield site.name if site.name.rsplit(":", 1)[1] != "0" else f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


def oidc(base: str, **changes: str) -> dict[str, str]:
    return {
        "CHECKS": "oidc",
        "OIDC_JWKS_ENDPOINT": f"{base}/jwks",
        "OIDC_AUTHORIZATION_ENDPOINT": f"{base}/authorize",
        "OIDC_TOKEN_ENDPOINT": f"{base}/token",
        "OIDC_USER_ENDPOINT": f"{base}/userinfo",
        "OIDC_REDIRECT_URI": "https://visio.example.fr/api/v1.0/callback/",
        "OIDC_CLIENT_ID": "visio",
        "OIDC_CLIENT_SECRET": SECRET,
        **changes,
    }


async def the_result(environ: Mapping[str, str]) -> Result:
    (result,) = [result async for result in check_connections(environ)]
    assert SECRET not in str(result)
    return result


async def test_a_provider_that_knows_the_client_is_in_order(provider: str) -> None:
    assert (await the_result(oidc(provider))).ok


@pytest.mark.parametrize(
    ("variable", "path", "field"),
    [
        ("OIDC_JWKS_ENDPOINT", "/nothing", "spec.oidc.jwksEndpoint"),
        ("OIDC_JWKS_ENDPOINT", "/authorize", "spec.oidc.jwksEndpoint"),
        ("OIDC_AUTHORIZATION_ENDPOINT", "/nothing", "spec.oidc.authorizationEndpoint"),
        ("OIDC_TOKEN_ENDPOINT", "/nothing", "spec.oidc.tokenEndpoint"),
        ("OIDC_TOKEN_ENDPOINT", "/authorize", "spec.oidc.tokenEndpoint"),
        ("OIDC_USER_ENDPOINT", "/nothing", "spec.oidc.userEndpoint"),
    ],
)
async def test_a_wrong_endpoint_is_named(provider: str, variable: str, path: str, field: str) -> None:
    result = await the_result(oidc(provider, **{variable: f"{provider}{path}"}))
    assert (result.ok, result.field) == (False, field)
    assert "correct the URL" in result.next or "jwks_uri" in result.next


async def test_a_wrong_client_secret_is_told_apart_from_a_wrong_endpoint(provider: str) -> None:
    result = await the_result(oidc(provider, OIDC_CLIENT_SECRET="other"))
    assert (result.ok, result.field) == (False, "spec.oidc.secretRef")


async def test_a_model_that_is_not_offered_and_a_wrong_key_have_their_own_fields(provider: str) -> None:
    environ = {"CHECKS": "llm", "LLM_URL": f"{provider}/v1", "LLM_MODEL": "albert-large", "LLM_API_KEY": SECRET}
    assert (await the_result(environ)).ok
    assert (await the_result({**environ, "LLM_MODEL": "other"})).field == "spec.llm.model"
    assert (await the_result({**environ, "LLM_API_KEY": "wrong"})).field == "spec.llm.secretRef"
    assert (await the_result({**environ, "LLM_URL": provider})).field == "spec.llm.url"


def closed_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def to(host: str, port: int) -> dict[str, dict[str, str]]:
    """The environment of every store and of the relay, all at one place."""
    return {
        "database": {
            "DATABASE_HOST": host,
            "DATABASE_PORT": str(port),
            "DATABASE_NAME": "meet",
            "DATABASE_USER": "meet",
            "DATABASE_PASSWORD": SECRET,
        },
        "redis": {"REDIS_HOST": host, "REDIS_PORT": str(port), "REDIS_PASSWORD": SECRET},
        "objectStorage": {
            "S3_ENDPOINT": f"http://{host}:{port}",
            "S3_REGION": "eu-west-2",
            "S3_BUCKET": "media",
            "S3_ACCESS_KEY_ID": "key",
            "S3_SECRET_ACCESS_KEY": SECRET,
        },
        "mail": {"MAIL_HOST": host, "MAIL_PORT": str(port), "MAIL_SECURITY": "none"},
    }


FIELDS = {
    "database": "spec.database.host",
    "redis": "spec.redis.host",
    "objectStorage": "spec.objectStorage.endpoint",
    "mail": "spec.mail.host",
}


@pytest.mark.parametrize("name", FIELDS)
async def test_a_closed_port_and_an_unknown_name_are_told_apart(name: str) -> None:
    closed = await the_result({"CHECKS": name, **to("127.0.0.1", closed_port())[name]})
    assert (closed.ok, closed.field) == (False, FIELDS[name])
    assert "refuse" in closed.detail
    unknown = await the_result({"CHECKS": name, **to("nowhere.invalid", 1)[name]})
    assert (unknown.ok, unknown.field) == (False, FIELDS[name])
    assert "does not resolve" in unknown.detail


@pytest.fixture
async def hangs_up() -> AsyncIterator[int]:
    """A port that reads a little and closes, as a TLS server does with plain text; gives its number."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(16)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()


async def test_an_object_store_behind_tls_asks_for_the_other_scheme(hangs_up: int) -> None:
    result = await the_result({"CHECKS": "objectStorage", **to("127.0.0.1", hangs_up)["objectStorage"]})
    assert (result.ok, result.field) == (False, "spec.objectStorage.endpoint")
    assert result.next == f"use https://127.0.0.1:{hangs_up}"


async def test_an_object_store_in_plain_text_asks_for_the_other_scheme(provider: str) -> None:
    environ = {**to("127.0.0.1", 1)["objectStorage"], "S3_ENDPOINT": provider.replace("http", "https")}
    result = await the_result({"CHECKS": "objectStorage", **environ})
    assert (result.ok, result.field) == (False, "spec.objectStorage.endpoint")
    assert result.next == f"use {provider}"


async def test_a_page_where_an_object_store_is_expected_is_a_wrong_endpoint(provider: str) -> None:
    result = await the_result(
        {"CHECKS": "objectStorage", **to("127.0.0.1", 1)["objectStorage"], "S3_ENDPOINT": provider}
    )
    assert (result.ok, result.field) == (False, "spec.objectStorage.endpoint")


async def test_what_nobody_foresaw_is_told_without_its_text(monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: Mapping[str, str]) -> str:
        raise RuntimeError(SECRET)

    monkeypatch.setitem(connections.CHECKS, "redis", connections.Check(fail, "spec.redis"))
    result = await the_result({"CHECKS": "redis"})
    assert (result.ok, result.field) == (False, "spec.redis")
    assert "RuntimeError" in result.detail


async def test_a_key_with_a_line_break_is_told_as_such(provider: str) -> None:
    environ = {"CHECKS": "llm", "LLM_URL": f"{provider}/v1", "LLM_MODEL": "albert-large"}
    result = await the_result({**environ, "LLM_API_KEY": f"{SECRET}\n"})
    assert not result.ok
    assert "line break" in result.detail


def test_a_database_url_keeps_only_what_is_not_the_librarys() -> None:
    url = "postgres://u:p%2F@h:5432/d?sslmode=verify-full&connect_timeout=10&keepalives=1&application_name=visio"
    assert without_libpq_options(url) == "postgres://u:p%2F@h:5432/d?sslmode=verify-full&application_name=visio"


async def test_a_server_that_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LONGEST_S", 0.1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        result = await the_result({"CHECKS": "redis", **to("127.0.0.1", silent.getsockname()[1])["redis"]})
    assert (result.ok, result.field) == (False, "spec.redis")
    assert "no answer within" in result.detail


async def test_an_unknown_check_is_bad_input() -> None:
    with pytest.raises(ValueError, match="CHECKS names nothing"):
        [result async for result in check_connections({"CHECKS": "nothing"})]
