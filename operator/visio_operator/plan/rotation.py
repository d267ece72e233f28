"""LiveKit's key pair, and how a new one comes into use without cutting a call.

Three steps, each derived from what runs, so that a crash or a change of mind at any moment is no special case:
media servers roll until all of them accept the new pair beside the old one; then everybody signs with the new one; and
when nobody has signed with the old one for as long as a token lives, media servers roll again and forget it.
Each roll drains: a server that ends takes no new rooms and leaves with its last one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from visio_operator.api.spec import VisioDeploymentSpec

from .observed import Observed, Workload
from .plan import LivekitKeys

MEDIA = "sfu"
SIGNERS = ("backend", "celery-backend", "egress", "subtitles", "metadata")
"""Parts that sign tokens for LiveKit."""
TOKEN_LIFETIME = 6 * 3600.0
"""Seconds: Visio sets none, so that of LiveKit's SDKs holds (livekit-api 1.x, access_token.DEFAULT_TTL)."""
MOVED_AT = "livekitKeysMovedAt"
"""Since when everybody signs with the new pair, in `Plan.memory`. Losing it keeps the old pair for longer."""


@dataclass(frozen=True)
class Rotation:
    """The key pairs of now, why, and what to remember."""

    keys: LivekitKeys
    trace: str
    memory: Mapping[str, float] = field(default_factory=dict)


def first_pair(name: str) -> str:
    """The Secret with the first generated pair, among the other keys of the deployment."""
    return f"{name}-keys"


def pair_fields(name: str, secret: str) -> tuple[str, str]:
    """The keys inside a pair's Secret: identifier and secret."""
    return ("livekitApiKey", "livekitApiSecret") if secret == first_pair(name) else ("apiKey", "apiSecret")


def is_generated(name: str, secret: str) -> bool:
    """Whether the pair in this Secret is one of ours, which exists whenever it is asked for."""
    return secret == first_pair(name) or re.fullmatch(rf"{re.escape(name)}-livekit-[0-9]+", secret) is not None


def wanted_pair(name: str, spec: VisioDeploymentSpec) -> str:
    """The Secret with the pair that the spec asks for."""
    given = spec.livekit.keys_secret_ref
    if given is not None:
        return given.name
    number = spec.livekit.key_generation
    return first_pair(name) if number == 1 else f"{name}-livekit-{number}"


def settled_keys(name: str, spec: VisioDeploymentSpec) -> LivekitKeys:
    """The keys when nothing is under way."""
    pair = wanted_pair(name, spec)
    return LivekitKeys((pair,), pair)


def rotate(spec: VisioDeploymentSpec, observed: Observed, now: float) -> Rotation:
    """Choose the accepted pairs and the signing one from what runs."""
    target = wanted_pair(observed.name, spec)
    media = observed.workloads.get(MEDIA)
    signers = [observed.workloads[part] for part in SIGNERS if part in observed.workloads]
    used = {pair for one in (*signers, *([media] if media else ())) for pair in _pairs(observed, one)}
    older = tuple(sorted(pair for pair in used - {target} if _exists(observed, pair)))
    if not older:
        return Rotation(LivekitKeys((target,), target), f"LiveKit keys: {target}")
    current = _current(observed, signers, target, older)
    accepted = LivekitKeys((target, *older), current)
    if current != target:
        if not _all_accept(target, media, observed):
            return Rotation(accepted, f"LiveKit keys: {target} waits until every media server accepts it")
        return Rotation(LivekitKeys(accepted.accepted, target), f"LiveKit keys: everybody signs with {target} from now")
    if not all(_pairs(observed, one) == (target,) and _rolled_out(one) for one in signers):
        return Rotation(accepted, f"LiveKit keys: parts move to {target}")
    since = observed.memory.get(MOVED_AT, now)
    left = since + TOKEN_LIFETIME - now
    if left > 0:
        said = f"LiveKit keys: {', '.join(older)} accepted for {left / 3600:.1f} h more, as long as tokens live"
        return Rotation(accepted, said, {MOVED_AT: since})
    gone = LivekitKeys((target,), target)
    return Rotation(gone, f"LiveKit keys: {', '.join(older)} not accepted any more", {MOVED_AT: since})


def _exists(observed: Observed, pair: str) -> bool:
    return is_generated(observed.name, pair) or set(pair_fields(observed.name, pair)) <= observed.secret_keys.get(
        pair, frozenset()
    )


def _pairs(observed: Observed, one: Workload) -> tuple[str, ...]:
    """The pairs that a part's pods know; a part that does not say so is from before there was a second one."""
    return one.livekit_keys or (first_pair(observed.name),)


def _current(observed: Observed, signers: list[Workload], target: str, older: tuple[str, ...]) -> str:
    """What is signed with now; once one part has moved to the target, all do."""
    pairs = [pair for one in signers for pair in _pairs(observed, one)]
    if not pairs or target in pairs:
        return target
    return next((pair for pair in pairs if pair in older), target)


def _all_accept(target: str, media: Workload | None, observed: Observed) -> bool:
    if media is None or target not in _pairs(observed, media) or not _rolled_out(media):
        return False
    return all(target in accepted for accepted in observed.media_keys)


def _rolled_out(workload: Workload) -> bool:
    return workload.current and workload.updated >= workload.desired and workload.ready >= workload.desired
