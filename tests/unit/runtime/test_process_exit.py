"""An operator that lost its lease ends, so that it is started again."""

from __future__ import annotations

import subprocess
import sys

STUBBORN = """
import asyncio
from visio_operator.runtime.process import exit_within

async def stubborn():
    while True:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def main():
    asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    exit_within(0.2, 1)

asyncio.run(main())
"""


def test_a_task_that_does_not_take_its_cancellation_keeps_nobody() -> None:
    assert subprocess.run([sys.executable, "-c", STUBBORN], timeout=60, check=False).returncode == 1
