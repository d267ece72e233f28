"""What Visio's API answers to the ingress, to browsers and to LiveKit (facts/visio.md 1, 6, 8)."""

from __future__ import annotations

import asyncio
import io
import json
import socket
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import aiohttp
import jwt
import pytest
import pytest_asyncio
from livekit.protocol import egress
from minio import Minio
from visio_browser import API, ORIGIN, Browser, sound
from visio_fakes import Others
from visio_stack import Services, Visio, eventually

from rendered_environment import KEY_ID, SECRET, SECRETS

BUCKET = "meet-media-storage"


@pytest_asyncio.fixture
async def anybody(visio: Visio) -> AsyncIterator[Browser]:
    """Somebody who is not logged in."""
    async with aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as session:
        yield Browser(session, visio.backend)


@pytest_asyncio.fixture
async def user(anybody: Browser) -> Browser:
    """Somebody who is logged in."""
    response = await anybody.login()
    assert response.headers["Location"] == ORIGIN
    return anybody


@pytest.fixture
def store(around: Services) -> Minio:
    return Minio(endpoint=f"127.0.0.1:{around.s3}", access_key=KEY_ID, secret_key=SECRET, secure=False)


async def test_the_kubelet_is_answered_by_address_and_without_https(anybody: Browser) -> None:
    headers = {"Host": urlsplit(anybody.base).netloc, "X-Forwarded-Proto": "http"}
    own = await anybody.ask("GET", "/__lbheartbeat__", headers={"Host": _own_address(), "X-Forwarded-Proto": "http"})
    ready = await anybody.ask("GET", "/__heartbeat__", headers={"X-Forwarded-Proto": "http"})
    assert (own.status, ready.status) == (200, 200)
    assert (await anybody.ask("GET", "/__lbheartbeat__", headers=headers | {"Host": "elsewhere.test"})).status == 400


def _own_address() -> str:
    return socket.gethostbyname(socket.gethostname())


async def test_plain_http_is_sent_to_https(anybody: Browser) -> None:
    response = await anybody.ask("GET", f"{API}/config/", headers={"X-Forwarded-Proto": "http"})
    assert (response.status, response.headers["Location"]) == (301, f"{ORIGIN}{API}/config/")


async def test_the_front_end_gets_its_configuration(anybody: Browser, recorded: Others) -> None:
    content = await (await anybody.ask("GET", f"{API}/config/")).json()
    assert content["livekit"]["url"] == recorded.url
    assert content["recording"]["is_enabled"] is True
    assert content["recording"]["available_modes"] == ["screen_recording", "transcript"]
    assert content["subtitle"] == {"enabled": True}
    assert content["use_proconnect_button"] is False


async def test_the_login_asks_the_provider_for_a_code(anybody: Browser, visio: Visio) -> None:
    response = await anybody.ask("GET", f"{API}/authenticate/")
    target = urlsplit(response.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(target.query).items()}
    assert response.status == 302
    assert (
        f"{target.scheme}://{target.netloc}{target.path}" == visio.backend_environment["OIDC_OP_AUTHORIZATION_ENDPOINT"]
    )
    assert query["redirect_uri"] == f"{ORIGIN}{API}/callback/"
    assert (query["client_id"], query["scope"], query["response_type"]) == ("visio", "openid email", "code")
    assert query["state"]
    assert query["nonce"]


async def test_a_login_opens_a_session_for_the_providers_user(anybody: Browser) -> None:
    assert (await anybody.ask("GET", f"{API}/users/me/")).status == 401
    assert (await anybody.login()).headers["Location"] == ORIGIN
    me = await (await anybody.ask("GET", f"{API}/users/me/")).json()
    assert (me["email"], me["full_name"]) == ("marianne@example.gouv.fr", "Marianne Test")


async def test_a_callback_with_an_unknown_state_is_refused(anybody: Browser) -> None:
    await anybody.ask("GET", f"{API}/authenticate/")
    assert (await anybody.ask("GET", f"{API}/callback/?code=x&state=unknown")).status == 400


