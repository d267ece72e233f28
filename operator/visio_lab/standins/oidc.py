"""An OpenID Connect provider for the lab: everybody who asks is logged in as the same test user.

The clients and their secrets are in OIDC_CLIENTS (JSON: id to secret) or in the file that OIDC_CLIENTS_FILE names, and
the public URL in OIDC_ISSUER. OIDC_USER (JSON) changes the user's claims. Paths are those of the examples: /authorize,
/token, /userinfo, /jwks, /logout, and discovery.
"""

import base64
import hashlib
import json
import os
import secrets
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jwt
from aiohttp import BasicAuth, web
from cryptography.hazmat.primitives.asymmetric import rsa

from visio_lab.standins.environment import Environment

PORT = 8080
CODE_SECONDS, TOKEN_SECONDS = 60, 300
USER: dict[str, Any] = {
    "sub": "6f1d3a5e-lab-user",
    "email": "marianne@example.gouv.fr",
    "given_name": "Marianne",
    "usual_name": "Test",
}
"""Names as ProConnect gives them."""


@dataclass
class Login:
    """A code and what it is good for."""

    client: str
    redirect_uri: str
    nonce: str | None
    challenge: str | None
    expires: float


@dataclass
class Provider:
    """The provider's memory; nothing outlives the process."""

    issuer: str
    clients: dict[str, str]
    user: dict[str, Any]
    key: rsa.RSAPrivateKey = field(default_factory=lambda: rsa.generate_private_key(65537, 2048))
    key_id: str = field(default_factory=lambda: secrets.token_hex(4))
    codes: dict[str, Login] = field(default_factory=dict)
    tokens: dict[str, float] = field(default_factory=dict)

    def application(self) -> web.Application:
        """The provider's paths."""
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self.discovery)
        app.router.add_get("/jwks", self.jwks)
        app.router.add_get("/authorize", self.authorize)
        app.router.add_post("/token", self.token)
        app.router.add_get("/userinfo", self.userinfo)
        app.router.add_get("/logout", self.logout)
        app.router.add_get("/healthz", self.health)
        return app

    async def health(self, _: web.Request) -> web.Response:
        """Ready."""
        return web.Response(text="ok")

    async def discovery(self, _: web.Request) -> web.Response:
        """Where everything is."""
        endpoints = {
            f"{name}_endpoint": f"{self.issuer}{path}"
            for name, path in {
                "authorization": "/authorize",
                "token": "/token",
                "userinfo": "/userinfo",
                "end_session": "/logout",
            }.items()
        }
        return web.json_response(
            {
                "issuer": self.issuer,
                **endpoints,
                "jwks_uri": f"{self.issuer}/jwks",
                "response_types_supported": ["code"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            }
        )

    async def jwks(self, _: web.Request) -> web.Response:
        """The public key."""
        public = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return web.json_response({"keys": [{**public, "kid": self.key_id, "alg": "RS256", "use": "sig"}]})

    async def authorize(self, request: web.Request) -> web.Response:
        """Log the test user in and go back with a code; 400 for an unknown client or a request without its parts."""
        query = request.query
        client, redirect = query.get("client_id", ""), query.get("redirect_uri", "")
        if client not in self.clients:
            return web.Response(status=400, text="unknown client_id")
        if not redirect or query.get("response_type") != "code" or "openid" not in query.get("scope", "").split():
            return web.Response(status=400, text="redirect_uri, response_type=code and scope openid are required")
        code = secrets.token_urlsafe(24)
        login = Login(
            client, redirect, query.get("nonce"), query.get("code_challenge"), time.monotonic() + CODE_SECONDS
        )
        self.codes[code] = login
        back = urlencode({"code": code, **({"state": query["state"]} if "state" in query else {})})
        return web.Response(status=302, headers={"Location": f"{redirect}{'&' if '?' in redirect else '?'}{back}"})

    async def token(self, request: web.Request) -> web.Response:
        """Tokens for a code, once, and only to its client with its secret."""
        form = {key: str(value) for key, value in (await request.post()).items()}
        header = request.headers.get("Authorization", "")
        if header.startswith("Basic "):
            basic = BasicAuth.decode(header)
            form |= {"client_id": basic.login, "client_secret": basic.password}
        expected = self.clients.get(form.get("client_id", ""))
        if expected is None or not secrets.compare_digest(expected, form.get("client_secret", "")):
            return web.json_response({"error": "invalid_client"}, status=401)
        login = self.codes.pop(form.get("code", ""), None)
        if login is None or not self._fits(login, form):
            return web.json_response({"error": "invalid_grant"}, status=400)
        access, now = secrets.token_urlsafe(24), int(time.time())
        self.tokens[access] = time.monotonic() + TOKEN_SECONDS
        claims = {"iss": self.issuer, "sub": self.user["sub"], "aud": login.client, "iat": now}
        claims |= {"exp": now + TOKEN_SECONDS} | ({"nonce": login.nonce} if login.nonce else {})
        identity = jwt.encode(claims, self.key, algorithm="RS256", headers={"kid": self.key_id})
        return web.json_response(
            {"access_token": access, "token_type": "Bearer", "expires_in": TOKEN_SECONDS, "id_token": identity}
        )

    def _fits(self, login: Login, form: dict[str, str]) -> bool:
        if login.challenge is not None:
            digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
            if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != login.challenge:
                return False
        return (
            form.get("grant_type") == "authorization_code"
            and login.client == form["client_id"]
            and login.redirect_uri == form.get("redirect_uri")
            and login.expires > time.monotonic()
        )

    async def userinfo(self, request: web.Request) -> web.Response:
        """The user's claims to whoever has a token."""
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.tokens.get(token, 0.0) < time.monotonic():
            return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
        return web.json_response(self.user)

    async def logout(self, request: web.Request) -> web.Response:
        """Back to the page that the request names."""
        target = request.query.get("post_logout_redirect_uri", "")
        if not target:
            return web.Response(text="logged out")
        state = urlencode({"state": request.query["state"]}) if "state" in request.query else ""
        return web.Response(status=302, headers={"Location": f"{target}?{state}" if state else target})


def provider(environment: Environment) -> Provider:
    """The provider that the variables describe. Raises SystemExit (exit code 1) with the variable's name."""
    name = "OIDC_CLIENTS"
    if environment.optional("OIDC_CLIENTS_FILE"):
        name = "OIDC_CLIENTS_FILE"
        try:
            text = Path(environment.text(name)).read_text()
        except OSError as error:
            environment.refuse(name, f"cannot be read: {error.strerror}")
    else:
        text = environment.text(name)
    clients, user = _object(environment, name, text), USER
    if environment.optional("OIDC_USER"):
        user = USER | _object(environment, "OIDC_USER", environment.text("OIDC_USER"))
    return Provider(environment.url("OIDC_ISSUER").rstrip("/"), clients, user)


def _object(environment: Environment, name: str, text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, dict) or not found or not all(isinstance(value, str) for value in found.values()):
        environment.refuse(name, "must be a JSON object of strings")
    return found


def main(argv: list[str]) -> None:
    """`[--port P]` and the variables."""
    port = int(argv[1]) if argv[:1] == ["--port"] and len(argv) == 2 and argv[1].isdecimal() else PORT
    if argv and argv[0] != "--port":
        raise SystemExit(f"oidc: unknown argument {argv[0]}")
    web.run_app(provider(Environment(os.environ)).application(), port=port, access_log=None, print=None)


if __name__ == "__main__":
    main(sys.argv[1:])
