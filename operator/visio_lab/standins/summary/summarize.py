"""One summary: the calls to the language model in the real one's order, Docs, and the text in the store."""

import io
import json
from typing import Any

import requests

from visio_lab.standins.summary import jobs
from visio_lab.standins.summary.settings import Settings, current
from visio_lab.standins.summary.transcribe import LINK_SECONDS, create_document, may_push

TIMEOUTS_S = (60, 600)
PLAN = {
    "type": "json_schema",
    "json_schema": {
        "name": "Titles",
        "strict": True,
        "schema": {
            "type": "object",
            "properties": {"titles": {"type": "array", "items": {"type": "string"}}},
            "required": ["titles"],
            "additionalProperties": False,
        },
    },
}
STEPS = {
    "type": "json_schema",
    "json_schema": {
        "name": "actions",
        "schema": {
            "type": "object",
            "properties": {"actions": {"type": "array", "items": {"type": "object"}}},
            "required": ["actions"],
            "additionalProperties": False,
        },
    },
}


def summarize(job: jobs.SummarizeJob, identity: str) -> str:
    """Do the job; returns the link to the text. Any error makes Celery try again."""
    settings = current()
    short = _ask(settings, "Summarize the meeting in one paragraph.", job.content)
    titles = json.loads(_ask(settings, "List the meeting's subjects.", job.content, PLAN)).get("titles", [])
    parts = [_ask(settings, "Summarize this part of the meeting.", f"{title}\n{job.content}") for title in titles]
    actions = json.loads(_ask(settings, "List what is to be done.", job.content, STEPS)).get("actions", [])
    clean = _ask(settings, "Remove what is said twice.", "\n\n".join(parts))
    todo = "\n".join(f"- [ ] {action.get('title', '')}" for action in actions)
    text = "\n\n".join([short, clean, todo])
    key, data, store = f"{settings.summaries}/{identity}.txt", text.encode(), settings.storage
    store.client().put_object(bucket_name=store.bucket, object_name=key, data=io.BytesIO(data), length=len(data))
    target = job.push_to_docs_config
    if target is not None and may_push(settings, job.tenant_id):
        create_document(settings, text, target.title, target.user_email, job.user_sub)
    return store.link(key, LINK_SECONDS)


def _ask(settings: Settings, task: str, content: str, form: dict[str, Any] | None = None) -> str:
    """One answer of the language model. Raises requests.RequestException."""
    payload: dict[str, Any] = {
        "model": settings.llm_model,
        "messages": [{"role": "system", "content": task}, {"role": "user", "content": content}],
    }
    if form is not None:
        payload["response_format"] = form
    headers = {"Authorization": f"Bearer {settings.llm_key}"}
    response = requests.post(settings.llm_url, json=payload, headers=headers, timeout=TIMEOUTS_S)
    response.raise_for_status()
    return str(response.json()["choices"][0]["message"]["content"])
