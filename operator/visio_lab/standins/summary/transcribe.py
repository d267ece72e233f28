"""One transcription: download, transcription server, speakers' names, Docs, and the transcript in the store."""

import contextlib
import datetime as dt
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

import requests

from visio_lab.standins.summary import jobs
from visio_lab.standins.summary.media import probe, sound_of
from visio_lab.standins.summary.settings import Settings, current
from visio_lab.standins.summary.speakers import with_names

DOWNLOAD_TIMEOUTS_S = (10, 300)
WHISPER_TIMEOUTS_S = (60, 600)
DOCS_TIMEOUTS_S = (20, 180)
"""Connect, read; a transcription over ten minutes fails, is tried once more, and fails again."""
LINK_SECONDS = 86400


class TranscribeError(Exception):
    """The recording cannot be transcribed, now or later; `code` is what the tenant is told."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class DownloadError(Exception):
    """The recording could not be fetched; the job fails without another attempt."""


@dataclass(frozen=True)
class Done:
    """Where the transcript lies, and the summary that it asks for."""

    url: str
    summary: jobs.SummarizeJob | None


def transcribe(job: jobs.TranscribeJob, identity: str) -> Done:
    """Do the job. Raises TranscribeError, DownloadError, or requests' errors, after which Celery tries again."""
    settings = current()
    with _sound(settings, str(job.cloud_storage_url)) as sound:
        transcript = _ask_whisper(settings, sound, job.language or settings.default_language)
    if settings.speakers_enabled and job.metadata is not None:
        transcript = with_names(transcript, job.metadata)
    summary = _push(settings, job, transcript)
    key, data = f"{settings.transcripts}/{identity}.json", json.dumps(transcript).encode()
    store = settings.storage
    store.client().put_object(bucket_name=store.bucket, object_name=key, data=io.BytesIO(data), length=len(data))
    print(f"Transcript stored successfully for job id {identity}", flush=True)
    return Done(store.link(key, LINK_SECONDS), summary)


@contextlib.contextmanager
def _sound(settings: Settings, url: str) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="cloud_storage_download_") as folder:
        path = Path(folder) / f"recording{Path(urlsplit(url).path).suffix.lower()}"
        try:
            with requests.get(url, stream=True, timeout=DOWNLOAD_TIMEOUTS_S) as response:
                response.raise_for_status()
                with path.open("wb") as target:
                    for chunk in response.iter_content(32 * 1024):
                        target.write(chunk)
        except requests.RequestException as error:
            raise DownloadError(f"{type(error).__name__} on {url.partition('?')[0]}") from error
        media = probe(path)
        if not media.has_audio:
            raise TranscribeError("no_audio_in_file")
        if settings.longest_s and media.seconds > settings.longest_s:
            raise TranscribeError("media_duration_too_long")
        print(f"Recording file duration: {media.seconds:.2f} seconds", flush=True)
        yield sound_of(path) if media.has_video else path


def _ask_whisper(settings: Settings, sound: Path, language: str | None) -> jobs.Json:
    with sound.open("rb") as file:
        response = requests.post(
            settings.whisper_url,
            data={
                "model": settings.whisper_model,
                "language": language,
                "timestamp_granularities": ["word", "segment"],
                "response_format": "diarized_json",
            },
            files={"file": file},
            headers={"Authorization": f"Bearer {settings.whisper_key}"},
            timeout=WHISPER_TIMEOUTS_S,
        )
    if response.status_code == requests.codes.bad_request:
        raise TranscribeError("corrupted_audio_file")
    response.raise_for_status()
    answer = response.json()
    return {"segments": answer["segments"], "word_segments": answer.get("word_segments", [])}


def _push(settings: Settings, job: jobs.TranscribeJob, transcript: jobs.Json) -> jobs.SummarizeJob | None:
    """The transcript as a document, where the job asks for it, Docs is there and the tenant may."""
    target = job.push_to_docs_config
    if target is None or not may_push(settings, job.tenant_id):
        return None
    text = "".join(f"\n\n **{each.get('speaker')}**: {each['text']}" for each in transcript["segments"])
    link = f"[{target.download_link}]({target.download_link})\n" if target.download_link else ""
    create_document(settings, link + text, target.title, target.user_email, job.user_sub)
    if not target.auto_create_summary or not settings.summaries_enabled:
        return None
    return jobs.SummarizeJob(
        user_sub=job.user_sub,
        user_email=job.user_email,
        content=text,
        tenant_id=job.tenant_id,
        received_at=dt.datetime.now(dt.UTC),
        push_to_docs_config=jobs.DocsTarget(user_email=target.user_email, title=f"Summary: {target.title}"),
    )


def may_push(settings: Settings, tenant: str) -> bool:
    """Whether documents of this tenant go to Docs."""
    return bool(settings.docs_url) and settings.tenant(tenant).allowed_push_to_docs


def create_document(settings: Settings, content: str, title: str, email: str, sub: str) -> None:
    """A document in LaSuite Docs on behalf of its owner. Raises requests.RequestException."""
    payload: dict[str, Any] = {"title": title, "content": content, "email": email, "sub": sub}
    response = requests.post(
        urljoin(settings.docs_url, "/api/v1.0/documents/create-for-owner/"),
        json=payload,
        headers={"Authorization": f"Bearer {settings.docs_key}", "User-Agent": "summary"},
        timeout=DOCS_TIMEOUTS_S,
    )
    response.raise_for_status()