async def test_anybody_may_enter_an_unregistered_room(anybody: Browser) -> None:
    room = await (await anybody.ask("GET", f"{API}/rooms/abc-defg-hij/?username=Jean")).json()
    assert (room["id"], room["slug"], room["livekit"]["room"]) == (None, "abc-defg-hij", "abc-defg-hij")
    claims = _claims(room["livekit"]["token"])
    assert (claims["name"], claims["video"]["room"], claims["video"]["roomJoin"]) == ("Jean", "abc-defg-hij", True)


def _claims(token: str) -> dict[str, Any]:
    return jwt.decode(token, SECRETS["livekitApiSecret"], algorithms=["HS256"], issuer=SECRETS["livekitApiKey"])


async def test_a_user_owns_the_room_that_they_make(user: Browser) -> None:
    room = await user.new_room()
    shown = await (await user.ask("GET", f"{API}/rooms/{room['slug']}/")).json()
    claims = _claims(shown["livekit"]["token"])
    assert shown["id"] == shown["livekit"]["room"] == room["id"]
    assert [access["role"] for access in shown["accesses"]] == ["owner"]
    assert claims["video"]["roomAdmin"] is True
    assert (await user.ask("POST", f"{API}/rooms/", json={"name": room["name"]})).status == 400
    assert (await user.ask("DELETE", f"{API}/rooms/{room['id']}/")).status == 204


async def test_only_a_user_with_the_proof_against_forgery_makes_a_room(anybody: Browser) -> None:
    assert (await anybody.ask("POST", f"{API}/rooms/", json={"name": "x"})).status == 401
    await anybody.login()
    assert (await anybody.ask("POST", f"{API}/rooms/", json={"name": "x"}, headers={"X-CSRFToken": ""})).status == 403


async def start(user: Browser, room: dict[str, Any], mode: str, **options: Any) -> aiohttp.ClientResponse:
    content = {"mode": mode, "options": options}
    return await user.ask("POST", f"{API}/rooms/{room['id']}/start-recording/", json=content)


async def test_a_recording_is_one_egress_with_upload_to_the_bucket(
    user: Browser, recorded: Others, visio: Visio
) -> None:
    room = await user.new_room()
    assert (await start(user, room, "screen_recording")).status == 201
    asked = recorded.named("Egress/StartRoomCompositeEgress")[-1]
    output = asked.file_outputs[0]
    assert (asked.room_name, asked.layout, asked.audio_only) == (room["id"], "speaker-light", False)
    assert output.file_type == egress.MP4
    assert output.filepath.startswith("recordings/")
    assert output.s3.endpoint == visio.backend_environment["AWS_S3_ENDPOINT_URL"]
    assert (output.s3.bucket, output.s3.region, output.s3.force_path_style) == (BUCKET, "us-east-1", True)
    assert (output.s3.access_key, output.s3.secret) == (KEY_ID, SECRET)
    again = await start(user, room, "transcript")
    assert again.status == 409
    stopped = await user.ask("POST", f"{API}/rooms/{room['id']}/stop-recording/")
    assert stopped.status == 200
    assert (await user.ask("POST", f"{API}/rooms/{room['id']}/stop-recording/")).status == 404


async def test_a_recording_that_no_egress_takes_is_a_bad_gateway_and_blocks_nothing(
    user: Browser, recorded: Others
) -> None:
    room = await user.new_room()
    recorded.egress_available = False
    try:
        assert (await start(user, room, "screen_recording")).status == 502
    finally:
        recorded.egress_available = True
    assert (await start(user, room, "screen_recording")).status == 201


@pytest.mark.parametrize("content", [{}, {"mode": "film"}, {"mode": "transcript", "options": {"colour": "red"}}])
async def test_a_malformed_recording_is_refused(user: Browser, content: dict[str, Any]) -> None:
    room = await user.new_room()
    response = await user.ask("POST", f"{API}/rooms/{room['id']}/start-recording/", json=content)
    assert response.status == 400


async def recording_of(user: Browser, room: dict[str, Any]) -> dict[str, Any]:
    listed = await (await user.ask("GET", f"{API}/recordings/")).json()
    return next(each for each in listed["results"] if each["room"]["id"] == room["id"])


