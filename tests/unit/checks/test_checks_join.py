"""Joining against a server that takes websockets as LiveKit does, and then does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from livekit.protocol.rtc import SignalResponse
from test_checks_order import EVERYTHING

from visio_checks import signalling
from visio_checks.call import Call
from visio_checks.fault import Fault
from visio_checks.settings import read_settings


@dataclass
class Server:
    """A LiveKit server; `refusals` are the statuses of its next answers."""

    room: str = ""
    refusals: list[int] = field(default_factory=list)
    asked: int = 0

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.refusals:
            return web.Response(status=self.refusals.pop(0))
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        answer = SignalResponse()
        answer.join.room.name = self.room
        answer.join.server_info.node_id = "ND_a"
        await socket.send_bytes(answer.SerializeToString())
        await socket.close()
        return socket


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(signalling, "_AGAIN_AFTER_S", 0.01)
    yield


@pytest.fixture
async def server() -> AsyncIterator[tuple[Server, Call]]:
    served = Server()
    application = web.Application()
    application.router.add_get("/rtc", served.handle)
    async with TestServer(application) as running, aiohttp.ClientSession() as http:
        settings = read_settings(EVERYTHING)
        url = str(running.make_url("")).rstrip("/")
        call = Call(replace(settings, livekit=replace(settings.livekit, url=url)), http, patience=1)
        served.room = call.room
        yield served, call


async def test_two_come_into_one_room(server: tuple[Server, Call]) -> None:
    assert await signalling.check_join(server[1]) == "2 participants on ND_a"
    assert server[0].asked == 2


async def test_a_server_that_is_busy_for_a_moment_is_asked_again_and_named(server: tuple[Server, Call]) -> None:
    server[0].refusals = [503]
    said = await signalling.check_join(server[1])
    assert said.startswith("2 participants on ND_a; the first try failed: ws://") and "gives 503" in said
    assert server[0].asked == 3


@pytest.mark.parametrize(("status", "times"), [(503, 2), (404, 1), (401, 1)])
async def test_what_does_not_pass_by_itself_fails(server: tuple[Server, Call], status: int, times: int) -> None:
    server[0].refusals = [status] * 4
    with pytest.raises(Fault) as failed:
        await signalling.check_join(server[1])
    assert failed.value.field == ("spec.livekit" if status == 401 else "spec.livekitHost")
    assert server[0].asked == 2 * times
