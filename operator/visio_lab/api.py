"""Reading, watching and writing objects of the lab's API server, for the lab's own programs.

Plain HTTP with the lab's client certificate: objects stay the dictionaries that the API server sent, which is what a
kubelet and a cloud need and keeps a lab with hundreds of pods small.
"""

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from visio_lab.context import API_PORT, LabContext

Json = dict[str, Any]

RETRY_S = 0.2
ATTEMPTS = 5
PASSING = (429, 500, 502, 503, 504)
"""HTTP statuses by which an API server says: not now."""
WATCH_S = 240
STRATEGIC = "application/strategic-merge-patch+json"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
FIELD_MANAGER = "visio-lab"


class ApiError(Exception):
    """The API server's refusal: `status` is the HTTP status, the text is its message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Event:
    """One change seen by a watch. `kind` is ADDED, MODIFIED or DELETED, and SYNCED once after the first full list."""

    kind: str
    object: Json


class Api:
    """The API server. Paths are the API's own, such as `/api/v1/nodes/worker-a/status`."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.session = session

    async def request(
        self, method: str, path: str, body: Json | None = None, *, content: str = "application/json", **params: str
    ) -> Json:
        """Send one request and return the answer, again after a passing failure of the server or the connection.

        Raises ApiError on a refusal, aiohttp.ClientError or TimeoutError when ATTEMPTS brought no answer.
        """
        attempt = 1
        while True:
            try:
                return await self._once(method, path, body, content, params)
            except (ApiError, aiohttp.ClientError, TimeoutError) as error:
                if attempt == ATTEMPTS or (isinstance(error, ApiError) and error.status not in PASSING):
                    raise
            await asyncio.sleep(RETRY_S * attempt)
            attempt += 1

    async def _once(self, method: str, path: str, body: Json | None, content: str, params: Mapping[str, str]) -> Json:
        data = None if body is None else json.dumps(body)
        headers = {"Content-Type": content}
        async with self.session.request(method, path, data=data, headers=headers, params=params) as response:
            text = await response.text()
            if response.status >= 400:
                raise ApiError(response.status, _message(text))
            answer: Json = json.loads(text)
            return answer

    async def get(self, path: str) -> Json:
        """One object. Raises ApiError, status 404 when there is none."""
        return await self.request("GET", path)

    async def apply(self, path: str, body: Json) -> Json:
        """Server-side apply of a whole object, forced."""
        return await self.request("PATCH", path, body, content=APPLY, fieldManager=FIELD_MANAGER, force="true")

    async def patch(self, path: str, body: Json, *, content: str = STRATEGIC) -> Json:
        """A patch, strategic unless told otherwise (custom resources know MERGE only)."""
        return await self.request("PATCH", path, body, content=content)

    async def create(self, path: str, body: Json) -> Json:
        """A new object; one that exists already is left alone and an empty dictionary comes back."""
        try:
            return await self.request("POST", path, body)
        except ApiError as error:
            if error.status != 409:
                raise
            return {}

    async def delete(self, path: str, *, uid: str | None = None, grace_s: int | None = None) -> None:
        """Delete one object, if it is still the one with that uid. One that is gone already is no error."""
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_s is not None:
            options["gracePeriodSeconds"] = grace_s
        try:
            await self.request("DELETE", path, options)
        except ApiError as error:
            if error.status not in (404, 409):
                raise

    async def watch(self, path: str, **params: str) -> AsyncIterator[Event]:
        """Every object under `path` and every change to one, for ever: lists again when the server forgot the place."""
        known: dict[str, Json] = {}
        synced = False
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, asyncio.TimeoutError, ApiError):
                listed = await self.request("GET", path, None, **params)
                present = {each["metadata"]["uid"]: each for each in listed["items"]}
                for uid in [uid for uid in known if uid not in present]:
                    yield Event("DELETED", known.pop(uid))
                for uid, each in present.items():
                    yield Event("MODIFIED" if uid in known else "ADDED", each)
                    known[uid] = {"metadata": each["metadata"]}
                if not synced:
                    synced = True
                    yield Event("SYNCED", {})
                version = listed["metadata"]["resourceVersion"]
                async for event in self._follow(path, version, params):
                    metadata = event.object["metadata"]
                    if event.kind == "DELETED":
                        known.pop(metadata["uid"], None)
                    else:
                        known[metadata["uid"]] = {"metadata": metadata}
                    yield event
            await asyncio.sleep(RETRY_S)

    async def _follow(self, path: str, version: str, params: Mapping[str, str]) -> AsyncIterator[Event]:
        """Changes after `version`, over as many connections as it takes; returns when the server forgot the place."""
        while True:
            query = {**params, "watch": "1", "resourceVersion": version, "timeoutSeconds": str(WATCH_S)}
            query["allowWatchBookmarks"] = "true"
            timeout = aiohttp.ClientTimeout(total=None, sock_read=WATCH_S + 30)
            async with self.session.get(path, params=query, timeout=timeout) as response:
                if response.status >= 400:
                    return
                async for line in _lines(response):
                    change = json.loads(line)
                    if change["type"] == "ERROR":
                        return
                    version = change["object"]["metadata"]["resourceVersion"]
                    if change["type"] != "BOOKMARK":
                        yield Event(change["type"], change["object"])


def _message(text: str) -> str:
    """What a refusal says: a path that is not served yet is answered in plain text, everything else in JSON."""
    try:
        return str(json.loads(text)["message"])
    except (ValueError, KeyError, TypeError):
        return text.strip()[:300]


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length: aiohttp's own line reader refuses the long ones, and objects are long."""
    rest = b""
    async for chunk in response.content.iter_any():
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line


@contextlib.asynccontextmanager
async def open_api(ctx: LabContext) -> AsyncIterator[Api]:
    """The lab's API server as the lab's own user, from inside the lab."""
    tls = ssl.create_default_context(cafile=str(ctx.directory / "pki" / "ca.crt"))
    tls.load_cert_chain(ctx.directory / "pki" / "lab.crt", ctx.directory / "pki" / "lab.key")
    connector = aiohttp.TCPConnector(ssl=tls, limit=0)
    async with aiohttp.ClientSession(f"https://{ctx.node_ip}:{API_PORT}", connector=connector) as session:
        yield Api(session)
