"""Plays meet-whisperx: transcribes one file at a time, and answers nothing else meanwhile, as the real server does.

The real handler is asynchronous around blocking inference (suitenumerique/meet-whisperx v1.2.0), so a running
transcription also blocks /health. The work takes the audio's length divided by LAB_REALTIME_FACTOR (default 14, the
whole chain with diarization on a 24 GB card as measured by NISV). Instead of a model it hears the code of tones of
standins/tone.py; sound without the code becomes segments of half a minute that say how long they are.
"""

import argparse
import io
import os
import time
import wave
from typing import Any

import av
import numpy as np
from aiohttp import web
from av.audio.resampler import AudioResampler
from av.error import FFmpegError

from visio_lab.standins.environment import Environment
from visio_lab.standins.tone import RATE, WORD_S, Decoder

REALTIME_FACTOR = 14.0
LANGUAGES = ("en", "fr", "nl", "de")
SEGMENT_S = 30.0
PAUSE_S = 1.0
"""Silence after which another segment begins."""
AUDIBLE_RATE = 8_000
"""Samples a second below which a file is only as long as speech, and holds none."""
SPEAKER = "SPEAKER_00"

Json = dict[str, Any]
Word = tuple[int, float]
"""A number of the code and the second at which its sound began."""


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
            seconds, words = hear(file.file.read())
        except ValueError as error:
            return web.json_response({"detail": str(error)}, status=400)
        time.sleep(seconds / self.realtime_factor)  # blocking everything is the flaw to be played
        segments = spoken(words) or silent(seconds)
        return web.json_response(
            {
                "text": " ".join(each["text"] for each in segments),
                "language": wanted or "fr",
                "segments": segments,
                "word_segments": [word for each in segments for word in each["words"]],
            }
        )


def spoken(words: list[Word]) -> list[Json]:
    """Segments of words with no long pause between them, each with its words and their times."""
    segments: list[Json] = []
    for number, start in words:
        word = {"word": f"w{number}", "start": start, "end": round(start + WORD_S, 2), "score": 1.0, "speaker": SPEAKER}
        if not segments or start - segments[-1]["end"] > PAUSE_S:
            segments.append({"start": start, "text": "", "speaker": SPEAKER, "words": []})
        segments[-1]["words"].append(word)
        segments[-1]["end"], segments[-1]["text"] = word["end"], f"{segments[-1]['text']} {word['word']}".strip()
    return segments


def silent(seconds: float) -> list[Json]:
    """Segments of sound that says nothing: as many as a transcript of that length has."""
    count = max(1, -(-round(seconds) // round(SEGMENT_S)))
    bounds = [(index * SEGMENT_S, min((index + 1) * SEGMENT_S, seconds)) for index in range(count)]
    return [
        {"start": start, "end": end, "text": f"{end - start:.0f} seconds", "speaker": SPEAKER, "words": []}
        for start, end in bounds
    ]


def hear(content: bytes) -> tuple[float, list[Word]]:
    """Length in seconds of a sound file of any kind, and the words in it. Raises ValueError when it is none."""
    if content[:4] == b"RIFF" and (slow := _slow_seconds(content)):
        return slow, []
    decoder, heard, samples = Decoder(), list[Word](), 0
    try:
        with av.open(io.BytesIO(content), "r") as container:
            resampler = AudioResampler(format="flt", layout="mono", rate=RATE)
            for frame in container.decode(audio=0):
                for piece in resampler.resample(frame):
                    pcm = piece.to_ndarray().astype(np.float32).reshape(-1)
                    samples += pcm.size
                    heard += decoder.hear(pcm)
    except (FFmpegError, IndexError, ValueError) as error:
        raise ValueError(f"the file is not audio: {error}") from None
    if not samples:
        raise ValueError("the file is not audio: it holds no sample")
    return samples / RATE, heard


def _slow_seconds(content: bytes) -> float:
    """Length of a WAV file whose samples are too few to be heard, else 0."""
    try:
        with wave.open(io.BytesIO(content)) as audio:
            seconds = audio.getnframes() / audio.getframerate()
            return seconds if audio.getframerate() < AUDIBLE_RATE else 0.0
    except (wave.Error, EOFError, ZeroDivisionError):
        return 0.0


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
    environment = Environment(os.environ)
    # Without the second the gated models of the diarization cannot be downloaded.
    key, _ = environment.text("API_KEY"), environment.text("HF_TOKEN")
    factor = float(os.environ.get("LAB_REALTIME_FACTOR") or REALTIME_FACTOR)
    server = Server(arguments.model, key, factor)
    # As with uvicorn, SIGTERM ends it after the running request, whatever that takes.
    port = environment.number("PORT", 8000)
    web.run_app(server.application(), port=port, access_log=None, shutdown_timeout=3600, print=None)


if __name__ == "__main__":
    main()
