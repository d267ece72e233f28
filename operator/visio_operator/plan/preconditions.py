"""What has to hold before a release is climbed, as far as the object itself shows it.

The ladder names the conditions (`ReleaseEntry.preconditions`), docs/releases.md explains them. What the operator
renders meets them already, so all that can stand against one is a variable of `spec.overrides`, which wins over ours,
or a VisioRelease that changes a setting.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from visio_operator.api.releases import ReleaseEntry
from visio_operator.api.spec import VisioDeploymentSpec

from .policy import Refusal
from .reasons import Reason

CHECKED_BY_JOB = frozenset({"duplicateUsers"})
"""What only the database can say: the check Job of the rung asks it."""

MEANINGS = {
    "duplicateUsers": "no two people without a subject share an e-mail address, whatever the case of its letters",
    "summaryV2": "the API talks to summary by its second interface: SUMMARY_SERVICE_VERSION is 2",
    "livekitWebhook": "recordings end by LiveKit's webhook; nothing relies on events of the bucket",
    "summaryRegion": "summary and metadata agent know the region of the object store",
}
"""What each precondition says, for people."""

_API = frozenset({"backend", "celery-backend"})
_STORE_READERS = frozenset({"summary", "summarize", "call-webhook", "transcription", "metadata"})
_OFF = ("false", "0", "no", "off", "n", "")
"""What Django's settings parser takes for False, in lower case."""


@dataclass(frozen=True)
class _Need:
    settings: tuple[tuple[str, str], ...]
    """Settings of the release, with the value that meets the condition."""
    variable: str
    """The variable that an override of one of `parts` may set against it."""
    parts: frozenset[str]
    allowed: tuple[str, ...]
    """Its values that do no harm, in lower case; empty: any but the empty one."""
    because: str
    recording: bool = False
    """Whether it concerns recording rather than transcription; without the feature there is nothing to meet."""


_NEEDS = {
    "summaryV2": _Need(
        (("summaryVersion", "2"),),
        "SUMMARY_SERVICE_VERSION",
        _API,
        ("2",),
        "summary answers no other interface than its second one",
    ),
    "livekitWebhook": _Need(
        (),
        "RECORDING_STORAGE_EVENT_ENABLE",
        _API,
        _OFF,
        "recordings end by LiveKit's webhook alone, which is always set up",
        recording=True,
    ),
    "summaryRegion": _Need(
        (("summaryRegion", "true"), ("metadataRegion", "true")),
        "AWS_S3_REGION_NAME",
        _STORE_READERS,
        (),
        "summary and metadata agent refuse to work without a region",
    ),
}


def unmet(spec: VisioDeploymentSpec, entry: ReleaseEntry) -> tuple[Refusal, ...]:
    """The preconditions of a rung that this deployment does not meet, with field, problem and next step each.

    Those of `CHECKED_BY_JOB` are not decided here.
    """
    return tuple(found for name in entry.preconditions if name in _NEEDS for found in _unmet(_NEEDS[name], spec, entry))


def _unmet(need: _Need, spec: VisioDeploymentSpec, entry: ReleaseEntry) -> Iterator[Refusal]:
    if not (spec.recording.enabled if need.recording else spec.transcription.enabled):
        return
    for setting, value in need.settings:
        if entry.settings.get(setting, value) != value:
            problem = f"the ladder says {entry.settings[setting]} for release {entry.version}, in which {need.because}"
            field = f"VisioRelease/{entry.version} spec.settings.{setting}"
            yield Refusal(Reason.PRECONDITION_NOT_MET, field, problem, f"remove it or set it to {value}")
    for index, override in enumerate(spec.overrides):
        if override.part not in need.parts:
            continue
        for position, variable in enumerate(override.extra_env):
            value = variable.value.strip().lower()
            if variable.name == need.variable and (value not in need.allowed if need.allowed else not value):
                field = f"spec.overrides[{index}].extraEnv[{position}]"
                problem = f"{need.variable} is {variable.value!r}, and from release {entry.version} on {need.because}"
                yield Refusal(Reason.PRECONDITION_NOT_MET, field, problem, "remove it")
