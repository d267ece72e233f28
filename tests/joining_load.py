"""Participants who join and leave, one after another: a program for a pod of the lab.

SERVERS is a list of `{"ip", "node", "lose", "weight"}`: each media server by its address and LiveKit's id of it, the
fault in front of it (every so many-th signalling connection is cut as soon as the server has answered; 0 for none), and
its share of the joins. LIVEKIT_API_KEY and LIVEKIT_API_SECRET are LiveKit's. Every five seconds a line of JSON says how
many have joined each server, and how many tried in vain.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time
from typing import Any

import aiohttp
from livekit import api, rtc

PORT = 7880
AT_ONCE = 3
"""Participants of each share who are on their way into a server at any time."""
STAY_S = 0.2
CONNECT_S = 15.0
"""Who has no media by then has failed, whatever the SDK still waits for."""
OPEN_S = 30.0


class Relay:
    """A TCP relay before one server, with the fault of cutting every so many-th signalling connection."""

    def __init__(self, ip: str, lose: int) -> None:
        self.ip, self.lose, self.signals, self.url = ip, lose, 0, ""

    async def start(self) -> None:
        server = await asyncio.start_server(self._pass, "127.0.0.1", 0)
        self.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def _pass(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        far, on = await asyncio.open_connection(self.ip, PORT)
        try:
            first = await near.read(65_536)
            on.write(first)
            if first.startswith(b"GET /rtc") and b"pgrade" in first:
                self.signals += 1
                if self.lose and self.signals % self.lose == 0:
                    await far.read(65_536)
                    return
            await asyncio.wait(
                [asyncio.create_task(_copy(near, on)), asyncio.create_task(_copy(far, back))],
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            on.close()
            back.close()


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await source.read(65_536):
            sink.write(data)
            await sink.drain()


async def join_for_ever(relay: Relay, room: str, numbers: itertools.count[int], told: dict[str, int]) -> None:
    """One after another; who was refused is not tried again."""
    while True:
        who = rtc.Room()
        grants = api.VideoGrants(room_join=True, room=room)
        token = api.AccessToken().with_identity(f"person-{next(numbers)}").with_grants(grants).to_jwt()
        try:
            await asyncio.wait_for(who.connect(relay.url, token), CONNECT_S)
            told["joined"] += 1
            await asyncio.sleep(STAY_S)
        except (rtc.ConnectError, TimeoutError):
            told["failed"] += 1
        with contextlib.suppress(Exception):
            await asyncio.wait_for(who.disconnect(), CONNECT_S)


async def open_room(ip: str, room: str, node: str) -> None:
    """Open a room on a server, which may be known to the others a moment later than to us."""
    end = time.monotonic() + OPEN_S
    while True:
        try:
            async with api.LiveKitAPI(f"http://{ip}:{PORT}") as client:
                await client.room.create_room(api.CreateRoomRequest(name=room, node_id=node))
            return
        except (api.TwirpError, aiohttp.ClientError, OSError, TimeoutError) as error:
            print(f"room {room} could not be opened: {error}", flush=True)
            if time.monotonic() > end:
                raise
        await asyncio.sleep(0.5)


async def main() -> None:
    """Join all servers for ever."""
    numbers, work = itertools.count(), []
    told: dict[str, dict[str, int]] = {}
    for each in json.loads(os.environ["SERVERS"]):
        relay: Any = Relay(each["ip"], each["lose"])
        await relay.start()
        for number in range(AT_ONCE * each["weight"]):
            room = f"load-{each['node']}-{number}"
            await open_room(each["ip"], room, each["node"])
            told.setdefault(each["ip"], {"joined": 0, "failed": 0})
            work.append(asyncio.create_task(join_for_ever(relay, room, numbers, told[each["ip"]])))
    while True:
        await asyncio.sleep(5)
        print(json.dumps({"t": round(time.time(), 1), **told}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
