"""What all four programs of the image demand from their environment, whichever of them runs."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from pydantic import BaseModel, Field, HttpUrl, TypeAdapter, ValidationError

from visio_lab.standins.environment import Environment
from visio_lab.standins.storage import Storage

REDIS_SCHEMES = ("redis", "rediss")
NO_KEY = "NO_API_KEY"


class Tenant(BaseModel, frozen=True):
    """A program that may ask for transcripts, and where it is told about them."""

    id: str
    api_key: str = Field(min_length=8)
    webhook_url: HttpUrl
    webhook_api_key: str
    allowed_push_to_docs: bool = False


@dataclass(frozen=True)
class Settings:
    """The service's settings."""

    tenants: tuple[Tenant, ...]
    broker_url: str
    result_url: str
    max_retries: int
    transcribe_queue: str
    summarize_queue: str
    webhook_queue: str
    storage: Storage
    transcripts: str
    summaries: str
    whisper_url: str
    whisper_key: str
    whisper_model: str
    default_language: str | None
    languages: frozenset[str]
    llm_url: str
    llm_key: str
    llm_model: str
    summaries_enabled: bool
    speakers_enabled: bool
    docs_url: str
    docs_key: str
    longest_s: int

    def tenant(self, identity: str) -> Tenant:
        """The tenant of that id. Raises LookupError."""
        return next(tenant for tenant in self.tenants if tenant.id == identity)


def read(values: Mapping[str, str]) -> Settings:
    """The settings. Raises SystemExit (exit code 1) with the variable's name."""
    environment = Environment(values)
    broker = environment.url("CELERY_BROKER_URL", REDIS_SCHEMES)
    result = environment.url("CELERY_RESULT_BACKEND", REDIS_SCHEMES)
    environment.url("TASK_TRACKER_REDIS_URL", REDIS_SCHEMES)
    docs = environment.flag("IS_LASUITE_DOCS_INTEGRATION_ENABLED")
    docs_key = environment.optional("LASUITE_DOCS_SERVER_TO_SERVER_API_KEY", NO_KEY)
    if docs and docs_key in ("", NO_KEY):
        environment.refuse("LASUITE_DOCS_SERVER_TO_SERVER_API_KEY", "is required while documents go to Docs")
    return Settings(
        tenants=_tenants(environment),
        broker_url=broker,
        result_url=result,
        max_retries=environment.number("CELERY_MAX_RETRIES", 1),
        transcribe_queue=environment.optional("TRANSCRIBE_QUEUE_V2", "transcribe-queue-v2"),
        summarize_queue=environment.optional("SUMMARIZE_QUEUE_V2", "summarize-queue-v2"),
        webhook_queue=environment.optional("CALL_WEBHOOK_QUEUE_V2", "call-webhook-queue-v2"),
        storage=_storage(environment),
        transcripts=environment.optional("AWS_TRANSCRIPT_PATH", "transcripts"),
        summaries=environment.optional("AWS_SUMMARY_PATH", "summaries"),
        whisper_url=environment.url("WHISPERX_BASE_URL").rstrip("/") + "/audio/transcriptions",
        whisper_key=environment.text("WHISPERX_API_KEY"),
        whisper_model=environment.optional("WHISPERX_ASR_MODEL", "whisper-1"),
        default_language=environment.optional("WHISPERX_DEFAULT_LANGUAGE") or None,
        languages=_languages(environment),
        llm_url=environment.url("LLM_BASE_URL").rstrip("/") + "/chat/completions",
        llm_key=environment.text("LLM_API_KEY"),
        llm_model=environment.text("LLM_MODEL"),
        summaries_enabled=environment.flag("IS_SUMMARY_ENABLED", default=True),
        speakers_enabled=environment.flag("IS_RESOLVE_SPEAKER_IDENTITIES_ENABLED", default=True),
        docs_url=environment.url("LASUITE_DOCS_BASE_URL") if docs else "",
        docs_key=docs_key,
        longest_s=environment.number("RECORDING_MAX_DURATION", 0),
    )


@cache
def current() -> Settings:
    """The settings of this process."""
    return read(os.environ)


def _tenants(environment: Environment) -> tuple[Tenant, ...]:
    name = "AUTHORIZED_TENANTS"
    try:
        tenants = TypeAdapter(tuple[Tenant, ...]).validate_json(environment.text(name))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        environment.refuse(name, f"{where or 'value'}: {first['msg']}")
    if not tenants:
        environment.refuse(name, "must name at least one tenant")
    for values in ([tenant.id for tenant in tenants], [tenant.api_key for tenant in tenants]):
        if len(set(values)) != len(values):
            environment.refuse(name, "names an id or a key twice")
    return tenants


def _languages(environment: Environment) -> frozenset[str]:
    """A list is read as JSON, never as words between commas."""
    name = "WHISPERX_ALLOWED_LANGUAGES"
    text = environment.optional(name)
    if not text:
        return frozenset(("en", "fr", "de", "nl"))
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        environment.refuse(name, "must be a JSON list of language codes")
    return frozenset(found)


def _storage(environment: Environment) -> Storage:
    """The store; its scheme is in a variable of its own, and its region is asked for until 1.28 reads one."""
    url = environment.text("AWS_S3_ENDPOINT_URL")
    secure = environment.flag("AWS_S3_SECURE_ACCESS", default=True)
    scheme = "https" if secure else "http"
    if "://" in url and not url.startswith(f"{scheme}://"):
        environment.refuse("AWS_S3_SECURE_ACCESS", "does not agree with the scheme of AWS_S3_ENDPOINT_URL")
    return Storage(
        url=f"{scheme}://{url.rpartition('://')[2].rstrip('/')}",
        bucket=environment.text("AWS_STORAGE_BUCKET_NAME"),
        access_key=environment.text("AWS_S3_ACCESS_KEY_ID"),
        secret_key=environment.text("AWS_S3_SECRET_ACCESS_KEY"),
        region="",
        secure=secure,
    )
