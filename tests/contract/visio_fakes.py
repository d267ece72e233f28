"""The other sides of Visio's calls, recorded: LiveKit's API, the transcription server, Docs, webhooks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from google.protobuf.message import Message
from livekit import api
from livekit.protocol import agent_dispatch, egress, models, room

from rendered_environment import SECRETS

STARTED_NS, ENDED_NS = 1_790_000_000_000_000_000, 1_790_000_060_000_000_000
METHODS: dict[str, tuple[type[Message], type[Message]]] = {
    "Egress/StartRoomCompositeEgress": (egress.RoomCompositeEgressRequest, egress.EgressInfo),
    "Egress/StopEgress": (egress.StopEgressRequest, egress.EgressInfo),
    "Egress/ListEgress": (egress.ListEgressRequest, egress.ListEgressResponse),
    "AgentDispatchService/CreateDispatch": (agent_dispatch.CreateAgentDispatchRequest, agent_dispatch.AgentDispatch),
    "AgentDispatchService/DeleteDispatch": (agent_dispatch.DeleteAgentDispatchRequest, agent_dispatch.AgentDispatch),
    "RoomService/ListRooms": (room.ListRoomsRequest, room.ListRoomsResponse),
    "RoomService/UpdateRoomMetadata": (room.UpdateRoomMetadataRequest, models.Room),
}


@dataclass
class Others:
    """Everything that Visio called, in order, and what it is answered."""

    port: int = 0
    calls: list[tuple[str, Any]] = field(default_factory=list)
    egress_available: bool = True
    egresses: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def named(self, name: str) -> list[Any]:
        """The requests of that name."""
        return [request for called, request in self.calls if called == name]

    def application(self) -> web.Application:
        app = web.Application(client_max_size=2**28)
        app.router.add_post("/twirp/{service}/{method}", self._livekit)
        app.router.add_post("/v1/audio/transcriptions", self._whisper)
        app.router.add_post("/v1/chat/completions", self._llm)
        app.router.add_post("/api/v1.0/documents/create-for-owner/", self._json("docs", {"id": "document"}))
        app.router.add_post("/webhook/", self._json("webhook", {"message": "Event processed."}))
        return app

    async def _livekit(self, request: web.Request) -> web.Response:
        verifier = api.TokenVerifier(SECRETS["livekitApiKey"], SECRETS["livekitApiSecret"])
        verifier.verify(request.headers["Authorization"].removeprefix("Bearer "))
        name = f"{request.match_info['service'].removeprefix('livekit.')}/{request.match_info['method']}"
        kind, answer = METHODS[name]
        message = kind()
        message.ParseFromString(await request.read())
        self.calls.append((name, message))
        if name == "Egress/StartRoomCompositeEgress" and not self.egress_available:
            return web.json_response({"code": "unavailable", "msg": "no response from servers"}, status=503)
        filled = self._answer(name, message, answer())
        return web.Response(body=filled.SerializeToString(), content_type="application/protobuf")

    def _answer(self, name: str, request: Any, answer: Any) -> Any:
        if name == "Egress/StartRoomCompositeEgress":
            self.egresses += 1
            answer.egress_id = f"EG_{self.egresses}"
        elif name == "Egress/StopEgress":
            answer.egress_id, answer.status = request.egress_id, egress.EGRESS_ENDING
        elif name == "Egress/ListEgress":
            file = egress.FileInfo(started_at=STARTED_NS, ended_at=ENDED_NS)
            answer.items.append(egress.EgressInfo(egress_id=request.egress_id, file_results=[file]))
        elif name == "AgentDispatchService/CreateDispatch":
            answer.id, answer.room, answer.agent_name = "AD_1", request.room, request.agent_name
        elif name == "RoomService/ListRooms":
            answer.rooms.extend(models.Room(name=each) for each in request.names)
        return answer

    async def _whisper(self, request: web.Request) -> web.Response:
        form = await request.post()
        fields = {name: value if isinstance(value, str) else value.file.read() for name, value in form.items()}
        self.calls.append(("whisper", {**fields, "Authorization": request.headers.get("Authorization")}))
        segment = {"start": 0.0, "end": 2.0, "text": "Bonjour", "speaker": "SPEAKER_00", "words": []}
        return web.json_response({"segments": [segment], "word_segments": [], "usage": {"type": "duration"}})

    async def _llm(self, request: web.Request) -> web.Response:
        asked = await request.json()
        self.calls.append(("llm", {**asked, "Authorization": request.headers.get("Authorization")}))
        form = asked.get("response_format", {}).get("json_schema", {}).get("name")
        said = {"Titles": '{"titles": ["Budget"]}', "actions": '{"actions": []}'}.get(form, f"answer {len(self.calls)}")
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": said}}
        return web.json_response(
            {"id": "1", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": [choice]}
        )

    def _json(self, name: str, answer: dict[str, Any]) -> Any:
        async def handler(request: web.Request) -> web.Response:
            content = await request.json()
            self.calls.append((name, {**content, "Authorization": request.headers.get("Authorization")}))
            return web.json_response(answer)

        return handler


@contextmanager
def others() -> Iterator[Others]:
    """The recorded sides, served by a thread of their own for the whole session."""
    recorded, loop, ready = Others(), asyncio.new_event_loop(), threading.Event()

    async def serve() -> None:
        runner = web.AppRunner(recorded.application(), access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        recorded.port = runner.addresses[0][1]
        ready.set()
        await stopped.wait()
        await runner.cleanup()

    stopped = asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield recorded
    finally:
        loop.call_soon_threadsafe(stopped.set)
        thread.join(10)
        loop.close()
