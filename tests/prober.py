"""Somebody who opens a new room every second: a program for a pod of the lab.

Each line of the output is one try in JSON: `{"t": unix seconds, "room": ..., "ok": ..., "again": second try or not,
"why": ...}`. A try that fails is repeated once. URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET come
from the environment.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import time

from livekit import api, rtc

EVERY_S = 1.0
LIMIT_S = 15.0


async def probe(url: str, name: str) -> str:
    """Join a room of this name with media and leave it; why not, or empty."""
    room = rtc.Room()
    token = api.AccessToken().with_identity("prober").with_grants(api.VideoGrants(room_join=True, room=name)).to_jwt()
    try:
        async with asyncio.timeout(LIMIT_S):
            await room.connect(url, token)
    except (rtc.ConnectError, TimeoutError) as error:
        return str(error)[:200] or type(error).__name__
    finally:
        with contextlib.suppress(Exception):
            await room.disconnect()
    return ""


async def one(url: str, name: str) -> None:
    """Two tries at most."""
    for again in (False, True):
        why = await probe(url, name)
        line = {"t": round(time.time(), 3), "room": name, "ok": not why, "again": again, "why": why}
        print(json.dumps(line), flush=True)
        if not why:
            return


async def main() -> None:
    """A new room every second, whatever becomes of the one before."""
    url, under_way = os.environ["URL"], set()
    for number in itertools.count():
        task = asyncio.create_task(one(url, f"probe-{number}"))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        await asyncio.sleep(EVERY_S)


if __name__ == "__main__":
    asyncio.run(main())
