"""The stand-ins start in the environment that the operator renders, and in none that lacks a part of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import requests
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from rendered_environment import KEY_ID, SECRET, everything, rendered_environment
from visio_lab.standins import frontend, garage, oidc, tone, whisperx
from visio_lab.standins.agents import metadata, subtitles
from visio_lab.standins.backend import commands, schema
from visio_lab.standins.backend import settings as backend
from visio_lab.standins.environment import Environment
from visio_lab.standins.storage import EMPTY_SHA256, from_url
from visio_lab.standins.summary import settings as summary
from visio_lab.standins.summary.jobs import SpeakerMetadata
from visio_lab.standins.summary.speakers import with_names

Values = Mapping[str, str]


def _garage(values: Values) -> object:
    """Its configuration lies where the pod mounts it, and its volumes are the test's folder."""
    folder = Path(values["FOLDER"])
    for manifest in everything():
        if manifest["kind"] == "ConfigMap" and manifest["metadata"]["name"].endswith("-garage"):
            text = manifest["data"]["garage.toml"].replace("/var/lib/garage", str(folder / "garage"))
            (folder / "garage.toml").write_text(text)
    variables = dict(values)
    if "GARAGE_CONFIG_FILE" in variables:
        variables["GARAGE_CONFIG_FILE"] = str(folder / "garage.toml")
    return garage.gateway(variables)


CHECKS: dict[str, tuple[Callable[[Values], object], tuple[str, ...]]] = {
    "backend": (
        backend.server,
        ("DJANGO_CONFIGURATION", "DJANGO_SECRET_KEY_FILE", "DJANGO_ALLOWED_HOSTS", "DB_HOST", "DB_PASSWORD_FILE",
         "REDIS_URL", "CELERY_BROKER_URL", "AWS_S3_ENDPOINT_URL", "AWS_STORAGE_BUCKET_NAME", "AWS_S3_REGION_NAME",
         "OIDC_OP_JWKS_ENDPOINT", "OIDC_OP_TOKEN_ENDPOINT", "OIDC_RP_CLIENT_ID", "OIDC_RP_CLIENT_SECRET_FILE",
         "LIVEKIT_API_KEY_FILE", "LIVEKIT_API_SECRET_FILE", "LIVEKIT_API_URL", "RECORDING_DOWNLOAD_BASE_URL",
         "SUMMARY_SERVICE_VERSION", "SUMMARY_SERVICE_API_TOKEN_FILE", "SUMMARY_SERVICE_WEBHOOK_API_TOKEN_FILE"),
    ),
    "celery-backend": (backend.base, ("DJANGO_SETTINGS_MODULE", "DB_NAME", "CELERY_BROKER_URL")),
    "migrate": (backend.base, ("DJANGO_CONFIGURATION", "DB_USER", "DB_PASSWORD_FILE")),
    "superuser": (backend.base, ("DB_HOST",)),
    "clean-pending-files": (backend.base, ("DB_HOST",)),
    "purge-deleted-files": (backend.base, ("AWS_S3_ACCESS_KEY_ID_FILE",)),
    "summary": (
        summary.read,
        ("AUTHORIZED_TENANTS", "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "TASK_TRACKER_REDIS_URL",
         "AWS_S3_ENDPOINT_URL", "AWS_S3_SECURE_ACCESS", "AWS_S3_ACCESS_KEY_ID", "AWS_S3_SECRET_ACCESS_KEY",
         "WHISPERX_API_KEY", "LLM_BASE_URL", "LLM_API_KEY", "LLM_MODEL", "LASUITE_DOCS_SERVER_TO_SERVER_API_KEY"),
    ),
    "transcribe": (summary.read, ("WHISPERX_BASE_URL",)),
    "summarize": (summary.read, ("LLM_MODEL",)),
    "call-webhook": (summary.read, ("AUTHORIZED_TENANTS",)),
    "subtitles": (
        subtitles.check,
        ("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "STT_PROVIDER", "KYUTAI_STT_BASE_URL",
         "KYUTAI_API_KEY"),
    ),
    "metadata": (
        metadata.check,
        ("LIVEKIT_URL", "AWS_S3_ENDPOINT_URL", "AWS_S3_ACCESS_KEY_ID", "AWS_S3_SECRET_ACCESS_KEY",
         "AWS_STORAGE_BUCKET_NAME"),
    ),
    "garage": (
        _garage,
        ("GARAGE_CONFIG_FILE", "GARAGE_DEFAULT_BUCKET", "GARAGE_DEFAULT_ACCESS_KEY", "GARAGE_DEFAULT_SECRET_KEY",
         "GARAGE_RPC_SECRET"),
    ),
}  # fmt: skip
"""Container, how its stand-in reads the environment, and the variables without which the real program is of no use."""


