"""Many plain streams in real time, some through a proxy and some straight to a server, with the delay of each word.

Usage: load_clients.py PROXY COUNT SERVER COUNT SECONDS. All say the same words; for each word the delay from sending
the frame that made the server say it to having the word is noted. Prints as JSON `{"frames": sent through the proxy,
"proxied": [[second, delay], ...], "direct": [...], "odd": streams with wrong words}`, with delays in seconds.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time

import aiohttp
import msgpack
from aiohttp import WSMsgType

from visio_lab.standins.tone import encode_words

FRAME, FRAME_S = 1920, 0.08
WORD_FRAMES = 6
SAID_AFTER = 10
"""Frames from the one in which a word begins to the one at which it is said: its own length and the model's delay."""
PIECE = 8
PATIENCE_S = 30.0


def messages() -> list[bytes]:
    """Eight words, as the frames of a client."""
    pcm = encode_words([f"w{number}" for number in range(1, PIECE + 1)], every=WORD_FRAMES * FRAME_S)
    pcm = (pcm * 32768).round() / 32768  # an agent has 16-bit samples
    return [
        msgpack.packb({"type": "Audio", "pcm": frame.tolist()}, use_single_float=True)
        for frame in pcm.reshape(-1, FRAME)
    ]


async def talk(
    session: aiohttp.ClientSession, url: str, place: int, said: list[bytes], seconds: float, ready: asyncio.Barrier
) -> tuple[int, list[tuple[float, float]], int]:
    """One stream: frames sent, the delays of its words, and how many words were wrong."""
    delays: list[tuple[float, float]] = []
    sent: list[float] = []
    texts: list[str] = []
    async with session.ws_connect(
        url, headers={"kyutai-api-key": os.environ["KYUTAI_API_KEY"]}, max_msg_size=0
    ) as socket:

        async def listen() -> None:
            async for message in socket:
                content = msgpack.unpackb(message.data) if message.type is WSMsgType.BINARY else {}
                if content.get("type") == "Word":
                    now = time.monotonic()
                    index = round(content["start_time"] / (WORD_FRAMES * FRAME_S))
                    delays.append((now - began, now - sent[index * WORD_FRAMES + SAID_AFTER]))
                    texts.append(content["text"])

        await ready.wait()
        began = time.monotonic() + place * 0.0131 % FRAME_S
        listening = asyncio.create_task(listen())
        for index in range(int(seconds / FRAME_S)):
            await asyncio.sleep(max(0.0, began + index * FRAME_S - time.monotonic()))
            sent.append(time.monotonic())
            await socket.send_bytes(said[index % len(said)])
        expected = [f"w{index % PIECE + 1}" for index in range((len(sent) - SAID_AFTER - 1) // WORD_FRAMES + 1)]
        give_up = time.monotonic() + PATIENCE_S
        while len(texts) < len(expected) and time.monotonic() < give_up:
            await asyncio.sleep(0.05)
        listening.cancel()
    return len(sent), delays, 0 if texts == expected else 1


async def main(proxy: str, proxied: int, server: str, direct: int, seconds: float) -> None:
    """Open all streams, then speak with all of them."""
    said, ready = messages(), asyncio.Barrier(proxied + direct)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        tasks = [
            asyncio.create_task(talk(session, url, place, said, seconds, ready))
            for url, count in ((proxy, proxied), (server, direct))
            for place in range(count)
        ]
        results = await asyncio.gather(*tasks)
    report = {
        "frames": sum(frames for frames, _, _ in results[:proxied]),
        "proxied": [delay for _, delays, _ in results[:proxied] for delay in delays],
        "direct": [delay for _, delays, _ in results[proxied:] for delay in delays],
        "odd": sum(odd for _, _, odd in results),
    }
    print(json.dumps(report))


if __name__ == "__main__":
    proxy_url, proxied_count, server_url, direct_count, length = sys.argv[1:]
    asyncio.run(main(proxy_url, int(proxied_count), server_url, int(direct_count), float(length)))
