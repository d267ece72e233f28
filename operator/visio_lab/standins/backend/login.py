"""Login by OpenID Connect: the authorization code flow with the provider's real endpoints."""

import base64
import hashlib
import os
import re
import secrets
import ssl
import uuid
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import aiohttp
import certifi
import jwt
from aiohttp import web

from visio_lab.standins.backend.http import (
    API,
    CSRF_COOKIE,
    SESSION_COOKIE,
    Backend,
    Json,
    backend,
    is_secure,
)


class LoginError(ValueError):
    """The provider's answer is not one: 400, as Django answers to a suspicious operation."""


def trust() -> ssl.SSLContext:
    """Certificates as the library `requests` finds them: it reads its own variables and never SSL_CERT_FILE."""
    file = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or certifi.where()
    return ssl.create_default_context(cafile=file)


def add_routes(application: web.Application) -> None:
    """The login's paths and the page about oneself."""
    application.router.add_get(f"{API}/authenticate/", authenticate)
    application.router.add_get(f"{API}/callback/", callback)
    for add in (application.router.add_get, application.router.add_post):
        add(f"{API}/logout/", logout)
    application.router.add_get(f"{API}/logout-callback/", logout)
    application.router.add_get(f"{API}/users/me/", me)


def _callback_url(request: web.Request) -> str:
    return f"{'https' if is_secure(request) else 'http'}://{request.host}{API}/callback/"


def _set_cookie(request: web.Request, response: web.Response, name: str, value: str, age: int) -> None:
    response.set_cookie(
        name, value, max_age=age, path="/", secure=True, httponly=name == SESSION_COOKIE, samesite="Lax"
    )


def _next_url(server: Backend, request: web.Request) -> str:
    """Where to go after the login, if it is a page of ours."""
    target = request.query.get("returnTo", "")
    allowed = {*server.settings.oidc.redirect_hosts, request.host}
    return target if urlsplit(target).scheme == "https" and urlsplit(target).netloc in allowed else ""


async def authenticate(request: web.Request) -> web.Response:
    """Send the browser to the provider."""
    server, oidc = backend(request), backend(request).settings.oidc
    state, nonce = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
    parameters: Json = {
        "response_type": "code",
        "scope": oidc.scopes,
        "client_id": oidc.client_id,
        "redirect_uri": _callback_url(request),
        "state": state,
        "nonce": nonce,
        **oidc.extra,
    }
    if request.query.get("silent", "").lower() in ("true", "1", "yes"):
        parameters["prompt"] = "none"
    verifier = secrets.token_urlsafe(48) if oidc.pkce else None
    if verifier is not None:
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        parameters |= {"code_challenge": challenge, "code_challenge_method": "S256"}
    key, session = await server.session(request)
    session.setdefault("oidc_states", {})[state] = {"nonce": nonce, "code_verifier": verifier}
    session["oidc_login_next"] = _next_url(server, request)
    key = await server.save_session(key, session)
    target = f"{oidc.authorization_endpoint}?{urlencode(parameters)}"
    response = web.Response(status=302, headers={"Location": target})
    _set_cookie(request, response, SESSION_COOKIE, key, server.settings.session_seconds)
    return response


async def callback(request: web.Request) -> web.Response:
    """Exchange the code, check who it is, and open the session."""
    server, oidc = backend(request), backend(request).settings.oidc
    failure = web.Response(status=302, headers={"Location": oidc.failure_redirect})
    key, session = await server.session(request)
    if not {"code", "state"} <= set(request.query) or "oidc_states" not in session:
        return failure
    expected = session["oidc_states"].pop(request.query["state"], None)
    if expected is None:
        return web.Response(status=400, text="<h1>Bad Request (400)</h1>", content_type="text/html")
    try:
        claims = await _identify(server, request.query["code"], _callback_url(request), expected)
    except LoginError as error:
        print(f"login: {error}", flush=True)
        return web.Response(status=400, text="<h1>Bad Request (400)</h1>", content_type="text/html")
    except (aiohttp.ClientError, TimeoutError, jwt.PyJWTError) as error:
        print(f"login: {type(error).__name__}: {error}", flush=True)
        return web.Response(status=500, text="<h1>Server Error (500)</h1>", content_type="text/html")
    identity = await _user(server, claims)
    target = session.pop("oidc_login_next", "") or oidc.login_redirect
    # A new key, so that one known from before the login opens nothing.
    await server.drop_session(key)
    key = await server.save_session("", {"_auth_user_id": str(identity)})
    response = web.Response(status=302, headers={"Location": target})
    _set_cookie(request, response, SESSION_COOKIE, key, server.settings.session_seconds)
    _set_cookie(request, response, CSRF_COOKIE, secrets.token_hex(16), 365 * 86400)
    return response