async def test_a_finished_recording_becomes_a_transcript_and_the_user_may_fetch_it(
    user: Browser, recorded: Others, store: Minio, visio: Visio
) -> None:
    room, told_before = await user.new_room(), len(recorded.named("webhook"))
    assert (await start(user, room, "transcript", language="fr", collect_metadata=True)).status == 201
    dispatched = recorded.named("AgentDispatchService/CreateDispatch")[-1]
    assert (dispatched.agent_name, dispatched.room) == ("metadata-collector", room["id"])
    recording = await recording_of(user, room)
    assert (recording["status"], dispatched.metadata) == ("active", recording["id"])
    content = sound(2)
    await asyncio.to_thread(store.put_object, BUCKET, recording["key"], io.BytesIO(content), len(content))
    egress_id = f"EG_{recorded.egresses}"
    ended = await user.livekit_event(
        {"event": "egress_ended", "egressInfo": {"egressId": egress_id, "roomName": room["id"], "status": 3}}
    )
    assert ended.status == 200
    assert (await recording_of(user, room))["status"] == "notification_succeeded"
    assert recorded.named("AgentDispatchService/DeleteDispatch")

    async def told() -> Any:
        return [each for each in recorded.named("webhook")[told_before:] if each["type"] == "transcript"]

    told_last = (await eventually(told, "the tenant is told about its transcript"))[-1]
    assert told_last["status"] == "success"
    assert told_last["Authorization"] == f"Bearer {SECRETS['summaryWebhookToken']}"
    heard = recorded.named("whisper")[-1]
    assert (heard["file"], heard["language"], heard["response_format"]) == (content, "fr", "diarized_json")
    assert heard["model"] == visio.summary_environment["WHISPERX_ASR_MODEL"]
    assert heard["Authorization"] == f"Bearer {SECRETS['whisperxApiKey']}"
    document = recorded.named("docs")[-1]
    assert "Bonjour" in document["content"]
    assert document["email"] == "marianne@example.gouv.fr"
    async with user.session.get(told_last["transcription_data_url"]) as response:
        assert json.loads(await response.read())["segments"][0]["text"] == "Bonjour"
    await _fetch(user, visio, recording, content)
    await _conclude(user, told_last["job_id"], room)


async def _fetch(user: Browser, visio: Visio, recording: dict[str, Any], content: bytes) -> None:
    """The ingress asks whether the user may, and adds the answer's headers to its own request to the store."""
    original = {"X-Original-URL": f"{ORIGIN}/media/{recording['key']}"}
    allowed = await user.ask("GET", f"{API}/recordings/media-auth/", headers=original)
    assert allowed.status == 200
    signed = {name: allowed.headers[name] for name in ("Authorization", "X-Amz-Date", "X-Amz-Content-SHA256")}
    url = f"{visio.backend_environment['AWS_S3_ENDPOINT_URL']}/{BUCKET}/{recording['key']}"
    async with user.session.get(url, headers=signed) as response:
        assert (response.status, await response.read()) == (200, content)
    assert (await user.ask("GET", f"{API}/recordings/media-auth/")).status == 403
    stranger = Browser(user.session, user.base)
    assert (await stranger.ask("GET", f"{API}/recordings/media-auth/", headers=original)).status == 401


async def _conclude(user: Browser, job: str, room: dict[str, Any]) -> None:
    """The summary service's webhook, as the public URL would bring it."""
    path, content = f"{API}/recordings/external-process-hook/", {"job_id": job, "type": "transcript"}
    stranger = Browser(user.session, user.base)
    bearer = {"Authorization": f"Bearer {SECRETS['summaryWebhookToken']}"}
    assert (await stranger.ask("POST", path, json=content)).status == 401
    assert (await stranger.ask("POST", path, json=content, headers={"Authorization": "Bearer x"})).status == 401
    assert (await stranger.ask("POST", path, json={}, headers=bearer)).status == 400
    assert (await stranger.ask("POST", path, json=content | {"status": "success"}, headers=bearer)).status == 200
    assert (await recording_of(user, room))["status"] == "external_process_successful"


