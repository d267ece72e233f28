"""The page, the API and sign-in, as a browser reaches them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp

from .call import Call
from .fault import Fault, unreachable

_SHOWN = 120
"""Characters of a foreign answer that are shown."""
_NO_ROUTE = "look at the route and the certificate of host, and at the logs of"


async def answer(
    http: aiohttp.ClientSession, method: str, url: str, field: str, **options: Any
) -> tuple[int, Mapping[str, str], str]:
    """Status, headers and text of one request that follows no redirect; raises Fault when no answer comes."""
    try:
        async with http.request(method, url, allow_redirects=False, **options) as response:
            return response.status, response.headers, await response.text(errors="replace")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise unreachable(field, without_query(url), error) from None


def without_query(url: str) -> str:
    """A URL without what may be secret in it."""
    return url.split("?", 1)[0]


async def check_web(call: Call) -> str:
    """The page comes from the public host."""
    url = f"{call.settings.origin}/"
    status, headers, text = await answer(call.http, "GET", url, "spec.host")
    kind = headers.get("Content-Type", "").split(";")[0]
    if status != 200 or kind != "text/html":
        raise Fault("spec.host", f"GET {url} gives {status} {kind} and no page", f"{_NO_ROUTE} frontend")
    return f"{len(text)} characters of HTML"


async def check_api(call: Call) -> str:
    """The API answers, and sends browsers to the LiveKit of this deployment."""
    url = f"{call.settings.origin}/api/v1.0/config/"
    status, _, text = await answer(call.http, "GET", url, "spec.host")
    if status != 200:
        raise Fault("spec.host", f"GET {url} gives {status}", f"{_NO_ROUTE} backend")
    try:
        livekit = str(json.loads(text)["livekit"]["url"])
    except (ValueError, KeyError, TypeError):
        raise Fault(
            "spec.host", f"GET {url} gives no configuration: {text[:_SHOWN]!r}", f"{_NO_ROUTE} backend"
        ) from None
    if urlsplit(livekit).netloc != urlsplit(call.settings.livekit.url).netloc:
        problem = f"the API sends browsers to {livekit} instead of {call.settings.livekit.url}"
        raise Fault("spec.livekitHost", problem, "look for LIVEKIT_API_URL in overrides, and restart backend")
    return f"browsers are sent to {livekit}"


async def check_sign_in(call: Call) -> str:
    """The API sends people to the provider, and the provider knows the client by its secret.

    Nobody signs in: the provider is asked to exchange a code that it never gave out, and must refuse the code
    (`invalid_grant`), not the client (`invalid_client`); RFC 6749, section 5.2.
    """
    provider = call.settings.sign_in
    await _sent_to_provider(call)
    status, _, text = await answer(call.http, "GET", provider.jwks, "spec.oidc.jwksEndpoint")
    try:
        keys = len(json.loads(text)["keys"])
    except (ValueError, KeyError, TypeError):
        problem = f"GET {provider.jwks} gives {status} and no signing keys"
        raise Fault("spec.oidc.jwksEndpoint", problem, "correct the URL: it is `jwks_uri` of the provider") from None
    form = {
        "grant_type": "authorization_code",
        "code": "visio-operator-smoke",
        "redirect_uri": f"{call.settings.origin}/api/v1.0/callback/",
        "client_id": provider.client_id,
        "client_secret": provider.client_secret,
    }
    status, _, text = await answer(call.http, "POST", provider.token, "spec.oidc.tokenEndpoint", data=form)
    try:
        error = str(json.loads(text)["error"])
    except (ValueError, KeyError, TypeError):
        problem = f"the token endpoint gives {status} and no OAuth error to a wrong code"
        raise Fault("spec.oidc.tokenEndpoint", problem, "correct the URL") from None
    if error in ("invalid_client", "unauthorized_client"):
        problem = f"the provider does not accept the client {provider.client_id} with this secret"
        raise Fault("spec.oidc.secretRef", problem, "put the client's secret into the Secret, or correct clientId")
    if status >= 500:
        raise Fault("spec.oidc.tokenEndpoint", f"the token endpoint gives {status} ({error})", "repair the provider")
    return f"{keys} signing keys, and the provider knows the client {provider.client_id}"


async def _sent_to_provider(call: Call) -> None:
    provider, field = call.settings.sign_in, "spec.oidc.authorizationEndpoint"
    url = f"{call.settings.origin}/api/v1.0/authenticate/"
    status, headers, _ = await answer(call.http, "GET", url, "spec.host")
    target = headers.get("Location", "")
    if status != 302 or not target.startswith(provider.authorization):
        where = without_query(target) or "nowhere"
        problem = f"GET {url} gives {status} to {where} instead of 302 to {provider.authorization}"
        raise Fault(field, problem, "look at the logs of backend")
    if parse_qs(urlsplit(target).query).get("client_id") != [provider.client_id]:
        raise Fault("spec.oidc.clientId", "the API signs in as another client", "look at the logs of backend")
    status, _, _ = await answer(call.http, "GET", target, field)
    if status >= 400:
        raise Fault(field, f"the provider gives {status} to the request to sign in", "let it accept the redirect URI")
