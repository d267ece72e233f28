"""Visio's own speech-to-text client against the proxy and servers of 64 slots: full, cordoned, killed."""

from __future__ import annotations

import contextlib
import itertools
import json
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from kyutai_servers import Server, running
from proxies import ProxyProcess, python, until
from real_clients import silence, speech

from live import limit
from visio_lab.standins import kyutai

SLOTS = 64
LATE = 4
PATIENCE_S = 90.0
"""For what depends on how busy the machine is; what is asserted has bounds of its own."""


class Watch(threading.Thread):
    """Notes the most slots that each server ever used."""

    def __init__(self, servers: list[Server]) -> None:
        super().__init__(daemon=True)
        self.most = {server.address: 0 for server in servers}
        self._servers = servers
        self._ended = threading.Event()

    def end(self) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(0.1):
            for server in self._servers:
                with contextlib.suppress(OSError):
                    self.most[server.address] = max(self.most[server.address], server.slots()[0])


def undisturbed(number: int, frames: int) -> list[tuple[str, float]]:
    """What a participant is given by a server that hears him from beginning to end."""
    said = itertools.chain(itertools.islice(speech(number), frames), silence())
    pcm = np.frombuffer(b"".join(said), np.int16).astype(np.float32) / 32768
    answers = kyutai.Stream(delay_frames=6).hear(pcm)
    return [(each["text"], round(each["start_time"], 3)) for each in answers if each["type"] == "Word"]


def order(clients: subprocess.Popen[str], line: str) -> None:
    assert clients.stdin is not None
    clients.stdin.write(f"{line}\n")
    clients.stdin.flush()


@pytest.mark.alone
def test_full_servers_a_cordon_and_a_death_cost_no_stream_and_no_word(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first, second, third = [stack.enter_context(running(tmp_path, SLOTS)) for _ in range(3)]
        proxy = ProxyProcess(tmp_path)
        proxy.serve_from(first, second)
        stack.enter_context(proxy.running())
        watch = Watch([first, second, third])
        watch.start()
        stack.callback(watch.end)
        clients = stack.enter_context(python("real_clients.py", proxy.url))

        everyone = 2 * SLOTS
        order(clients, f"join {everyone}")
        until(lambda: proxy.value("streams") == everyone, PATIENCE_S)
        assert (first.slots(), second.slots()) == ((SLOTS, SLOTS), (SLOTS, SLOTS))
        order(clients, f"join {LATE}")
        until(lambda: proxy.value("waiting_streams") == LATE, PATIENCE_S)
        order(clients, f"leave {LATE}")
        until(lambda: proxy.value("waiting_streams") == 0 and proxy.value("streams") == everyone, PATIENCE_S)

        proxy.serve_from(second, third)
        cordoned = until(lambda: (first.slots()[0], third.slots()[0]) == (0, SLOTS), PATIENCE_S)
        proxy.serve_from(first, second, third)
        until(lambda: proxy.value("lag_seconds") < 1, PATIENCE_S)
        second.kill()
        died = until(lambda: first.slots()[0] == SLOTS, PATIENCE_S)
        time.sleep(1.0)

        order(clients, "end")
        assert clients.stdout is not None
        given = json.loads(clients.stdout.readline())
        assert proxy.value("lost_total") == proxy.value("refused_total") == 0
        moves = [proxy.value(f'moves_total{{cause="{cause}"}}') for cause in ("cordon", "closed", "error", "stall")]
        assert moves == [SLOTS, SLOTS, 0, 0]
    assert max(watch.most.values()) == SLOTS
    assert len(given) == everyone
    for number, (frames, words) in given.items():
        expected = undisturbed(int(number), frames)
        assert len(expected) > 10
        assert [tuple(word) for word in words] == expected, f"participant {number}"
    print(f"cordoned: {cordoned:.2f} s; died: {died:.2f} s")
    assert cordoned <= limit("captionsCordonSeconds")
    assert died <= limit("captionsDeathSeconds")