async def _identify(server: Backend, code: str, redirect: str, expected: Json) -> Mapping[str, Any]:
    """The provider's claims about the user. Raises LoginError, or aiohttp's and PyJWT's errors."""
    oidc = server.settings.oidc
    timeout = aiohttp.ClientTimeout(total=oidc.timeout_s)
    async with aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=trust())) as session:
        form = {
            "client_id": oidc.client_id,
            "client_secret": oidc.client_secret,
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect,
            **({"code_verifier": expected["code_verifier"]} if expected["code_verifier"] else {}),
        }
        async with session.post(oidc.token_endpoint, data=form) as response:
            response.raise_for_status()
            tokens = await response.json()
        async with session.get(oidc.jwks_endpoint) as response:
            response.raise_for_status()
            keys = jwt.PyJWKSet.from_dict(await response.json())
        payload = _verified(tokens["id_token"], keys, oidc.algorithm)
        if payload.get("nonce") != expected["nonce"]:
            raise LoginError("the identity token's nonce is not ours")
        headers = {"Authorization": f"Bearer {tokens['access_token']}"}
        async with session.get(oidc.user_endpoint, headers=headers) as response:
            response.raise_for_status()
            signed = response.content_type == "application/jwt"
            claims: Mapping[str, Any] = (
                _verified(await response.text(), keys, oidc.algorithm)
                if signed
                else await response.json(content_type=None)
            )
    if not claims.get("sub"):
        raise LoginError("the provider names no subject")
    return claims


def _verified(token: str, keys: jwt.PyJWKSet, algorithm: str) -> Mapping[str, Any]:
    identity = jwt.get_unverified_header(token).get("kid")
    try:
        key = next(each for each in keys.keys if each.key_id == identity)
    except StopIteration:
        raise LoginError("no key of the provider fits its token") from None
    payload: Mapping[str, Any] = jwt.decode(token, key.key, algorithms=[algorithm], options={"verify_aud": False})
    return payload


async def _user(server: Backend, claims: Mapping[str, Any]) -> uuid.UUID:
    name = " ".join(str(claims[field]) for field in server.settings.oidc.fullname_fields if claims.get(field)) or None
    async with server.database() as connection:
        identity: uuid.UUID = await connection.fetchval(
            "INSERT INTO meet_user (id, sub, email, full_name, short_name, language) VALUES ($1, $2, $3, $4, $5, $6)"
            " ON CONFLICT (sub) DO UPDATE SET email = excluded.email, full_name = excluded.full_name,"
            " short_name = excluded.short_name RETURNING id",
            uuid.uuid4(),
            claims["sub"],
            claims.get("email"),
            name,
            claims.get(server.settings.oidc.shortname_field),
            server.settings.language,
        )
    return identity


async def logout(request: web.Request) -> web.Response:
    """Close the session and leave by the configured page."""
    server = backend(request)
    key, _ = await server.session(request)
    if key:
        await server.drop_session(key)
    response = web.Response(status=302, headers={"Location": server.settings.oidc.logout_redirect})
    response.del_cookie(SESSION_COOKIE, path="/")
    return response


async def me(request: web.Request) -> web.Response:
    """Who is logged in."""
    return web.json_response(describe_user(await backend(request).require_user(request)))


def describe_user(user: Mapping[str, Any]) -> Json:
    """A user as the API shows one."""
    return {
        "id": str(user["id"]),
        "email": user["email"],
        "full_name": user["full_name"],
        "short_name": user["short_name"],
        "timezone": user["timezone"],
        "language": user["language"],
        "default_room_access_level": user["default_room_access_level"],
        "default_room_configuration": {},
    }


def slug(text: str) -> str:
    """A name as part of a URL (Django's slugify)."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", text.lower(), flags=re.ASCII)).strip("-_")
