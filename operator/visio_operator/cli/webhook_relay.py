"""`visio-operator webhook-relay`: the sidecar of media servers during a rotation of keys; a program of its own."""

from __future__ import annotations

import argparse

from visio_webhooks import command


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command `webhook-relay`."""
    parser = subparsers.add_parser(
        "webhook-relay",
        help="sign LiveKit's webhooks anew during a rotation of keys; for media servers' pods",
        description="Takes webhooks of the LiveKit server beside it and delivers them to the API, signed with the pair "
        "that it takes.",
    )
    command.add_arguments(parser)
    parser.set_defaults(func=command.run)
