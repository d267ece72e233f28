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
_AGAIN_AFTER_S = 2.0
_PROTOCOL = "16"
"""Version of LiveKit's signalling; servers speak older ones to older clients."""


async def check_join(call: Call) -> str:
    """Participants come into one room through the public URL, with tokens made from the key pair."""
    joining = (_join(call, f"smoke-{number}") for number in range(_PARTICIPANTS))
    joined = await asyncio.gather(*joining)
    servers = [server for server, _ in joined]
    if len(set(servers)) > 1:
        # A room lives on one server; two mean that they do not share their Redis.
        problem = "participants of one room are on different servers, which do not know of each other"
        raise Fault("spec.redis", problem, "look at the logs of sfu: all servers need the same Redis")
    again = next((f"; the first try failed: {why}" for _, why in joined if why), "")
    return f"{_PARTICIPANTS} participants on {servers[0]}{again}"


async def _join(call: Call, identity: str) -> tuple[str, str]:
    """Join, and give the name of the server, and why it took a second try, or nothing.

    LiveKit's clients try again too where a server that is busy or on its way out does not take them.
    """
    try:
        return await _try_to_join(call, identity), ""
    except Fault as fault:
        if not fault.passing:
            raise
        call.say(fault.problem)
        await asyncio.sleep(_AGAIN_AFTER_S)
        return await _try_to_join(call, identity), fault.problem


async def _try_to_join(call: Call, identity: str) -> str:
    livekit, room = call.settings.livekit, call.room
    query = {"access_token": token(livekit, room, identity), "protocol": _PROTOCOL, "auto_subscribe": "0"}
    url = f"{websocket_url(livekit)}/rtc"
    try:
        async with call.http.ws_connect(f"{url}?{urlencode(query)}") as socket:
            message = await socket.receive()
            if message.type is not aiohttp.WSMsgType.BINARY:
                raise Fault("spec.livekitHost", f"{url} closes the connection", "look at the logs of sfu", passing=True)
            joined = SignalResponse.FromString(message.data)
    except aiohttp.WSServerHandshakeError as error:
        if error.status == 401:
            problem = f"{url} does not accept a token made from the key pair of LiveKit"
            raise Fault("spec.livekit", problem, "restart sfu, so that it reads its keys again") from None
        problem = f"{url} gives {error.status} instead of a websocket"
        next_step = "look at the route of livekitHost, and at the logs of sfu"
        raise Fault("spec.livekitHost", problem, next_step, passing=error.status >= 500) from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise unreachable("spec.livekitHost", url, error) from None
    except DecodeError:
        raise Fault("spec.livekitHost", f"{url} does not speak as LiveKit does", "look at the route") from None
    if joined.WhichOneof("message") != "join" or joined.join.room.name != room:
        raise Fault("spec.livekitHost", f"{url} gives no room", "look at the logs of sfu")
    return joined.join.server_info.node_id or joined.join.server_info.region or "one server"