@pytest.mark.parametrize("container", CHECKS)
def test_a_standin_takes_the_rendered_environment(container: str, tmp_path: Path) -> None:
    CHECKS[container][0](rendered_environment(container, tmp_path) | {"FOLDER": str(tmp_path)})


@pytest.mark.parametrize(
    ("container", "missing"), [(name, each) for name, (_, needed) in CHECKS.items() for each in needed]
)
def test_a_standin_names_the_variable_that_is_missing(container: str, missing: str, tmp_path: Path) -> None:
    values = rendered_environment(container, tmp_path) | {"FOLDER": str(tmp_path)}
    del values[missing]
    with pytest.raises(SystemExit, match=f"^{missing.removesuffix('_FILE')}(_FILE)? ") as ended:
        CHECKS[container][0](values)
    assert isinstance(ended.value.code, str), "a text is exit code 1 and one line on standard error"
    assert "\n" not in ended.value.code


@pytest.mark.parametrize(
    ("container", "name", "value"),
    [
        ("backend", "DJANGO_CONFIGURATION", "Development"),
        ("backend", "REDIS_URL", "redis://:$(REDIS_PASSWORD)@redis:6379/1"),
        ("backend", "LIVEKIT_API_URL", "livekit.example.gouv.fr"),
        ("backend", "CELERY_ENABLED", "on"),
        ("backend", "DB_PORT", "postgres"),
        ("backend", "OIDC_AUTH_REQUEST_EXTRA_PARAMS", '{"acr_values": null}'),
        ("backend", "OIDC_REDIRECT_ALLOWED_HOSTS", "https://visio.example.gouv.fr"),
        ("backend", "SUMMARY_SERVICE_VERSION", "1"),
        ("backend", "FILE_UPLOAD_TMP_PATH", "files"),
        ("backend", "DJANGO_SECRET_KEY_FILE", "/nowhere/at/all"),
        ("summary", "AUTHORIZED_TENANTS", '[{"id": "meet", "api_key": "short"}]'),
        ("summary", "AUTHORIZED_TENANTS", "[]"),
        ("summary", "WHISPERX_ALLOWED_LANGUAGES", "en,fr"),
        ("summary", "AWS_S3_SECURE_ACCESS", "True"),
        ("subtitles", "STT_PROVIDER", "deepgram"),
        ("subtitles", "KYUTAI_STT_BASE_URL", "http://127.0.0.1:8090/api/asr-streaming"),
        ("metadata", "AWS_S3_ENDPOINT_URL", "http://visio-garage:3900"),
        ("garage", "GARAGE_DEFAULT_ACCESS_KEY", "visio"),
        ("garage", "GARAGE_RPC_SECRET", "xyz"),
    ],
)
def test_a_standin_names_the_variable_that_is_malformed(container: str, name: str, value: str, tmp_path: Path) -> None:
    values = rendered_environment(container, tmp_path) | {"FOLDER": str(tmp_path), name: value}
    with pytest.raises(SystemExit, match=f"^{name} "):
        CHECKS[container][0](values)


