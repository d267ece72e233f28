"""What runs is changed only after the servers that it is connected to have answered under the new configuration.

A Job of the operator's image logs in to each of them as the parts will (`visio_checks`). Until it has said yes, no
part is created, and no part that reads a connection in doubt is changed; what runs stays as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from visio_operator.api.spec import VisioDeploymentSpec

from .observed import Observed
from .plan import PartPlan

PREFLIGHT = "preflight"
"""The part whose Job checks."""

_API = ("backend", "celery-backend", "migrate", "superuser", "clean-pending-files", "purge-deleted-files")
_SUMMARY = ("summary", "summarize", "call-webhook", "transcription")
READERS: dict[str, frozenset[str]] = {
    "oidc": frozenset(_API),
    "database": frozenset(_API),
    "redis": frozenset({*_API, *_SUMMARY, "sfu", "egress"}),
    "objectStorage": frozenset({*_API, *_SUMMARY, "egress", "metadata"}),
    "mail": frozenset(_API),
    "docs": frozenset({*_API, *_SUMMARY}),
    "llm": frozenset(_SUMMARY),
}
"""The parts that read each connection. All of the API's image share one environment, so that a change of any variable
would start all of them again."""
EMBEDDED = frozenset({"postgres", "redis", "garage"})
"""Parts that are connected to nothing."""


@dataclass(frozen=True)
class Verdict:
    """What the check has come to."""

    digest: str
    """Of the connections as they are asked for now; the Job carries it."""
    passed: bool = False
    faults: Mapping[str, str] = field(default_factory=dict)
    """By connection: field, problem and next step."""

    @property
    def trace(self) -> str:
        """One line for `why`."""
        if self.faults:
            return f"preflight {self.digest}: " + "; ".join(f"{name} failed" for name in self.faults)
        return f"preflight {self.digest}: {'passed' if self.passed else 'under way'}"


def outside(spec: VisioDeploymentSpec) -> tuple[str, ...]:
    """The connections that lead out of the platform, by the names of `READERS`; embedded services do not."""
    there = {
        "oidc": True,
        "database": spec.database.embedded is None,
        "redis": spec.redis.embedded is None,
        "objectStorage": spec.object_storage.embedded is None,
        "mail": spec.mail is not None,
        "docs": spec.docs is not None,
        "llm": spec.llm is not None and spec.transcription.enabled,
    }
    return tuple(name for name, exists in there.items() if exists)


def connections_digest(spec: VisioDeploymentSpec, secret_marks: Mapping[str, Mapping[str, str]]) -> str:
    """Twelve hexadecimal digits that change with the connections and the Secrets that they refer to.

    `secret_marks`: by Secret and key, a mark that changes with the value and tells nothing of it.
    """
    sections = ("oidc", "database", "redis", "object_storage", "mail", "docs", "llm", "ca_bundle")
    written = spec.model_dump(mode="json", include=set(sections))
    asked = {name: written.get(name) for name in sections}
    referred = {ref for section in asked.values() for ref in _secret_names(section)}
    marks = {name: dict(secret_marks.get(name, {})) for name in sorted(referred)}
    text = json.dumps([outside(spec), asked, marks], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _secret_names(section: object) -> set[str]:
    if not isinstance(section, dict):
        return set()
    found = {name for value in section.values() for name in _secret_names(value)}
    for key, value in section.items():
        if key.endswith("secret_ref") and isinstance(value, dict) and isinstance(value.get("name"), str):
            found.add(value["name"])
    return found


def judge(spec: VisioDeploymentSpec, observed: Observed) -> Verdict:
    """What the Job has said of the connections as they are asked for now; what it said of others counts nothing."""
    wanted = connections_digest(spec, observed.secret_marks)
    seen = observed.preflight
    if seen is None or seen.digest != wanted:
        return Verdict(wanted)
    if seen.succeeded:
        return Verdict(wanted, passed=True)
    return Verdict(wanted, faults={name: text for name, text in seen.faults if name in READERS})


def hold_parts(parts: Mapping[str, PartPlan], observed: Observed, verdict: Verdict) -> dict[str, PartPlan]:
    """Hold back the parts whose connections are in doubt.

    While the check runs: every part that does not exist, and every part that reads an outside connection. Once it has
    failed: the same parts that do not exist, and those that read a connection with a fault.
    """
    if verdict.passed:
        return dict(parts)
    return {name: _held(name, part, name in observed.workloads, verdict) for name, part in parts.items()}


def _held(name: str, part: PartPlan, exists: bool, verdict: Verdict) -> PartPlan:
    if name == PREFLIGHT or (name in EMBEDDED and not verdict.faults):
        return part
    own = [text for connection, text in verdict.faults.items() if name in READERS[connection]]
    if own:
        return replace(part, write=False, prepare=not exists, waiting_for=f"is held: {'; '.join(own)}", faulty=True)
    if not exists:
        cause = "; ".join(verdict.faults.values())
        waiting = f"waits until this is mended: {cause}" if cause else "waits until the connections are checked"
        return replace(part, write=False, prepare=True, waiting_for=waiting)
    reads = any(name in readers for readers in READERS.values())
    if reads and not verdict.faults:
        return replace(part, write=False, waiting_for="is as it was until the connections are checked")
    return part
