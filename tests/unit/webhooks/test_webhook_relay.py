"""The webhook relay in front of an API that knows one key pair, and another one a moment later."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from livekit.api import TokenVerifier, WebhookReceiver

from visio_webhooks import relay

OLD, NEW = ("old", "o" * 48), ("new", "n" * 48)
KEYS = dict((NEW, OLD))
BODY = b'{"event": "egress_ended", "id": "EV_1"}'


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "PAUSE", 0.02)


class Api:
    """The API as far as webhooks go: it takes one pair and answers 400 to any other."""

    def __init__(self) -> None:
        self.pairs = [OLD]
        self.taken: list[str] = []
        self.asked = 0

    async def receive(self, request: web.Request) -> web.Response:
        pair = self.pairs[self.asked % len(self.pairs)]
        self.asked += 1
        text = (await request.read()).decode()
        try:
            event = WebhookReceiver(TokenVerifier(*pair)).receive(text, request.headers["Authorization"])
        except Exception:
            return web.Response(status=400)
        assert event.event == "egress_ended"
        self.taken.append(pair[0])
        return web.Response(status=200)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


async def post(port: int, pair: tuple[str, str], body: bytes = BODY) -> int:
    headers = {"Authorization": relay.signature(*pair, BODY), "Content-Type": "application/webhook+json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://127.0.0.1:{port}/", data=body, headers=headers) as answer,
    ):
        return answer.status


def with_relay(check: Callable[[Api, int], Awaitable[None]], *, api_is_up: bool = True) -> None:
    async def run() -> None:
        api, ended, ports = Api(), asyncio.Event(), [free_port() for _ in range(3)]
        application = web.Application()
        application.router.add_post("/hook/", api.receive)
        runner = web.AppRunner(application)
        await runner.setup()
        if api_is_up:
            await web.TCPSite(runner, "127.0.0.1", ports[0]).start()
        url = f"http://127.0.0.1:{ports[0]}/hook/"
        serving = asyncio.create_task(relay.serve(KEYS, url, ports[1], ports[2], ended))
        await asyncio.sleep(0.1)
        try:
            await check(api, ports[1])
        finally:
            ended.set()
            await serving
            await runner.cleanup()

    asyncio.run(run())


def test_each_webhook_arrives_before_during_and_after_the_api_changes_its_pair() -> None:
    async def check(api: Api, port: int) -> None:
        # Media servers sign with the new pair from the start of the overlap, older ones still with the old one.
        for pairs in ([OLD], [OLD, NEW], [OLD, NEW], [NEW]):
            api.pairs = pairs
            assert [await post(port, signer) for signer in (NEW, OLD)] == [200, 200]
        assert len(api.taken) == 8

    with_relay(check)


def test_once_a_pair_is_taken_it_is_tried_first() -> None:
    async def check(api: Api, port: int) -> None:
        await post(port, NEW)
        before = api.asked
        await post(port, NEW)
        assert api.asked == before + 1

    with_relay(check)


def test_what_livekit_has_not_signed_goes_nowhere() -> None:
    async def check(api: Api, port: int) -> None:
        assert await post(port, ("new", "x" * 48)) == 401
        assert await post(port, ("stranger", "n" * 48)) == 401
        assert await post(port, NEW, b'{"event": "forged"}') == 401
        assert api.asked == 0

    with_relay(check)


def test_while_the_api_is_away_livekit_is_told_to_try_again() -> None:
    async def check(_: Api, port: int) -> None:
        assert await post(port, NEW) == 502

    with_relay(check, api_is_up=False)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"a": 1}', "a: b"])
def test_malformed_keys_are_refused_in_words(text: str) -> None:
    with pytest.raises(ValueError, match="LIVEKIT_KEYS is no JSON object"):
        relay.parse_keys(text)
