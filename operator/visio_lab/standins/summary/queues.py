"""Celery as the service sets it up: three queues, three tasks, one job at a time, messages lost with their worker.

Tasks keep the names of the real module, so that a message of either program is understood by the other.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any

import requests
from celery import Celery, signals

from visio_lab.standins.summary import jobs
from visio_lab.standins.summary.settings import current
from visio_lab.standins.summary.summarize import summarize
from visio_lab.standins.summary.transcribe import TranscribeError, transcribe

MODULE = "summary.core.celery_worker"
TRANSCRIBE = f"{MODULE}.process_audio_transcribe_v2_task"
SUMMARIZE = f"{MODULE}.summarize_v2_task"
WEBHOOK = f"{MODULE}.call_webhook_v2_task"
WEBHOOK_RETRIES = 3
WEBHOOK_TIMEOUTS_S = (10, 20)
"""Connect, read."""


@cache
def celery() -> Any:
    """The application with its tasks."""
    settings = current()
    app = Celery(MODULE, broker=settings.broker_url, backend=settings.result_url)
    app.conf.update(
        broker_connection_retry_on_startup=True,
        # The API reads a finished job's tenant from its stored arguments.
        result_extended=True,
        worker_send_task_events=True,
        task_send_sent_event=True,
    )
    again = {"bind": True, "max_retries": settings.max_retries}
    app.task(name=TRANSCRIBE, queue=settings.transcribe_queue, autoretry_for=(requests.RequestException,), **again)(
        _transcribe
    )
    app.task(name=SUMMARIZE, queue=settings.summarize_queue, autoretry_for=(Exception,), **again)(_summarize)
    app.task(
        name=WEBHOOK,
        queue=settings.webhook_queue,
        autoretry_for=(requests.RequestException,),
        max_retries=WEBHOOK_RETRIES,
    )(call_webhook)
    signals.task_failure.connect(_failed, weak=False)
    return app


def _tell(payload: jobs.Json, tenant: str) -> None:
    celery().tasks[WEBHOOK].apply_async(args=[payload, tenant])


def _transcribe(task: Any, payload: jobs.Json) -> jobs.Json:
    job = jobs.TranscribeJob.model_validate(payload)
    try:
        done = transcribe(job, task.request.id)
    except TranscribeError as error:
        answer = jobs.failure("transcript", task.request.id, error.code)
    else:
        if done.summary is not None:
            celery().tasks[SUMMARIZE].apply_async(args=[done.summary.model_dump(mode="json")])
        answer = jobs.success("transcript", task.request.id, done.url)
    _tell(answer, job.tenant_id)
    return answer


def _summarize(task: Any, payload: jobs.Json) -> jobs.Json:
    job = jobs.SummarizeJob.model_validate(payload)
    answer = jobs.success("summary", task.request.id, summarize(job, task.request.id))
    _tell(answer, job.tenant_id)
    return answer


def call_webhook(payload: jobs.Json, tenant_id: str) -> None:
    """Tell a tenant about its job. Raises requests.RequestException, after which Celery tries again."""
    tenant = current().tenant(tenant_id)
    response = requests.post(
        str(tenant.webhook_url),
        json=payload,
        headers={"Authorization": f"Bearer {tenant.webhook_api_key}", "User-Agent": "summary"},
        timeout=WEBHOOK_TIMEOUTS_S,
    )
    response.raise_for_status()
    print(f"Delivery success (HTTP {response.status_code})", flush=True)


def _failed(sender: Any = None, task_id: str = "", args: Sequence[Any] = (), **_: object) -> None:
    """After the last attempt the tenant hears of the failure."""
    kind = {TRANSCRIBE: "transcript", SUMMARIZE: "summary"}.get(sender.name if sender is not None else "")
    if kind and args:
        _tell(jobs.failure(kind, task_id), args[0]["tenant_id"])


def run(argv: Sequence[str]) -> None:
    """`celery -A summary.core.celery_worker worker ... -Q QUEUE`: Celery itself from here on."""
    words = list(argv)
    if words[1:3] != ["-A", MODULE]:
        raise SystemExit(f"celery: no application {' '.join(words[1:3])}")
    settings = current()
    queues = (settings.transcribe_queue, settings.summarize_queue, settings.webhook_queue)
    asked = words[words.index("-Q") + 1] if "-Q" in words[:-1] else ""
    if asked not in queues:
        # The real worker starts and waits forever on a queue that nobody fills.
        raise SystemExit(f"-Q {asked} is none of {', '.join(queues)}, which TRANSCRIBE_QUEUE_V2 and the like name")
    celery().worker_main(words[3:])
