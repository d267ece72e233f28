"""Opening a stream on a server, and ending one."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import aiohttp
from aiohttp import web

from visio_captions.messages import unpack
from visio_captions.servers import KEY_HEADER, STREAM_PATH

OPEN_TIMEOUT_S = 5.0
"""Seconds for a server to accept a stream and say Ready; a healthy one needs one step of its model, 80 ms."""
CLOSE_TIMEOUT_S = 2.0
MESSAGE_LIMIT = 1024 * 1024
"""Bytes of the largest message carried; a frame of audio has about 10 kB."""
NO_CHANNEL = "no free channels"
"""The server's Error text when all slots are taken (kyutai-labs/moshi, moshi-server/src/batched_asr.rs)."""

Upstream = aiohttp.ClientWebSocketResponse
Socket = Upstream | web.WebSocketResponse


class NoFreeChannelError(Exception):
    """The server has no free slot."""


class ServerFailedError(Exception):
    """The server could not open a stream; the text says why."""


async def open_stream(session: aiohttp.ClientSession, address: str, key: str) -> tuple[Upstream, bytes]:
    """Open a stream on a server and wait until it accepts it; returns the socket and the server's first message.

    Raises NoFreeChannelError when all its slots are taken and ServerFailedError for anything else.
    """
    try:
        async with asyncio.timeout(OPEN_TIMEOUT_S):
            upstream = await session.ws_connect(
                f"http://{address}{STREAM_PATH}",
                headers={KEY_HEADER: key},
                # Not aiohttp's heartbeat, which is set anew with each of some 2,500 messages a second: see stream.py.
                autoping=False,
                max_msg_size=MESSAGE_LIMIT,
            )
            try:
                return upstream, _accepted(await next_message(upstream))
            except BaseException:
                await end(upstream)
                raise
    except aiohttp.WSServerHandshakeError as error:
        hint = "; check KYUTAI_API_KEY" if error.status == 401 else ""
        raise ServerFailedError(f"it answered {error.status} to the handshake{hint}") from None
    except TimeoutError:
        raise ServerFailedError(f"it did not accept the stream within {OPEN_TIMEOUT_S:.0f} s") from None
    except (aiohttp.ClientError, OSError) as error:
        raise ServerFailedError(str(error) or type(error).__name__) from None


async def next_message(upstream: Upstream) -> aiohttp.WSMessage:
    """What a server says next; its pings are answered, and a pong is passed on, since it tells that it lives."""
    while True:
        message = await upstream.receive()
        if message.type is not aiohttp.WSMsgType.PING:
            return message
        # One that is gone has said its last: the next message is the end.
        with contextlib.suppress(ConnectionError):
            await upstream.pong(message.data)


def _accepted(message: aiohttp.WSMessage) -> bytes:
    """The server's first message, unless it is a refusal."""
    if message.type is not aiohttp.WSMsgType.BINARY:
        raise ServerFailedError("it closed the stream at once")
    try:
        content: Any = unpack(message.data)
    except ValueError:
        raise ServerFailedError("its first message is not msgpack") from None
    if isinstance(content, dict) and content.get("type") == "Error":
        text = str(content.get("message", ""))[:200]
        raise NoFreeChannelError if NO_CHANNEL in text else ServerFailedError(f"it said: {text}")
    return bytes(message.data)


async def end(socket: Socket, code: int = aiohttp.WSCloseCode.OK, reason: bytes = b"") -> None:
    """Close a socket, within a bounded time also when its peer neither reads nor answers."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await socket.close(code=code, message=reason)
