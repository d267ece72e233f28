"""Asks what a browser asks, from inside the lab: lines of JSON requests in, lines of JSON answers out."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from typing import Any

import aiohttp


async def ask(session: aiohttp.ClientSession, request: dict[str, Any]) -> dict[str, Any]:
    """One request; `socket` asks for a websocket and says hello."""
    try:
        if request.get("socket"):
            async with session.ws_connect(request["url"]) as socket:
                await socket.send_str("hello")
                return {"status": 101, "text": await socket.receive_str(timeout=5)}
        method, headers = request.get("method", "GET"), request.get("headers", {})
        async with session.request(method, request["url"], headers=headers, allow_redirects=False) as response:
            return {"status": response.status, "text": await response.text(), "headers": dict(response.headers)}
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return {"status": 0, "text": f"{type(error).__name__}: {error}"}


async def main(authority: str) -> None:
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=authority))
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        print(json.dumps([await ask(session, request) for request in json.load(sys.stdin)]))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
