"""Publishes the lab's API server on the host: accepts on a socket of the host's network, connects inside the lab's.

A listening socket stays in the network namespace in which it was made. `up` makes it on the host's 127.0.0.1 and hands
it down, so one small program inside serves the host without privileges, and the port closes with the lab.
A program of its own, so that no busy coroutine of the lab ever delays `kubectl`.
"""

import argparse
import asyncio
import contextlib
import socket

CHUNK_BYTES = 1 << 16


async def forward(listener: socket.socket, host: str, port: int) -> None:
    """Serve forever: each connection accepted by `listener` is one connection to `host`:`port`."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection(host, port)
        except OSError:
            # Not listening yet: the client sees a closed connection and asks again.
            writer.close()
            return
        await asyncio.gather(_pump(reader, inner_writer), _pump(inner_reader, writer))

    server = await asyncio.start_server(serve, sock=listener)
    await server.serve_forever()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        with contextlib.suppress(OSError):
            writer.close()


def main() -> None:
    """Run as `python -m visio_lab.forward --fd N --to HOST:PORT`."""
    parser = argparse.ArgumentParser(description="publish a port of the lab on the host")
    parser.add_argument("--fd", type=int, required=True, help="listening socket inherited from the host")
    parser.add_argument("--to", required=True, help="HOST:PORT inside the lab")
    arguments = parser.parse_args()
    host, _, port = arguments.to.rpartition(":")
    with socket.socket(fileno=arguments.fd) as listener:
        listener.setblocking(False)
        asyncio.run(forward(listener, host, int(port)))


if __name__ == "__main__":
    main()
