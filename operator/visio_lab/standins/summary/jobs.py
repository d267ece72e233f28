"""Jobs as the API takes them and as the queues carry them, and the answers to tenants."""

import datetime as dt
from typing import Any

from pydantic import AwareDatetime, BaseModel, HttpUrl, field_validator

from visio_lab.standins.summary.settings import current

Json = dict[str, Any]


class SpeakerMetadata(BaseModel):
    """Where to read who spoke when, and the recording's bounds."""

    cloud_storage_url: HttpUrl
    started_at: AwareDatetime
    ended_at: AwareDatetime


class DocsTarget(BaseModel):
    """The document that the text becomes."""

    user_email: str
    title: str
    download_link: HttpUrl | None = None
    form_link: HttpUrl | None = None
    auto_create_summary: bool = False


class TranscribeRequest(BaseModel):
    """POST /async-jobs/transcribe."""

    user_sub: str
    user_email: str | None = None
    cloud_storage_url: HttpUrl
    context_language: str | None = None
    language: str
    metadata: SpeakerMetadata | None = None
    push_to_docs_config: DocsTarget | None = None

    @field_validator("language")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in current().languages:
            raise ValueError(f"Language '{value}' is not allowed")
        return value


class TranscribeJob(TranscribeRequest):
    """The same in the queue."""

    tenant_id: str
    received_at: dt.datetime


class SummarizeRequest(BaseModel):
    """POST /async-jobs/summarize."""

    user_sub: str
    user_email: str | None = None
    content: str


class SummarizeJob(SummarizeRequest):
    """The same in the queue."""

    tenant_id: str
    received_at: dt.datetime
    push_to_docs_config: DocsTarget | None = None


RESULT_URL = {"transcript": "transcription_data_url", "summary": "summary_data_url"}


def pending(kind: str, job: str) -> Json:
    """The answer to a new or unfinished job of the kind `transcript` or `summary`."""
    return {"job_id": job, "type": kind, "status": "pending"}


def success(kind: str, job: str, url: str) -> Json:
    """The answer to a finished job."""
    return {"job_id": job, "type": kind, "status": "success", RESULT_URL[kind]: url}


def failure(kind: str, job: str, code: str = "unknown_error") -> Json:
    """The answer to a failed job."""
    return {"job_id": job, "type": kind, "status": "failure", "error_code": code}
