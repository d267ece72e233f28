"""The captions proxy as a process of its own, where a file stands for DNS: the Service's addresses, one a line."""

from __future__ import annotations

import sys
from pathlib import Path

import visio_captions
from visio_captions import discovery

addresses = Path(sys.argv[1])


async def resolve(name: str, port: int) -> set[str] | None:
    """What DNS would answer for the headless Service."""
    return set(addresses.read_text().split())


discovery.resolve = resolve
sys.exit(visio_captions.main(sys.argv[2:]))
