"""A relay that only carries: each client's stream to one server and back, as a process of its own.

It places nothing, keeps nothing and understands nothing, so no proxy in this language and with this library can cost
less. Arguments: its port, the server's URL.
"""

from __future__ import annotations

import asyncio
import os
import sys

import aiohttp
from aiohttp import web

Socket = aiohttp.ClientWebSocketResponse | web.WebSocketResponse


async def carry(source: Socket, target: Socket) -> None:
    async for message in source:
        await target.send_bytes(message.data)


async def main(port: int, server: str) -> None:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def stream(request: web.Request) -> web.WebSocketResponse:
            client = web.WebSocketResponse(max_msg_size=0, compress=False)
            await client.prepare(request)
            headers = {"kyutai-api-key": os.environ["KYUTAI_API_KEY"]}
            async with session.ws_connect(server, headers=headers, max_msg_size=0) as upstream:
                both = [asyncio.create_task(carry(client, upstream)), asyncio.create_task(carry(upstream, client))]
                await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
                for one in both:
                    one.cancel()
            return client

        app = web.Application()
        app.router.add_get("/{path:.*}", stream)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        print("ready", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
