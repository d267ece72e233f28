"""Checks of the servers that speak HTTP: the OpenID Connect provider, La Suite Docs, the language model."""

from __future__ import annotations

import json
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from visio_checks.fault import Fault, unreachable

Environ = Mapping[str, str]
NOT_THERE = (404, 410)


async def oidc(environ: Environ) -> str:
    """The provider's four endpoints and the client's secret, without signing anybody in."""
    async with _session() as session:
        await _signing_keys(session, environ["OIDC_JWKS_ENDPOINT"])
        await _is_there(session, "spec.oidc.authorizationEndpoint", environ["OIDC_AUTHORIZATION_ENDPOINT"])
        await _is_there(session, "spec.oidc.userEndpoint", environ["OIDC_USER_ENDPOINT"])
        await _client(session, environ)
    return "keys, endpoints and client secret are accepted"


async def _signing_keys(session: aiohttp.ClientSession, url: str) -> None:
    field = "spec.oidc.jwksEndpoint"
    status, body = await _ask(session, "GET", field, url)
    if status != 200:
        raise Fault(field, f"{_name(url)} answers {status} where signing keys are expected", "correct the URL")
    try:
        keys = json.loads(body)["keys"]
    except (ValueError, KeyError, TypeError):
        raise Fault(
            field, f"{_name(url)} gives no key set", "correct the URL: it is `jwks_uri` of the provider"
        ) from None
    if not keys:
        raise Fault(field, f"{_name(url)} gives an empty key set", "let the provider publish its signing keys")


async def _is_there(session: aiohttp.ClientSession, field: str, url: str) -> None:
    """Without parameters or a token an endpoint complains; only one that is not there says so, or fails."""
    status, _ = await _ask(session, "GET", field, url)
    if status in NOT_THERE or status >= 500:
        raise Fault(field, f"{_name(url)} answers {status}", "correct the URL")


async def _client(session: aiohttp.ClientSession, environ: Environ) -> None:
    """Trade a code that cannot be valid: the provider checks the client before it looks at the code (RFC 6749 5.2)."""
    field, url = "spec.oidc.tokenEndpoint", environ["OIDC_TOKEN_ENDPOINT"]
    form = {
        "grant_type": "authorization_code",
        "code": "preflight",
        "redirect_uri": environ["OIDC_REDIRECT_URI"],
        "client_id": environ["OIDC_CLIENT_ID"],
        "client_secret": environ["OIDC_CLIENT_SECRET"],
    }
    status, body = await _ask(session, "POST", field, url, data=form)
    if status in NOT_THERE or status == 405 or status >= 500:
        raise Fault(field, f"{_name(url)} answers {status} to a token request", "correct the URL")
    try:
        error = json.loads(body).get("error", "")
    except (ValueError, AttributeError):
        raise Fault(field, f"{_name(url)} does not answer as a token endpoint", "correct the URL") from None
    if error in ("invalid_client", "unauthorized_client"):
        problem = f"the provider does not accept the client {environ['OIDC_CLIENT_ID']} with this secret"
        raise Fault("spec.oidc.secretRef", problem, "put the client's secret into the Secret, or correct clientId")
    if not error:
        raise Fault(field, f"{_name(url)} answers {status} and no OAuth error to a wrong code", "correct the URL")


async def docs(environ: Environ) -> str:
    """La Suite Docs answers; nothing is written there, so the key itself is not tried."""
    url = environ["DOCS_URL"].rstrip("/")
    async with _session() as session:
        status, _ = await _ask(session, "GET", "spec.docs.url", f"{url}/api/v1.0/config/")
    if status in NOT_THERE or status >= 500:
        raise Fault("spec.docs.url", f"{_name(url)} answers {status} where Docs serves its API", "correct the URL")
    return "Docs answers"


async def llm(environ: Environ) -> str:
    """The model is in the list that the API gives for this key."""
    url, model = environ["LLM_URL"].rstrip("/"), environ["LLM_MODEL"]
    async with _session() as session:
        headers = {"Authorization": f"Bearer {environ['LLM_API_KEY']}"}
        status, body = await _ask(session, "GET", "spec.llm.url", f"{url}/models", headers=headers)
    if status in (401, 403):
        raise Fault("spec.llm.secretRef", f"{_name(url)} does not accept the key", "put a valid key into the Secret")
    if status != 200:
        raise Fault("spec.llm.url", f"{_name(url)}/models answers {status}", "correct the URL; it usually ends in /v1")
    try:
        entries = json.loads(body)["data"]
        names = [name for entry in entries for name in (entry["id"], *(entry.get("aliases") or ()))]
    except (ValueError, KeyError, TypeError, AttributeError):
        raise Fault("spec.llm.url", f"{_name(url)}/models gives no list of models", "correct the URL") from None
    if model not in names:
        offered = ", ".join(sorted(names)[:5]) or "none"
        raise Fault("spec.llm.model", f"there is no model {model}; offered are {offered}", "name one of them")
    return f"{model} is offered"


def _session() -> aiohttp.ClientSession:
    # SSL_CERT_FILE, which a private authority is mounted with, is read when the context is made.
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=ssl.create_default_context()), trust_env=True)


async def _ask(session: aiohttp.ClientSession, method: str, field: str, url: str, **kwargs: Any) -> tuple[int, bytes]:
    try:
        async with session.request(method, url, allow_redirects=False, **kwargs) as response:
            return response.status, await response.content.read(1_000_000)
    except (aiohttp.ClientError, OSError) as error:
        raise unreachable(field, _name(url), error) from None
    except ValueError:
        problem = "what is sent to it holds a line break or another character that HTTP does not carry"
        raise Fault(field, f"{_name(url)}: {problem}", "correct the URL and the Secret") from None


def _name(url: str) -> str:
    """The URL without anything that may be secret."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname}{':' + str(parts.port) if parts.port else ''}{parts.path}"