async def test_livekits_events_need_its_own_signature(anybody: Browser) -> None:
    event = {"event": "track_published", "room": {"name": "x"}}
    assert (await anybody.ask("POST", f"{API}/rooms/webhooks-livekit/", json=event)).status == 401
    assert (await anybody.livekit_event(event, secret="another-secret-of-more-than-32-characters")).status == 400
    assert (await anybody.livekit_event(event)).status == 200
    assert (await anybody.livekit_event({"event": "no_such_event", "room": {"name": "x"}})).status == 422
    lost = {"event": "egress_ended", "egressInfo": {"egressId": "EG_lost", "roomName": "x", "status": 3}}
    assert (await anybody.livekit_event(lost)).status == 500


async def test_subtitles_need_a_token_for_the_room(user: Browser, recorded: Others) -> None:
    room, other = await user.new_room(), await user.new_room()
    path = f"{API}/rooms/{room['id']}/start-subtitle/"
    anybody = Browser(user.session, user.base)
    wrong = {"Authorization": f"Bearer {other['livekit']['token']}"}
    right = {"Authorization": f"Bearer {room['livekit']['token']}"}
    assert (await anybody.ask("POST", path)).status == 403
    assert (await anybody.ask("POST", path, headers={"Authorization": "Bearer x"})).status == 403
    assert (await anybody.ask("POST", path, headers=wrong)).status == 403
    assert (await anybody.ask("POST", path, headers=right)).status == 200
    dispatched = recorded.named("AgentDispatchService/CreateDispatch")[-1]
    assert (dispatched.agent_name, dispatched.room) == ("multi-user-transcriber", room["id"])


def test_migrating_again_changes_nothing_and_succeeds(visio: Visio) -> None:
    again = visio.programs.run("meet-backend", ["python", "manage.py", "migrate", "--no-input"],
                               visio.backend_environment)  # fmt: skip
    assert (again.returncode, "No migrations to apply." in again.stdout) == (0, True)


def test_migrating_without_a_database_fails(visio: Visio) -> None:
    nowhere = visio.backend_environment | {"DB_PORT": "1"}
    failed = visio.programs.run("meet-backend", ["python", "manage.py", "migrate", "--no-input"], nowhere)
    assert failed.returncode == 1


async def test_an_uploaded_file_is_fetched_and_removed_by_the_worker(user: Browser, store: Minio, visio: Visio) -> None:
    content = b"\x89PNG\r\n\x1a\n" + bytes(100)
    asked = {"type": "background_image", "filename": "sea.png"}
    announced = await (await user.ask("POST", f"{API}/files/", json=asked)).json()
    # The real one signs this header with the URL.
    async with user.session.put(announced["policy"], data=content, headers={"x-amz-acl": "private"}) as response:
        assert response.status == 200
    taken = await user.ask("POST", f"{API}/files/{announced['id']}/upload-ended/", json={})
    assert (taken.status, (await taken.json())["upload_state"]) == (200, "ready")
    key = f"files/{announced['id']}.png"
    path, original = f"{API}/files/media-auth/", {"X-Original-URL": f"{ORIGIN}/media/{key}"}
    assert (await user.ask("GET", path, headers=original)).headers["X-Amz-Content-SHA256"]
    assert (await user.ask("DELETE", f"{API}/files/{announced['id']}/")).status == 204
    assert (await user.ask("GET", path, headers=original)).status == 403
    command = ["python", "manage.py", "purge_deleted_files"]
    purged = await asyncio.to_thread(visio.programs.run, "meet-backend", command, visio.backend_environment)
    assert purged.returncode == 0, purged.stderr

    async def gone() -> bool:
        listed = await asyncio.to_thread(lambda: list(store.list_objects(BUCKET, key)))
        return not listed

    await eventually(gone, "the worker removes the file")


@pytest.mark.parametrize("asked", [{"type": "background_image", "filename": "sea.exe"}, {"type": "film"}])
async def test_a_file_of_another_kind_is_refused(user: Browser, asked: dict[str, str]) -> None:
    assert (await user.ask("POST", f"{API}/files/", json=asked)).status == 400
