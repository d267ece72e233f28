"""What providers' errors mean: one list for all of them, since a text may come from behind another controller.

Sources: Outscale's codes 10046, 10001 and 6003 and OVHcloud's InsufficientVCPUsQuota from facts/scaling.md A5 and A6;
Karpenter's and OpenStack's words as their controllers write them into conditions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .reasons import Reason


@dataclass(frozen=True)
class _Meaning:
    """Texts that mean the same."""

    pattern: str
    reason: Reason
    next_step: str


_MEANINGS = (
    _Meaning(
        r"exceed\w* (the )?limits?\b|limits? (is|are|was|were) exceeded for nodepool",
        Reason.QUOTA_EXCEEDED,
        "raise spec.limits of the NodePool, or lower max",
    ),
    _Meaning(
        r"\b10046\b|quota|toomanyresources|limitexceeded",
        Reason.QUOTA_EXCEEDED,
        "ask the provider for a higher quota, or lower max",
    ),
    _Meaning(
        r"\b10001\b|insufficient\s?\w*capacity|out of (stock|capacity)|no valid host|not enough hosts",
        Reason.OUT_OF_STOCK,
        "use a pool in another zone or with another GPU model",
    ),
    _Meaning(
        r"\b6003\b|invalidstate", Reason.PROVIDER_ERROR, "it is tried again; if it stays, look for a GPU left attached"
    ),
    _Meaning(
        r"\b40[13]\b|unauthori[sz]ed|forbidden|access\s?denied|authfailure|invalid credential",
        Reason.PROVIDER_ERROR,
        "renew the credentials with which the provider's controller orders machines",
    ),
    _Meaning(r"\bpaused\b", Reason.PROVIDER_ERROR, "resume it"),
    _Meaning(
        r"did not (join|register)|failed to (join|register)|registration",
        Reason.PROVIDER_ERROR,
        "look at the boot log of the machine: it was bought and did not join the cluster",
    ),
)
_FAILURE = re.compile(r"\berrors?\b|\bfail|cannot|could not|unable|denied|refused|\binvalid")


def read_error(text: str) -> tuple[Reason, str]:
    """The reason and the next step that a provider's text stands for; PROVIDER_ERROR for one that nobody knows."""
    found = _meaning(text)
    if found is None:
        return Reason.PROVIDER_ERROR, "look at the status of the provider's pool object"
    return found.reason, found.next_step


def is_failure(text: str) -> bool:
    """Whether a text speaks of a failure, and not of a machine that is merely on its way."""
    return _meaning(text) is not None or _FAILURE.search(text.lower()) is not None


def _meaning(text: str) -> _Meaning | None:
    lower = text.lower()
    return next((meaning for meaning in _MEANINGS if re.search(meaning.pattern, lower)), None)
