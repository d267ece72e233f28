"""A captions server that knows what it will be told, so that the machine's processors are left to what is measured.

It is the laboratory's stand-in in everything but hearing: the frames of load_clients.py are recognized by their bytes,
which have to arrive complete, unchanged and in order. Takes the stand-in's arguments.
"""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import msgpack
from aiohttp import WSMsgType, web
from load_clients import FRAME_S, PIECE, SAID_AFTER, WORD_FRAMES, messages

from visio_lab.standins.kyutai import WARM_UP_S, Server, Stream, read_config
from visio_lab.standins.tone import WORD_S

FRAMES = messages()


class Recognizing(Server):
    """The stand-in without a decoder; a frame that it does not expect ends the stream."""

    async def _transcribe(self, socket: web.WebSocketResponse, stream: Stream) -> None:
        while True:
            message = await socket.receive()
            if message.type is not WSMsgType.BINARY or message.data != FRAMES[stream.step % len(FRAMES)]:
                await socket.close()
                return
            self.steps += 1
            step = {"type": "Step", "step_idx": self.steps, "prs": [0.0] * 4, "buffered_pcm": 0}
            await socket.send_bytes(msgpack.packb(step, use_single_float=True))
            word, rest = divmod(stream.step - SAID_AFTER, WORD_FRAMES)
            stream.step += 1
            if word >= 0 and rest == 0:
                start = round(word * WORD_FRAMES * FRAME_S, 2)
                said = {"type": "Word", "text": f"w{word % PIECE + 1}", "start_time": start}
                await socket.send_bytes(msgpack.packb(said))
                await socket.send_bytes(msgpack.packb({"type": "EndWord", "stop_time": round(start + WORD_S, 2)}))


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["worker"])
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--addr", required=True)
    parser.add_argument("--port", type=int, required=True)
    arguments = parser.parse_args()
    await asyncio.sleep(WARM_UP_S)
    runner = web.AppRunner(Recognizing(read_config(arguments.config)).application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, arguments.addr, arguments.port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
