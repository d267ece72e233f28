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

from visio_captions.proxy import GRACE_S, REPLAY_S, Endpoint, Proxy, Settings

_DESCRIPTION = """Runs beside the subtitles agent: accepts its speech-to-text streams and puts each one on the fullest
Kyutai server with a free slot. While no slot is free, streams wait in order. When a server leaves the Service, stalls
or dies, its streams go on on another one. The servers' key is read from KYUTAI_API_KEY; when CAPTIONS_AGENT_KEY is set,
the agent must show that key, otherwise it may show any."""
_HOST = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9.]{0,251}[A-Za-z0-9])?\.?|\[[0-9A-Fa-f:.]+\]")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Say what is wrong in one line and end with 2, the exit code of bad input."""
        self.exit(2, f"error: {message}; see {self.prog} --help\n")


def main(argv: list[str]) -> int:
    """Run the proxy until SIGTERM and the end of its last stream, or of its grace; a second signal ends it at once.

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
    parser.add_argument(
        "--replay", type=_replay, default=REPLAY_S, metavar="SECONDS",
        help="audio that another server hears again when a stream is moved, 1 to 20; more than the model's delay and a "
        "word, and 72 kB of memory per second and stream (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--grace", type=_seconds, default=GRACE_S, metavar="SECONDS",
        help="how long streams may go on after SIGTERM; the agent's own drain takes an hour (default %(default)s)",
    )  # fmt: skip
    arguments = parser.parse_args(argv)
    key = os.environ.get("KYUTAI_API_KEY", "")
    if not key:
        parser.error("the environment variable KYUTAI_API_KEY is empty; set it to the key of the Kyutai servers")
    agent_key = os.environ.get("CAPTIONS_AGENT_KEY") or None
    for name, value in (("KYUTAI_API_KEY", key), ("CAPTIONS_AGENT_KEY", agent_key or "")):
        if not value.isprintable() or not value.isascii():
            parser.error(f"the environment variable {name} holds characters that no HTTP header may have")
    return Settings(
        listen=arguments.listen,
        metrics_listen=arguments.metrics_listen,
        key=key,
        agent_key=agent_key,
        replay_s=arguments.replay,
        grace_s=arguments.grace,
        service=arguments.servers,
        servers=tuple(f"{server.host}:{server.port}" for server in arguments.server or ()),
    )


def _endpoint(text: str) -> Endpoint:
    host, _, port = text.rpartition(":")
    if not _HOST.fullmatch(host) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is not HOST:PORT, such as 127.0.0.1:8090")
    return Endpoint(host, int(port))


def _seconds(text: str) -> float:
    if not text.isdecimal() or len(text) > 9:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is not a number of seconds")
    return float(text)


def _replay(text: str) -> float:
    seconds = _seconds(text)
    if not 1 <= seconds <= 20:
        raise argparse.ArgumentTypeError(f"{text[:100]!r} is not between 1 and 20 seconds")
    return seconds


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
        return 0 if drained.done() and drained.result() else 1
    finally:
        await proxy.close()
