"""LiveKit, Redis, an S3 server and recorders on loopback, with real WebRTC participants: what recordings need."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from livekit import api, rtc
from minio import Minio

KEY, SECRET = "APIloopback", "a-secret-of-more-than-thirty-two-characters"
S3_KEY, S3_SECRET, BUCKET, REGION = "loopback", "another-secret-key", "meet-media-storage", "us-east-1"
RATE, FRAME = 48_000, 480
ANSWER_S = 20.0


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    with socket.socket(socket.AF_INET, kind) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def until(what: str, condition: Callable[[], Any], timeout: float = ANSWER_S) -> Any:
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what}: not within {timeout:g} s"
        time.sleep(0.05)
    return found


def fetch(url: str) -> str:
    """The body, or an empty text while nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as response:
            return str(response.read().decode())
    except (urllib.error.URLError, OSError):
        return ""


@dataclass
class Platform:
    """The servers that recorders work with; `events` are the webhooks in the order in which they came."""

    programs: Mapping[str, Path]
    directory: Path
    redis: int
    livekit: int
    s3: int
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.livekit}"

    @property
    def bucket(self) -> Minio:
        return Minio(f"127.0.0.1:{self.s3}", access_key=S3_KEY, secret_key=S3_SECRET, secure=False, region=REGION)

    def upload(self, secret: str = S3_SECRET) -> api.S3Upload:
        """The storage of a request, spelled as Visio spells it."""
        return api.S3Upload(
            access_key=S3_KEY, secret=secret, bucket=BUCKET, region=REGION, force_path_style=True,
            endpoint=f"http://127.0.0.1:{self.s3}",
        )  # fmt: skip

    def states(self, egress: str) -> list[tuple[str, str]]:
        """The webhooks about one recording, with the state that each tells; STARTING is the default, so unwritten."""
        about = [each for each in self.events if each.get("egressInfo", {}).get("egressId") == egress]
        return [(each["event"], each["egressInfo"].get("status", "EGRESS_STARTING")) for each in about]

    def ended(self, egress: str) -> dict[str, Any]:
        """The last webhook about a recording."""
        return dict(
            until(
                "egress_ended",
                lambda: next(
                    (
                        each["egressInfo"]
                        for each in self.events
                        if each["event"] == "egress_ended" and each["egressInfo"]["egressId"] == egress
                    ),
                    None,
                ),
            )
        )

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[api.LiveKitAPI]:
        async with api.LiveKitAPI(self.url, KEY, SECRET) as client:
            yield client

    @contextlib.asynccontextmanager
    async def speaker(self, room: str, identity: str = "alice") -> AsyncIterator[rtc.Room]:
        """A participant who sends a tone of 440 Hz."""
        grants = api.VideoGrants(room_join=True, room=room)
        token = api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt()
        joined = rtc.Room()
        await joined.connect(self.url.replace("http", "ws"), token)
        source = rtc.AudioSource(RATE, 1)
        await joined.local_participant.publish_track(rtc.LocalAudioTrack.create_audio_track("microphone", source))
        speaking = asyncio.create_task(_tone(source))
        try:
            yield joined
        finally:
            speaking.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await speaking
            await joined.disconnect()
            await source.aclose()


async def _tone(source: rtc.AudioSource) -> None:
    wave = (8000 * np.sin(2 * np.pi * 440 * np.arange(FRAME) / RATE)).astype(np.int16).tobytes()
    while True:
        await source.capture_frame(rtc.AudioFrame(wave, RATE, 1, FRAME))


@dataclass
class Recorder:
    """One egress stand-in."""

    process: subprocess.Popen[bytes]
    health: int
    metrics: int

    def value(self, name: str) -> float:
        """A metric of the recorder, whatever its labels."""
        lines = [line for line in fetch(f"http://127.0.0.1:{self.metrics}/metrics").splitlines() if line[:1] != "#"]
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))

    def free(self) -> float:
        """Cores that it still offers."""
        return float(json.loads(fetch(f"http://127.0.0.1:{self.health}/"))["CpuLoad"])

    def told(self, number: signal.Signals) -> None:
        self.process.send_signal(number)


@contextlib.contextmanager
def started(
    argv: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as output:
        process = subprocess.Popen(
            argv, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, **(environment or {})}, cwd=log.parent
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def platform(programs: Mapping[str, Path], directory: Path) -> Iterator[Platform]:
    """The servers, answering; `programs` is what the lab's tools gave."""
    made = Platform(programs, directory, free_port(), free_port(), free_port())
    (directory / "objects" / BUCKET).mkdir(parents=True)
    store = [str(programs["versitygw"]), "--access", S3_KEY, "--secret", S3_SECRET]
    with (
        _webhooks(made.events) as webhooks,
        started(
            [str(programs["redis-server"]), "--port", str(made.redis), "--bind", "127.0.0.1", "--save", ""],
            directory / "redis.log",
        ),
        started([*store, "--port", f"127.0.0.1:{made.s3}", "posix", str(directory / "objects")], directory / "s3.log"),
    ):
        until("Redis", lambda: _listens(made.redis))
        settings = {
            "port": made.livekit,
            "bind_addresses": ["127.0.0.1"],
            "rtc": {
                "tcp_port": free_port(),
                "udp_port": free_port(socket.SOCK_DGRAM),
                "node_ip": "127.0.0.1",
                "use_external_ip": False,
                "enable_loopback_candidate": True,
                "interfaces": {"includes": ["lo"]},
            },
            "redis": {"address": f"127.0.0.1:{made.redis}"},
            "keys": {KEY: SECRET},
            "webhook": {"api_key": KEY, "urls": [f"http://127.0.0.1:{webhooks}/"]},
        }
        with started(
            [str(programs["livekit-server"])], directory / "livekit.log", {"LIVEKIT_CONFIG": json.dumps(settings)}
        ):
            until("LiveKit", lambda: fetch(made.url))
            until("the S3 server", lambda: _listens(made.s3))
            yield made


@contextlib.contextmanager
def recorder(
    on: Platform, directory: Path, cores: float = 4, settings: Mapping[str, Any] | None = None
) -> Iterator[Recorder]:
    """A recorder that takes requests; `settings` are added to its configuration."""
    health, metrics = free_port(), free_port()
    body = {
        "redis": {"address": f"127.0.0.1:{on.redis}"},
        "health_port": health,
        "prometheus_port": metrics,
        "insecure": True,
        **(settings or {}),
    }
    environment = {
        "LIVEKIT_API_KEY": KEY,
        "LIVEKIT_API_SECRET": SECRET,
        "LIVEKIT_WS_URL": on.url.replace("http", "ws"),
        "EGRESS_CONFIG_BODY": json.dumps(body),
        "LAB_CPU_LIMIT": f"{cores:g}",
    }
    log = directory / "egress.log"
    with started([str(on.programs["egress-standin"]), "-home", str(directory)], log, environment) as process:
        until("the recorder", lambda: "service ready" in log.read_text())
        yield Recorder(process, health, metrics)


def _listens(port: int) -> bool:
    with socket.socket() as one:
        return one.connect_ex(("127.0.0.1", port)) == 0


@contextlib.contextmanager
def _webhooks(events: list[dict[str, Any]]) -> Iterator[int]:
    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            events.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()
