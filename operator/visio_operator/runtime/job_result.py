"""Why a Job does not end well: what its pods said last, in one line for status. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Body = Mapping[str, Any]

_LONGEST_FAULT = 400
"""Characters of a fault that go into status; a pod's last words are not ours until they are parsed."""
LONGEST = 300
"""Characters of a pod's last words that go into status."""
_NO_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*:[^/@\s]*@")


def why_failed(job: Body, pods: Iterable[Body], condition: Body) -> str:
    """Why a Job failed; empty while it has not. An image that is not there counts at once: nothing else will come."""
    own = sorted(
        (pod for pod in pods if belongs_to(pod, job["metadata"]["uid"])),
        key=lambda pod: pod["metadata"].get("creationTimestamp") or "",
    )
    missing = next((text for pod in own for text in _missing_images(pod)), "")
    if condition.get("status") != "True":
        return missing
    cause = f"{condition.get('reason', 'Failed')}: {condition.get('message', '')}".strip(": ")
    said = missing or next((text for pod in reversed(own) for text in _last_words(pod)), "")
    return f"{said} ({cause})" if said else cause


def _statuses(pod: Body) -> Iterator[Body]:
    status = pod.get("status") or {}
    yield from status.get("initContainerStatuses") or ()
    yield from status.get("containerStatuses") or ()


def _missing_images(pod: Body) -> Iterator[str]:
    for status in _statuses(pod):
        waiting = (status.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in _NO_IMAGE:
            yield f"image {status.get('image', '')} cannot be had: {waiting['reason']}"


def _last_words(pod: Body) -> Iterator[str]:
    found = dict(faults(pod))
    if found:
        yield "; ".join(found.values())[:LONGEST]
    for status in _statuses(pod):
        ended = (status.get("state") or {}).get("terminated") or {}
        lines = [line.strip() for line in (ended.get("message") or "").splitlines() if line.strip()]
        if ended.get("exitCode") and lines:
            # A program's own words are not ours: no password in a URL may come along.
            yield f"{status.get('name', '')}: {_CREDENTIALS.sub('***@', lines[-1])}"[:LONGEST]


def belongs_to(pod: Body, uid: str) -> bool:
    """Whether an object is one of those that the owner of this uid made."""
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or ())


def faults(pod: Body) -> Iterator[tuple[str, str]]:
    """Connections at fault in the last attempt that has ended, each with its field, problem and next step."""
    seen = pod.get("status") or {}
    for status in (*(seen.get("initContainerStatuses") or ()), *(seen.get("containerStatuses") or ())):
        ended = (status.get("state") or {}).get("terminated") or (status.get("lastState") or {}).get("terminated") or {}
        try:
            results = json.loads(ended.get("message") or "{}").get("results") or []
            for result in results:
                if result.get("ok") is False:
                    text = f"{result['field']}: {result['detail']}; {result['next']}"
                    yield str(result["check"]), text[:_LONGEST_FAULT]
        except (ValueError, AttributeError, TypeError, KeyError):
            continue
