"""The summary service: its API, the worker that writes summaries, and the worker that calls Visio back."""

from __future__ import annotations

import json

from visio_operator.api.fields import seconds
from visio_operator.plan.plan import Plan, Release
from visio_operator.plan.secrets import TENANTS

from .backend_features import sentry_env
from .common import Manifest, Site, env
from .connections import SecretKey, composed, from_secret, keys, redis_urls, storage_env
from .containers import TMP, VISIO, amounts, container, http_probe, linger, mount, port, scratch
from .pods import Pod, deployment, disruption_budget, service, service_account, service_port

_LANGUAGES = json.dumps(["en", "fr", "de", "nl"])
"""A list is read as JSON; with commas alone none of the four programs starts."""
_NO_LLM = "unset"


def summary_env(site: Site, release: Release, whisper_url: str) -> list[Manifest]:
    """One set for the API and all its workers: the program refuses to start without any of it (facts/visio.md 3)."""
    transcription = site.spec.transcription
    return [
        from_secret("AUTHORIZED_TENANTS", composed(site, TENANTS)),
        *redis_urls(site, "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "TASK_TRACKER_REDIS_URL", celery=True),
        *env(
            {
                "TRANSCRIBE_QUEUE_V2": release.settings.get("transcribeQueue", "transcribe-queue-v2"),
                "SUMMARIZE_QUEUE_V2": release.settings.get("summarizeQueue", "summarize-queue-v2"),
                "CALL_WEBHOOK_QUEUE_V2": release.settings.get("callWebhookQueue", "call-webhook-queue-v2"),
            }
        ),
        *storage_env(site, region=release.settings.get("summaryRegion", "true") == "true"),
        *env(
            {
                "AWS_S3_SECURE_ACCESS": "True" if _storage_is_tls(site) else "False",
                "WHISPERX_BASE_URL": whisper_url,
                # The transcription server knows the model under the very name that it was started with.
                "WHISPERX_ASR_MODEL": transcription.model,
                "WHISPERX_ALLOWED_LANGUAGES": _LANGUAGES,
            }
        ),
        from_secret("WHISPERX_API_KEY", keys(site, "whisperxApiKey")),
        *_llm(site),
        *_docs(site),
        *_longest(site),
        *_sentry(site),
    ]


def _longest(site: Site) -> list[Manifest]:
    """The longest recording that is transcribed. It is compared with seconds, whatever Visio's pages say."""
    limit = site.spec.recording.max_duration
    # The last packets of a recording that was ended by its own limit lie behind it.
    return env({"RECORDING_MAX_DURATION": str(seconds(limit) + 60)}) if limit is not None else []


def _sentry(site: Site) -> list[Manifest]:
    address = sentry_env(site, "SENTRY_DSN")
    return [*env({"SENTRY_IS_ENABLED": "True"}), *address] if address else []


def _storage_is_tls(site: Site) -> bool:
    return (site.spec.object_storage.endpoint or "").startswith("https://")


def _llm(site: Site) -> list[Manifest]:
    llm = site.spec.llm
    if llm is None:
        off = {"IS_SUMMARY_ENABLED": "False", "LLM_BASE_URL": "http://unset.invalid/v1"}
        # All three are demanded even while summaries are off; these values are never used.
        return env({**off, "LLM_MODEL": _NO_LLM, "LLM_API_KEY": _NO_LLM})
    variables = {"IS_SUMMARY_ENABLED": "True", "LLM_BASE_URL": llm.url, "LLM_MODEL": llm.model}
    return [*env(variables), from_secret("LLM_API_KEY", SecretKey(llm.secret_ref.name, llm.secret_ref.key or "apiKey"))]


def _docs(site: Site) -> list[Manifest]:
    docs = site.spec.docs
    if docs is None:
        return env({"IS_LASUITE_DOCS_INTEGRATION_ENABLED": "False"})
    key = SecretKey(docs.secret_ref.name, docs.secret_ref.key or "apiKey")
    return [
        *env({"IS_LASUITE_DOCS_INTEGRATION_ENABLED": "True", "LASUITE_DOCS_BASE_URL": docs.url}),
        from_secret("LASUITE_DOCS_SERVER_TO_SERVER_API_KEY", key),
    ]


def summary(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The API, to which Visio posts finished recordings."""
    part = plan.part("summary")
    if part is None:
        return []
    live, ready = (
        release.settings.get("summaryLivenessPath", "/__lbheartbeat__"),
        release.settings.get("summaryReadinessPath", "/__heartbeat__"),
    )
    main = container(
        "summary",
        release.images["summary"],
        args=["uvicorn", "summary.main:app", "--proxy-headers", "--host", "0.0.0.0", "--port", "8000"],  # noqa: S104
        env=summary_env(site, release, _UNUSED_WHISPER),
        ports=[port("http", 8000)],
        startupProbe=http_probe(live, "http", period=2, failures=60),
        livenessProbe=http_probe(live, "http", period=15, failures=4),
        readinessProbe=http_probe(ready, "http", period=10, failures=3),
        lifecycle=linger(5),
        resources=amounts({"cpu": "250m", "memory": "128Mi"}, {"memory": "512Mi"}),
        volumeMounts=[mount("tmp", TMP)],
    )
    pod = Pod("summary", VISIO, 30, (main,), volumes=(scratch("tmp", "256Mi"),))
    return [
        service_account(site, "summary"),
        service(site, "summary", service_port("http", 80)),
        deployment(site, pod, part.replicas),
        disruption_budget(site, "summary"),
    ]


_UNUSED_WHISPER = "http://unset.invalid/v1/"
"""Demanded from every workload of the image, but only the transcription worker uses it."""


def worker(name: str, site: Site, release: Release, queue: str, whisper_url: str, **fields: object) -> Manifest:
    """A Celery worker that takes one job at a time.

    It has no probe: with the solo pool it answers nothing while it works, and a worker that lost its broker connects
    again by itself. A worker that fails ends, and the kubelet starts it again.
    """
    return container(
        name,
        release.images["summary"],
        args=["celery", "-A", "summary.core.celery_worker", "worker", "--pool=solo", "--loglevel=info", "-Q", queue],
        env=summary_env(site, release, whisper_url),
        volumeMounts=[mount("tmp", TMP)],
        **fields,
    )


def summarize(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The worker that asks the language model; some minutes for one transcript."""
    queue = release.settings.get("summarizeQueue", "summarize-queue-v2")
    return _queue_worker("summarize", site, plan, release, queue, grace=600)


def call_webhook(site: Site, plan: Plan, release: Release) -> list[Manifest]:
    """The worker that reports results to Visio; without it none arrives."""
    queue = release.settings.get("callWebhookQueue", "call-webhook-queue-v2")
    return _queue_worker("call-webhook", site, plan, release, queue, grace=60)


def _queue_worker(part: str, site: Site, plan: Plan, release: Release, queue: str, *, grace: int) -> list[Manifest]:
    planned = plan.part(part)
    if planned is None:
        return []
    resources = amounts({"cpu": "100m", "memory": "128Mi"}, {"memory": "512Mi"})
    main = worker(part, site, release, queue, _UNUSED_WHISPER, resources=resources)
    pod = Pod(part, VISIO, grace, (main,), volumes=(scratch("tmp", "256Mi"),))
    return [service_account(site, part), deployment(site, pod, planned.replicas)]
