"""The command line of the captions proxy."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import logging
import os
import re
import signal
import sys
from typing import NoReturn

from visio_captions.proxy import Endpoint, Proxy, Settings

_DESCRIPTION = """Runs beside the subtitles agent: accepts its speech-to-text streams and puts each one on the fullest
Kyutai server with a free slot. While no slot is free, streams wait in order. The servers' key is read from
KYUTAI_API_KEY."""
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\]")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line and end with 2, the exit code of bad input."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def main(argv: list[str]) -> int:
    """Run the proxy until SIGTERM and the end of its last stream; a second signal ends it at once.

    Returns 0 after a full drain, 1 when it could not run or was cut short, 2 for bad input. Problems are one line on
    the standard error stream.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = _settings(argv)
    except SystemExit as end:
        return int(end.code or 0)
    try:
        return asyncio.run(_run(settings))
    except OSError as error:
        print(f"error: the proxy cannot run: {error.strerror or error}", file=sys.stderr)
        return 1


def _settings(argv: list[str]) -> Settings:
    parser = _Parser(prog="visio-operator captions-proxy", description=_DESCRIPTION)
    parser.add_argument(
        "--listen", type=_loopback, default="127.0.0.1:8090", metavar="HOST:PORT",
        help="where the agent connects, an address of this pod alone (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--metrics-listen", type=_endpoint, default="0.0.0.0:8091", metavar="HOST:PORT",
        help="where /metrics and /healthz answer (default %(default)s)",
    )  # fmt: skip
    servers = parser.add_mutually_exclusive_group(required=True)
    servers.add_argument(
        "--servers", type=_endpoint, metavar="NAME:PORT", help="headless Service whose addresses are the servers"
    )
    servers.add_argument(
        "--server", type=_endpoint, action="append", metavar="HOST:PORT", help="a fixed server; may be repeated"
    )
    arguments = parser.parse_args(argv)
    key = os.environ.get("KYUTAI_API_KEY", "")
    if not key:
        parser.error("the environment variable KYUTAI_API_KEY is empty; set it to the key of the Kyutai servers")
    if not key.isprintable() or not key.isascii():
        parser.error("the environment variable KYUTAI_API_KEY holds characters that no HTTP header may have")
    return Settings(
        listen=arguments.listen,
        metrics_listen=arguments.metrics_listen,
        key=key,
        service=arguments.servers,
        servers=tuple(f"{server.host}:{server.port}" for server in arguments.server or ()),
    )


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is not HOST:PORT, such as 127.0.0.1:8090")
    return Endpoint(host, int(port))


def _loopback(text: str) -> Endpoint:
    """The proxy adds the servers' key to what it relays, so nobody outside the pod may reach it."""
    endpoint = _endpoint(text)
    try:
        local = ipaddress.ip_address(endpoint.host.strip("[]")).is_loopback
    except ValueError:
        local = endpoint.host == "localhost"
    if not local:
        raise argparse.ArgumentTypeError(
            f"{text[:100]!r} is reachable from outside the pod; use an address such as 127.0.0.1:8090"
        )
    return Endpoint(endpoint.host.strip("[]"), endpoint.port)


async def _run(settings: Settings) -> int:
    proxy = Proxy(settings)
    await proxy.start()
    logging.info("accepting streams on %s:%d", settings.listen.host, proxy.port)
    signals: asyncio.Queue[signal.Signals] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, signals.put_nowait, number)
    try:
        logging.info("%s: no further stream is accepted", (await signals.get()).name)
        drained, cut = asyncio.create_task(proxy.drain()), asyncio.create_task(signals.get())
        await asyncio.wait({drained, cut}, return_when=asyncio.FIRST_COMPLETED)
        cut.cancel()
        return 0 if drained.done() else 1
    finally:
        await proxy.close()
