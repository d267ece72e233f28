"""Plays meet-whisperx: transcribes one file at a time, and answers nothing else meanwhile, as the real server does.

The real handler is asynchronous around blocking inference (suitenumerique/meet-whisperx v1.2.0), so a running
transcription also blocks /health. The work takes the audio's length divided by LAB_REALTIME_FACTOR (default 14, the
whole chain with diarization on a 24 GB card as measured by NISV). The file must be a WAV file.
"""

import argparse
import io
import os
import time
import wave

from aiohttp import web

REALTIME_FACTOR = 14.0
LANGUAGES = ("en", "fr", "nl", "de")


class Server:
    """The HTTP side of one model on one GPU."""

    def __init__(self, model: str, key: str, realtime_factor: float) -> None:
        self.model = model
        self.key = key
        self.realtime_factor = realtime_factor

    def application(self) -> web.Application:
        """The routes of the real server."""
        application = web.Application(client_max_size=4 * 1024**3)
        application.router.add_post("/v1/audio/transcriptions", self.transcribe)
        application.router.add_get("/v1/models", self.models)
        application.router.add_get("/info", self.info)
        application.router.add_get("/health", self.health)
        return application

    async def health(self, _: web.Request) -> web.Response:
        """Healthy; while a transcription runs this is not even called."""
        return web.json_response({"status": "OK"})

    async def info(self, _: web.Request) -> web.Response:
        """The model and what it runs on."""
        return web.json_response({"model": self.model, "device": "stand-in", "batch_size": 16})

    async def models(self, _: web.Request) -> web.Response:
        """The one model, in OpenAI's form."""
        return web.json_response({"object": "list", "data": [{"id": self.model, "object": "model"}]})

    async def transcribe(self, request: web.Request) -> web.Response:
        """Transcribe the field `file`: 401 without the key, 404 for another model, 400 for what is no audio."""
        if request.headers.get("Authorization") != f"Bearer {self.key}":
            return web.json_response({"detail": "Invalid API key"}, status=401)
        form = await request.post()
        model, language, file = str(form.get("model", self.model)), form.get("language"), form.get("file")
        wanted = language if isinstance(language, str) else ""
        if model != self.model:
            return web.json_response({"detail": f"model {model} not found"}, status=404)
        if wanted and wanted not in LANGUAGES:
            return web.json_response({"detail": f"no alignment model for language {wanted}"}, status=400)
        if not isinstance(file, web.FileField):
            return web.json_response({"detail": "file is missing"}, status=422)
        try:
            seconds = audio_seconds(file.file.read())
        except ValueError as error:
            return web.json_response({"detail": str(error)}, status=400)
        time.sleep(seconds / self.realtime_factor)  # blocking everything is the flaw to be played
        segment = {"start": 0.0, "end": seconds, "text": f"{seconds:.0f} seconds", "speaker": "SPEAKER_00"}
        return web.json_response({"text": segment["text"], "language": wanted or "fr", "segments": [segment]})


def audio_seconds(content: bytes) -> float:
    """Length of a WAV file in seconds. Raises ValueError when it is none."""
    try:
        with wave.open(io.BytesIO(content)) as audio:
            return float(audio.getnframes() / audio.getframerate())
    except (wave.Error, EOFError, ZeroDivisionError) as error:
        raise ValueError(f"the file is not audio: {error}") from None


def silence(seconds: int) -> bytes:
    """A WAV file of that length at one sample a second: as long to the server as an hour, and as small as a page."""
    target = io.BytesIO()
    with wave.open(target, "wb") as audio:
        audio.setnchannels(1)
        audio.setsampwidth(1)
        audio.setframerate(1)
        audio.writeframes(bytes(seconds))
    return target.getvalue()


def main() -> None:
    """`[--model M]` with API_KEY, HF_TOKEN and PORT from the environment."""
    parser = argparse.ArgumentParser(prog="whisper-api", description=__doc__)
    parser.add_argument("--model", default=os.environ.get("TRANSCRIBE_MODEL", "large-v2"))
    arguments = parser.parse_args()
    for required in ("API_KEY", "HF_TOKEN"):
        if not os.environ.get(required):
            raise SystemExit(f"{required} is required")
    factor = float(os.environ.get("LAB_REALTIME_FACTOR") or REALTIME_FACTOR)
    server = Server(arguments.model, os.environ["API_KEY"], factor)
    # As with uvicorn, SIGTERM ends it after the running request, whatever that takes.
    port = int(os.environ.get("PORT", "8000"))
    web.run_app(server.application(), port=port, access_log=None, shutdown_timeout=3600, print=None)


if __name__ == "__main__":
    main()