@pytest.mark.parametrize(
    "text",
    [
        "metadata_dir = ",
        'metadata_dir = "/m"',
        'metadata_dir="m"\ndata_dir="d"\ndb_engine="sqlite"\nreplication_factor=3',
    ],
)
def test_garage_refuses_a_malformed_configuration(text: str, tmp_path: Path) -> None:
    file = tmp_path / "garage.toml"
    file.write_text(text)
    with pytest.raises(SystemExit, match=r"^GARAGE_CONFIG_FILE "):
        garage.read_config(Environment({"GARAGE_CONFIG_FILE": str(file)}))


def test_garage_becomes_a_server_with_the_rendered_port_region_and_key(tmp_path: Path) -> None:
    argv, variables = _garage(rendered_environment("garage", tmp_path) | {"FOLDER": str(tmp_path)})  # type: ignore[misc]
    assert argv[:6] == ["versitygw", "--port", "0.0.0.0:3900", "--region", "us-east-1", "--quiet"]
    assert argv[-1] == str(tmp_path / "garage" / "data")
    assert variables == {"ROOT_ACCESS_KEY": KEY_ID, "ROOT_SECRET_KEY": SECRET}
    assert (tmp_path / "garage" / "data" / "meet-media-storage").is_dir()


@pytest.mark.parametrize(
    ("module", "argv"),
    [("backend", ["uwsgi"]), ("backend", ["python", "manage.py", "no_such"]), ("frontend", ["nginx"]),
     ("summary", ["uvicorn", "other:app"]), ("agents", ["python", "other.py", "start"]), ("garage", ["/garage"])],
)  # fmt: skip
def test_an_unknown_command_line_ends_with_one_line(module: str, argv: list[str], tmp_path: Path) -> None:
    values = rendered_environment("backend", tmp_path)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(garage.__file__).parents[2]), **values}
    ended = subprocess.run(
        [sys.executable, "-m", f"visio_lab.standins.{module}", *argv],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    assert len(ended.stderr.strip().splitlines()) == 1


async def test_the_front_end_has_one_page_for_every_path() -> None:
    async with TestClient(TestServer(frontend.application())) as client:
        for path in ("/", "/no/such/page", "/api/v1.0/config/"):
            response = await client.get(path)
            assert (response.status, response.content_type) == (200, "text/html")
        assert (await client.post("/")).status == 405


async def test_the_provider_gives_tokens_once_and_only_to_its_client() -> None:
    made = oidc.provider(Environment({"OIDC_CLIENTS": '{"visio": "secret"}', "OIDC_ISSUER": "https://auth.test"}))
    query = {"client_id": "visio", "redirect_uri": "https://v/cb", "response_type": "code", "scope": "openid email"}
    async with TestClient(TestServer(made.application())) as client:
        assert (await (await client.get("/.well-known/openid-configuration")).json())["issuer"] == "https://auth.test"
        unknown = await client.get("/authorize", params=query | {"client_id": "x"}, allow_redirects=False)
        assert unknown.status == 400
        back = await client.get("/authorize", params=query | {"state": "s"}, allow_redirects=False)
        code = back.headers["Location"].partition("code=")[2].partition("&")[0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": query["redirect_uri"]}
        form |= {"client_id": "visio", "client_secret": "secret"}
        assert (await client.post("/token", data=form | {"client_secret": "wrong"})).status == 401
        tokens = await (await client.post("/token", data=form)).json()
        assert (await client.post("/token", data=form)).status == 400
        bearer = {"Authorization": f"Bearer {tokens['access_token']}"}
        assert (await (await client.get("/userinfo", headers=bearer)).json())["sub"] == oidc.USER["sub"]
        assert (await client.get("/userinfo")).status == 401


@pytest.mark.parametrize("clients", ["visio", "{}", '{"visio": 1}'])
def test_the_provider_needs_its_clients(clients: str) -> None:
    with pytest.raises(SystemExit, match=r"^OIDC_CLIENTS "):
        oidc.provider(Environment({"OIDC_CLIENTS": clients, "OIDC_ISSUER": "https://auth.test"}))


def test_signed_headers_name_the_empty_body_and_the_region(tmp_path: Path) -> None:
    headers = from_url(Environment(rendered_environment("backend", tmp_path))).headers("recordings/a.ogg")
    assert headers["X-Amz-Content-SHA256"] == EMPTY_SHA256
    assert f"Credential={KEY_ID}/" in headers["Authorization"]
    assert "/us-east-1/s3/aws4_request" in headers["Authorization"]


def test_every_migration_keeps_its_name_and_its_place() -> None:
    numbers = [int(name[:4]) for name in schema.MIGRATIONS]
    assert numbers == list(range(1, 24))


def test_an_unknown_management_command_fails_as_djangos(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in rendered_environment("migrate", tmp_path).items():
        monkeypatch.setenv(name, value)
    assert commands.run(["no_such_command"]) == 1


def test_voices_get_the_names_of_who_spoke_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    def event(who: str, what: str, second: int) -> dict[str, str]:
        return {"participant_id": who, "type": what, "timestamp": f"2026-01-01T10:00:{second:02}+00:00"}

    known = {
        "participants": [{"participantId": "a", "name": "Anne"}, {"participantId": "b", "name": "Bruno"}],
        "events": [
            event("a", "speech_start", 0), event("a", "speech_end", 4),
            event("b", "speech_start", 3), event("b", "speech_end", 10),
        ],
    }  # fmt: skip
    answer = requests.Response()
    answer.status_code, answer._content = 200, json.dumps(known).encode()
    monkeypatch.setattr(requests, "get", lambda *_, **__: answer)
    asked = SpeakerMetadata.model_validate(
        {
            "cloud_storage_url": "http://s3/m.json",
            "started_at": "2026-01-01T10:00:00Z",
            "ended_at": "2026-01-01T10:01:00Z",
        }
    )
    heard = [(0.0, 3.5, "SPEAKER_00"), (4.0, 9.0, "SPEAKER_01"), (30.0, 31.0, "SPEAKER_02")]
    segments = [{"start": start, "end": end, "text": "x", "speaker": voice} for start, end, voice in heard]
    named = with_names({"segments": segments, "word_segments": []}, asked)
    assert [each["speaker"] for each in named["segments"]] == ["Anne", "Bruno", "SPEAKER_02"]


async def test_whisperx_hears_the_words_of_the_code_in_any_kind_of_sound() -> None:
    content = tone.wav(tone.encode_words(["w7", "w8", "w300"], 16_000, lead=0.5), 16_000)
    server = whisperx.Server("large-v2", "k", realtime_factor=1000)
    async with TestClient(TestServer(server.application())) as client:
        answer = await (await _transcribe(client, content)).json()
    (segment,) = answer["segments"]
    assert segment["text"] == "w7 w8 w300"
    assert [round(word["start"], 1) for word in answer["word_segments"]] == [0.5, 1.0, 1.5]
    assert segment["speaker"] == "SPEAKER_00"


async def test_whisperx_divides_sound_without_words_into_half_minutes() -> None:
    content = tone.wav(np.zeros(8_000 * 65, np.float32), 8_000)
    server = whisperx.Server("large-v2", "k", realtime_factor=10_000)
    async with TestClient(TestServer(server.application())) as client:
        answer = await (await _transcribe(client, content)).json()
    assert [round(each["end"]) for each in answer["segments"]] == [30, 60, 65]


async def _transcribe(client: TestClient[web.Request, web.Application], content: bytes) -> object:

    form = aiohttp.FormData()
    form.add_field("file", content, filename="a.wav")
    form.add_field("model", "large-v2")
    return await client.post("/v1/audio/transcriptions", data=form, headers={"Authorization": "Bearer k"})
