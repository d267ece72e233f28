"""A browser's part: cookies, the ingress's headers, and the login with the OpenID provider."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import uuid
import wave
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from livekit import api
from visio_stack import HOST

from rendered_environment import SECRETS

API = "/api/v1.0"
ORIGIN = f"https://{HOST}"


@dataclass
class Browser:
    """One person in front of the API, as it sees them behind the ingress."""

    session: aiohttp.ClientSession
    base: str
    cookies: dict[str, str] = field(default_factory=dict)

    async def ask(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any
    ) -> aiohttp.ClientResponse:
        """One request; the body is read, redirects are not followed."""
        own = {"Host": HOST, "X-Forwarded-Proto": "https", "Referer": f"{ORIGIN}/"}
        if self.cookies:
            own["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            own["X-CSRFToken"] = self.cookies.get("csrftoken", "")
        response = await self.session.request(
            method, self.base + path, headers=own | (headers or {}), allow_redirects=False, **options
        )
        await response.read()
        for name, cookie in response.cookies.items():
            self.cookies[name] = cookie.value
        return response

    async def login(self) -> aiohttp.ClientResponse:
        """Go to the provider and come back; returns the last answer."""
        to_provider = await self.ask("GET", f"{API}/authenticate/")
        async with self.session.get(to_provider.headers["Location"], allow_redirects=False) as response:
            back = urlsplit(response.headers["Location"])
        return await self.ask("GET", f"{back.path}?{back.query}")

    async def new_room(self) -> dict[str, Any]:
        """A room that this person owns."""
        response = await self.ask("POST", f"{API}/rooms/", json={"name": f"room {uuid.uuid4().hex[:12]}"})
        assert response.status == 201, await response.text()
        room: dict[str, Any] = await response.json()
        return room

    async def livekit_event(self, event: dict[str, Any], secret: str = "") -> aiohttp.ClientResponse:
        """An event as LiveKit delivers it, signed with the key pair and without anybody's session."""
        text = json.dumps(event)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        token = api.AccessToken(SECRETS["livekitApiKey"], secret or SECRETS["livekitApiSecret"]).with_sha256(digest)
        headers = {"Authorization": token.to_jwt(), "Content-Type": "application/webhook+json"}
        livekit = Browser(self.session, self.base)
        return await livekit.ask("POST", f"{API}/rooms/webhooks-livekit/", data=text, headers=headers)


def sound(seconds: int) -> bytes:
    """A WAV file of silence."""
    target = io.BytesIO()
    with wave.open(target, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(2)
        audio.setframerate(8000)
        audio.writeframes(bytes(16000 * seconds))
    return target.getvalue()
