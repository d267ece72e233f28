"""The command line of the relay."""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import signal
import sys

from . import relay


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Ports only: keys come by LIVEKIT_KEYS and the API's URL by WEBHOOK_URL."""
    parser.add_argument("--port", type=int, default=7890, help="port on the loopback address, for LiveKit")
    parser.add_argument("--health-port", type=int, default=7891, help="port of /healthz")


def run(arguments: argparse.Namespace) -> int:
    """Relay until SIGTERM. Exit codes: 0 ended, 1 a port is taken, 2 a variable is missing or malformed."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    target = os.environ.get("WEBHOOK_URL", "")
    try:
        keys = relay.parse_keys(os.environ.get("LIVEKIT_KEYS", ""))
        if not target.startswith(("https://", "http://")):
            raise ValueError("WEBHOOK_URL is no URL")
    except ValueError as error:
        print(f"webhook-relay: {error}; the operator sets it", file=sys.stderr)
        return 2
    try:
        asyncio.run(_until_ended(keys, target, arguments.port, arguments.health_port))
    except OSError as error:
        print(f"webhook-relay: {error.strerror or error}; choose another port", file=sys.stderr)
        return 1
    return 0


async def _until_ended(keys: dict[str, str], target: str, port: int, health_port: int) -> None:
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    await relay.serve(keys, target, port, health_port, ended)
