"""The canary of an upgrade: one media server of the new release, tried on new rooms before the others follow.

A room lives where it began, so the new server gets its share of the rooms that open while it runs, and no call moves.
It passes when enough people joined, or after `spec.upgrade.canaryFor`; it is taken back as soon as a stop rule holds.
Either way it drains like any media server: its rooms end by themselves.

What was counted is summed up in the memory of the decision, so an operator that starts anew goes on where it was; it
misses the seconds in which there was none, for old and new servers alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

from visio_operator.api.fields import seconds
from visio_operator.api.spec import GROUP, VisioDeploymentSpec

from .media_counts import Counts, read, total, written
from .observed import MediaServer, Observed, Workload
from .pace import Pace
from .plan import CanaryPlan, Release
from .stop_rules import rules_out_loss, stop_reasons

CANARY = "sfu-canary"
"""The name of its Deployment among `Observed.workloads`."""
RETRY_NOTE = f"{GROUP}/retry"
"""Annotation of a VisioDeployment: the release whose canary failed and shall be tried again."""
LEAST = 0.2
"""Share of `canaryFor` for which it is watched at least, however many join."""
FATAL_STARTS = 3
"""Starts of a server that was never ready, after which nothing else is waited for."""
COVERED = 0.5
"""Share of the time in which its metrics have to be readable: what is not known is no success."""

_OF, _SINCE, _BEGAN, _THROUGH = "canary.of", "canary.since", "canary.began", "canary.through"
_VERDICT, _WHY, _RETRIED = "canary.verdict", "canary.why", "canary.retried"
_NEW, _OLD = "canary.new.", "canary.old."
_PROBLEMS = (
    "",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
)
"""What a kubelet says of a container that does not run, by number: the memory holds nothing else."""
_PASSED, _STOPPED, _NEVER_READY, _NOT_READY, _UNREAD, _NO_PLACE = 1.0, 2.0, 3.0, 4.0, 5.0, 6.0


@dataclass(frozen=True)
class CanaryStep:
    """Where the canary stands."""

    plan: CanaryPlan | None = None
    """The new server that shall run now; also after it passed, until the others have followed."""
    done: bool = False
    """The other media servers may follow."""
    failed: tuple[str, ...] = ()
    """The evidence against it; the upgrade holds, and the canary is taken back."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """What the next decision needs; the whole, so nothing is left of an earlier release."""
    trace: tuple[str, ...] = ()


def is_under_way(observed: Observed) -> bool:
    """Whether a canary was begun: it is followed to its end then, whatever happens to earlier steps meanwhile."""
    return _OF in observed.memory or CANARY in observed.workloads


def canary_step(
    spec: VisioDeploymentSpec,
    observed: Observed,
    old: Release,
    new: Release,
    now: float,
    pace: Pace,
    *,
    retry: bool = False,
) -> CanaryStep:
    """Try the media server of `new` while those of `old` serve on.

    To be called in every pass from the step `canary` of a rung to the rung's end, and in every pass in which one
    `is_under_way`: the canary runs on until the other servers have followed. `retry` says that the user wants a failed
    one tried again; it does so once, until it was false in between.
    """
    image = new.images["livekit"]
    main = observed.workloads.get("sfu")
    if not spec.upgrade.canary or image == old.images["livekit"] or main is None:
        return CanaryStep(done=True, trace=(f"canary: none, {_needless(spec, new, main)}",))
    if main.release == new.version or image in main.images:
        return _following(observed, main, new)
    memory = _remembered(observed.memory, new, now, retry=retry)
    if not memory.get(_VERDICT):
        memory = _watched(spec, observed, old, image, memory, now, pace)
    return _step(spec, observed, new, memory)


def _needless(spec: VisioDeploymentSpec, new: Release, main: Workload | None) -> str:
    if not spec.upgrade.canary:
        return "spec.upgrade.canary is false"
    return f"{new.version} has the same LiveKit" if main is not None else "there is no media server yet"


def _following(observed: Observed, main: Workload, new: Release) -> CanaryStep:
    """The others are on the new release, or on their way: the canary stays until they carry the load."""
    # It is one more than is wanted, and may have the place that the last of them waits for.
    there = main.current and main.updated >= main.desired and main.ready >= max(1, main.desired - 1)
    if there or CANARY not in observed.workloads:
        return CanaryStep(done=True, trace=(f"canary: {new.version} runs on all media servers",))
    said = f"canary: stays until {main.desired} media servers of {new.version} are ready"
    return CanaryStep(CanaryPlan(new), done=True, trace=(said,))


def _remembered(memory: Mapping[str, float], new: Release, now: float, *, retry: bool) -> dict[str, float]:
    """The memory of this canary; a fresh one for another release, another image, or a retry."""
    identity = float(int(sha256(f"{new.version} {new.images['livekit']}".encode()).hexdigest()[:12], 16))
    kept = {key: value for key, value in memory.items() if key.startswith("canary.")}
    if kept.get(_OF) != identity:
        return {_OF: identity, _SINCE: now}
    if not retry:
        kept.pop(_RETRIED, None)
    elif kept.get(_VERDICT, _PASSED) != _PASSED and _RETRIED not in kept:
        return {_OF: identity, _SINCE: now, _RETRIED: 1.0}
    return kept


def _watched(
    spec: VisioDeploymentSpec,
    observed: Observed,
    old: Release,
    image: str,
    memory: dict[str, float],
    now: float,
    pace: Pace,
) -> dict[str, float]:
    """Count what is new, and judge."""
    limit = seconds(spec.upgrade.canary_for)
    live = [server for server in observed.media if not server.terminating]
    fresh = [server for server in live if server.canary and server.image == image]
    if any(server.ready for server in fresh) and _BEGAN not in memory:
        memory = {**memory, _BEGAN: now, _THROUGH: now}
    began = memory.get(_BEGAN)
    restarts = float(sum(server.restarts for server in fresh))
    if began is None:
        waited = now - memory[_SINCE]
        if restarts >= FATAL_STARTS or waited >= limit:
            placed = any(server.node for server in fresh) or not fresh
            return {**memory, _VERDICT: _NEVER_READY if placed else _NO_PLACE, _WHY: _why(fresh)}
        return memory
    others = [server for server in live if not server.canary and server.image == old.images["livekit"]]
    memory = _counted(memory, fresh, others)
    counts = read(memory, _NEW)
    if restarts > counts.restarts:
        counts = replace(counts, restarts=restarts)
        memory = {**memory, **written(counts, _NEW)}
    elapsed, others_counts = now - began, read(memory, _OLD)
    if stop_reasons(others_counts, counts, last=elapsed >= limit):
        return {**memory, _VERDICT: _STOPPED}
    if elapsed >= limit:
        if not any(server.ready for server in fresh):
            return {**memory, _VERDICT: _NOT_READY}
        covered = counts.seconds + 2 * pace.recheck >= COVERED * elapsed
        return {**memory, _VERDICT: _PASSED if covered else _UNREAD}
    if elapsed >= LEAST * limit and rules_out_loss(others_counts, counts) and any(server.ready for server in fresh):
        return {**memory, _VERDICT: _PASSED}
    return memory


def _why(servers: Iterable[MediaServer]) -> float:
    said = next((server.problem for server in servers if server.problem in _PROBLEMS[1:]), "")
    return float(_PROBLEMS.index(said))


def _counted(memory: dict[str, float], fresh: Iterable[MediaServer], others: Iterable[MediaServer]) -> dict[str, float]:
    """The sums with what was counted since; the old servers count only in the looks in which the new one was read."""
    through = memory[_THROUGH]
    mine = [stretch for server in fresh for stretch in server.stretches if stretch.end > through]
    looks = {stretch.end for stretch in mine}
    if not looks:
        return memory
    theirs = [stretch for server in others for stretch in server.stretches if stretch.end in looks]
    return {
        **memory,
        _THROUGH: max(looks),
        **written(total((read(memory, _NEW), *(one.counts for one in mine))), _NEW),
        **written(total((read(memory, _OLD), *(one.counts for one in theirs))), _OLD),
    }


def _step(spec: VisioDeploymentSpec, observed: Observed, new: Release, memory: dict[str, float]) -> CanaryStep:
    """What follows from the verdict."""
    verdict, counts, others = memory.get(_VERDICT), read(memory, _NEW), read(memory, _OLD)
    limit = spec.upgrade.canary_for
    if verdict is None:
        told = f"{new.version} is tried, {_seen(others, counts)}" if _BEGAN in memory else _starting(observed, new)
        return CanaryStep(CanaryPlan(new), memory=memory, trace=(f"canary: {told}",))
    if verdict == _PASSED:
        said = f"canary: {new.version} passed, {_seen(others, counts)}"
        return CanaryStep(CanaryPlan(new), done=True, memory=memory, trace=(said,))
    if verdict == _NO_PLACE:
        said = f"canary: left out, no node had room for one more media server within {limit}"
        return CanaryStep(done=True, memory=memory, trace=(said,))
    evidence = _evidence(memory, others, counts, limit)
    trace = tuple(f"canary: {new.version} failed, {line}" for line in evidence)
    return CanaryStep(failed=evidence, memory=memory, trace=trace)


def _evidence(memory: Mapping[str, float], old: Counts, new: Counts, limit: str) -> tuple[str, ...]:
    verdict, why = memory[_VERDICT], _PROBLEMS[int(memory.get(_WHY, 0.0))]
    if verdict == _NEVER_READY:
        said = f", its pod said {why}" if why else ""
        return (f"the new media server did not become ready within {limit}, or ended at every start{said}",)
    if verdict == _NOT_READY:
        return (f"the new media server was not ready after {limit}",)
    if verdict == _UNREAD:
        return (f"the metrics of the new media server were readable for {new.seconds:.0f} s of {limit} only",)
    return stop_reasons(old, new, last=True)


def _seen(old: Counts, new: Counts) -> str:
    if not new.joins:
        return "no traffic"
    few = "" if rules_out_loss(old, new) else ", too few to rule out a loss of 5 %"
    return f"{new.joins:.0f} joins, {new.failed_joins(fresh=True):.0f} of them without media{few}"


def _starting(observed: Observed, new: Release) -> str:
    pods = [server for server in observed.media if server.canary and not server.terminating]
    if pods and not any(server.node for server in pods):
        return f"the media server of {new.version} waits for a node with room for it"
    return f"a media server of {new.version} starts"
