"""Joining a room: LiveKit's signalling, without media."""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

import aiohttp
from google.protobuf.message import DecodeError
from livekit.protocol.rtc import SignalResponse

from .call import Call
from .fault import Fault, unreachable
from .tokens import token, websocket_url

_PARTICIPANTS = 2
_PROTOCOL = "16"
"""Version of LiveKit's signalling; servers speak older ones to older clients."""


async def check_join(call: Call) -> str:
    """Participants come into one room through the public URL, with tokens made from the key pair."""
    joining = (_join(call, f"smoke-{number}") for number in range(_PARTICIPANTS))
    servers = await asyncio.gather(*joining)
    if len(set(servers)) > 1:
        # A room lives on one server; two mean that they do not share their Redis.
        problem = "participants of one room are on different servers, which do not know of each other"
        raise Fault("spec.redis", problem, "look at the logs of sfu: all servers need the same Redis")
    return f"{_PARTICIPANTS} participants on {servers[0]}"


async def _join(call: Call, identity: str) -> str:
    """Join, and give the name of the server."""
    livekit, room = call.settings.livekit, call.room
    query = {"access_token": token(livekit, room, identity), "protocol": _PROTOCOL, "auto_subscribe": "0"}
    url = f"{websocket_url(livekit)}/rtc"
    try:
        async with call.http.ws_connect(f"{url}?{urlencode(query)}") as socket:
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                raise Fault("spec.livekitHost", f"{url} closes the connection", "look at the logs of sfu")
            joined = SignalResponse.FromString(message.data)
    except aiohttp.WSServerHandshakeError as error:
        if error.status == 401:
            problem = f"{url} does not accept a token made from the key pair of LiveKit"
            raise Fault("spec.livekit", problem, "restart sfu, so that it reads its keys again") from None
        problem = f"{url} gives {error.status} instead of a websocket"
        raise Fault("spec.livekitHost", problem, "look at the route of livekitHost, and at the logs of sfu") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise unreachable("spec.livekitHost", url, error) from None
    except DecodeError:
        raise Fault("spec.livekitHost", f"{url} does not speak as LiveKit does", "look at the route") from None
    if joined.WhichOneof("message") != "join" or joined.join.room.name != room:
        raise Fault("spec.livekitHost", f"{url} gives no room", "look at the logs of sfu")
    return joined.join.server_info.node_id or joined.join.server_info.region or "one server"
