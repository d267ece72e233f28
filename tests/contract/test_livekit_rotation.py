"""A real LiveKit server between two key pairs: both admit, and its webhooks arrive whichever of them the API takes."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from livekit import api

from builders import a_deployment
from livekit_loopback import fetch, free_port, started, until
from visio_operator.plan.plan import LivekitKeys
from visio_operator.plan.secrets import secret_needs
from visio_operator.runtime.secret_values import fill

FIRST, SECOND = "visio-keys", "visio-livekit-2"


@pytest.fixture(scope="module")
def livekit() -> Path:
    from visio_lab.progress import SilentProgress
    from visio_lab.tools import ensure_tools

    return ensure_tools(SilentProgress(), real_pods=True)["livekit-server"]


@dataclass
class Api:
    """Visio's API as far as webhooks go: it takes one pair and answers 400 to others."""

    pair: tuple[str, str]
    rooms: list[str] = field(default_factory=list)

    def take(self, body: str, token: str) -> int:
        try:
            event = api.WebhookReceiver(api.TokenVerifier(*self.pair)).receive(body, token)
        except Exception:
            return 400
        if event.event == "room_started":
            self.rooms.append(event.room.name)
        return 200

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        taker = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"])).decode()
                self.send_response(taker.take(body, self.headers["Authorization"]))
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = threading.Thread(target=server.serve_forever, daemon=True)
            thread.start()
            try:
                yield int(server.server_address[1])
            finally:
                server.shutdown()
                thread.join()


def composed(keys: LivekitKeys) -> dict[str, str]:
    """The composed Secret during the overlap; each generated value is another one."""
    needs = secret_needs("visio", a_deployment().spec(), keys)
    return fill(needs, {})[0]["visio-composed"]


def open_room(url: str, pair: tuple[str, str], name: str) -> None:
    async def run() -> None:
        async with api.LiveKitAPI(url, *pair) as client:
            await client.room.create_room(api.CreateRoomRequest(name=name))

    asyncio.run(run())


def test_webhooks_arrive_before_and_after_the_api_moves_to_the_new_pair(livekit: Path, tmp_path: Path) -> None:
    secret = composed(LivekitKeys((SECOND, FIRST), FIRST))
    new, old = json.loads(secret["livekitKeys"]).items()
    assert secret["livekitWebhookKey"] == new[0]
    http, relay, health = free_port(), free_port(), free_port()
    config = {
        "port": http,
        "bind_addresses": ["127.0.0.1"],
        "rtc": {"tcp_port": free_port(), "udp_port": free_port(), "node_ip": "127.0.0.1", "use_external_ip": False},
        "webhook": {"api_key": secret["livekitWebhookKey"], "urls": [f"http://127.0.0.1:{relay}/"]},
    }
    taker = Api(old)
    url = f"http://127.0.0.1:{http}"
    server = {"LIVEKIT_CONFIG": json.dumps(config), "LIVEKIT_KEYS": secret["livekitKeys"]}
    argv = [sys.executable, "-m", "visio_operator", "webhook-relay", "--port", str(relay)]
    with taker.serving() as hook:
        known = {"LIVEKIT_KEYS": secret["livekitKeys"], "WEBHOOK_URL": f"http://127.0.0.1:{hook}/hook/"}
        with (
            started([*argv, "--health-port", str(health)], tmp_path / "relay.log", known) as relaying,
            started([str(livekit)], tmp_path / "livekit.log", server),
        ):
            until("the relay", lambda: fetch(f"http://127.0.0.1:{health}/healthz"))
            until("LiveKit", lambda: fetch(url))
            open_room(url, old, "first")
            until("the first webhook", lambda: taker.rooms == ["first"])
            taker.pair = new
            open_room(url, new, "second")
            open_room(url, old, "third")
            until("the others", lambda: sorted(taker.rooms) == ["first", "second", "third"])
            relaying.send_signal(signal.SIGTERM)
            assert relaying.wait(10) == 0


def test_the_relay_says_what_is_missing(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "visio_operator", "webhook-relay"]
    log = tmp_path / "relay.log"
    empty = {key: "" for key in ("LIVEKIT_KEYS", "WEBHOOK_URL") if key not in os.environ}
    with started(argv, log, empty) as relaying:
        assert relaying.wait(20) == 2
    assert log.read_text() == (
        "webhook-relay: LIVEKIT_KEYS is no JSON object of key identifiers and secrets; the operator sets it\n"
    )
