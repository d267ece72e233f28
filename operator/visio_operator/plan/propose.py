"""Propose mode: changes of node pools wait for the approval of their digest; ForecastOnly shows them and nothing more.

`size_gpus` plans as if it could act. Here everything of that plan which changes a pool is held back until somebody has
approved it: the pool's size, cordons, and the pause of a minimum that makes room for a smaller pool. Pods follow the
load on the GPUs that exist, as always.

A digest is good for one approval. It covers the sizes, the deployment's uid and the number of approvals seen so far, so
that neither an approval that was used nor one that came too late can ever fit a later plan of the same sizes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from hashlib import sha256

from visio_operator.api.parts import GpuPool
from visio_operator.api.spec import VisioDeploymentSpec

from .observed import CaptionsServer, GpuNode, Observed, TranscriptionWorker
from .plan import NodeMark, PodMark, PoolChange, Proposal
from .reasons import Reason
from .sizing import GpuSize, Limit

DIGEST_LENGTH = 12
_ROUND = "approval.round"
"""How many approvals were seen, used or not."""
_USED = "approval.used"
"""A number for the approval that was used, while it stays on the object."""
IGNORED = "approval.ignored"
"""The same for one that fitted no plan; a user who waits for an answer finds it in status."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of the plan of GPU capacity."""

    gpus: GpuSize
    """What may be written now."""
    proposal: Proposal | None = None
    """What waits; None when nothing does."""
    approved: str = ""
    """The digest whose approval was found in this pass."""


def propose(spec: VisioDeploymentSpec, observed: Observed, gpus: GpuSize) -> Verdict:
    """Hold back what has to be approved first.

    Args:
        spec: what the user asks for; `spec.capacity.mode` says whether approval is needed.
        observed: the same snapshot that `gpus` was sized from, with the approval that the user gave.
        gpus: the sizes of an operator that may act.

    Returns:
        In mode Auto `gpus` as it is. Else the sizes that need no approval or have it, and the proposal of the rest.
    """
    mode, memory = spec.capacity.mode, observed.memory
    changes = () if mode == "Auto" else tuple(_changes(spec, observed, gpus))
    under_way = [change for change in changes if mode == "Propose" and _is_under_way(change, memory)]
    waiting = tuple(change for change in changes if change not in under_way)
    count = int(memory.get(_ROUND, 0))
    digest = digest_of(observed.uid, waiting, count)
    fits = mode == "Propose" and bool(waiting) and observed.approved == digest
    notes = _approval_notes(observed, count, fits=fits)
    if mode == "Auto":
        return Verdict(replace(gpus, memory={**gpus.memory, **notes}))

    approved = digest if fits else ""
    if fits:
        under_way, waiting = [*under_way, *waiting], ()
    proposal = None
    if waiting:
        proposal = Proposal(
            digest=digest_of(observed.uid, waiting, int(notes.get(_ROUND, 0))),
            changes=waiting,
            approvable=mode == "Propose",
            ignored=legible(observed.approved) if IGNORED in notes else "",
        )
    kept = _without(waiting, spec, observed, gpus)
    going = {change.pool for change in under_way}
    standing = {} if mode != "Propose" else {key: value for c in under_way for key, value in _standing(c).items()}
    held = replace(
        kept,
        pools=tuple(plan for plan in gpus.pools if plan.name in going),
        nodes=tuple(_nodes(waiting, going, observed, gpus)) if mode == "Propose" else (),
        limits=(*(_limits(proposal, observed) if proposal else ()), *gpus.limits),
        memory={**kept.memory, **notes, **standing},
        trace=(
            f"mode {mode}: what the operator would do, then what becomes of it",
            *kept.trace,
            *_trace(under_way, proposal),
        ),
    )
    return Verdict(held, proposal, approved)


def digest_of(uid: str, changes: Sequence[PoolChange], count: int) -> str:
    """A short name of a proposal: of the sizes, in any order, not of words or times."""
    sizes = sorted(f"{change.pool}:{change.before}>{change.after}" for change in changes)
    return sha256("\n".join([uid, str(count), *sizes]).encode()).hexdigest()[:DIGEST_LENGTH]


def legible(approval: str) -> str:
    """An approval as it may be shown: anybody can write anything into an annotation."""
    return "".join(sign for sign in approval[: 2 * DIGEST_LENGTH] if sign.isalnum()) or "something else"


def number_of(approval: str) -> float:
    """An approval as the kind of fact that a plan can remember."""
    return float(int(sha256(approval.encode()).hexdigest()[:8], 16))


def command(observed: Observed, digest: str) -> str:
    """The command that approves a proposal."""
    return f"visio-operator approve {observed.name} -n {observed.namespace} --digest {digest}"


def _changes(spec: VisioDeploymentSpec, observed: Observed, gpus: GpuSize) -> Iterator[PoolChange]:
    """Pools that would get another size, those included whose minimum would have to pause first."""
    plans = {plan.name: plan for plan in gpus.pools}
    for pool in spec.gpu_pools:
        provider, plan = observed.pools.get(pool.name), plans.get(pool.name)
        if provider is None or plan is None:
            continue
        why = next((line for line in gpus.trace if line.startswith(f"pool {pool.name}: ")), "")
        why = why.removeprefix(f"pool {pool.name}: ") or "the load asks for it"
        before, after = provider.desired, plan.desired
        if plan.aim is not None:
            after = plan.aim
            why = f"nothing runs on {before - after} of its nodes, which would be closed first; {why}"
        if before == after and (pausing := _pausing(spec, pool, gpus)):
            after = min(before, _least(spec, pool, observed))
            why = f"nothing runs on it; {' and '.join(pausing)} would pause until it has its size; {why}"
        if before != after:
            price = None if pool.price_per_hour is None else Decimal(pool.price_per_hour)
            euros = None if price is None else price * 24 * (after - before)
            yield PoolChange(pool.name, before, after, why, euros)


def _pausing(spec: VisioDeploymentSpec, pool: GpuPool, gpus: GpuSize) -> list[str]:
    """Parts on this pool whose minimum would pause."""
    return [part for part, (name, _) in _users(spec).items() if name == pool.name and part in gpus.paused]


def _users(spec: VisioDeploymentSpec) -> dict[str, tuple[str, int]]:
    """The pool and the minimum of each GPU part."""
    captions, transcription = spec.captions, spec.transcription
    users = {}
    if captions.enabled:
        users["captions"] = (captions.pool or "", captions.min)
    if transcription.enabled:
        users["transcription"] = (transcription.pool or "", transcription.min)
    return users


def _least(spec: VisioDeploymentSpec, pool: GpuPool, observed: Observed) -> int:
    """The size of a pool without load: its minimum, or a node for each pod that always runs, beside nodes that somebody
    else has cordoned.
    """
    floor = sum(least for name, least in _users(spec).values() if name == pool.name)
    with_pods = {pod.node for pod in _pods(observed) if not pod.terminating}
    closed = [node for node in _nodes_of(pool.name, observed) if node.cordoned and not node.cordoned_by_us]
    return max(floor + sum(node.name not in with_pods for node in closed), pool.min)


def _pods(observed: Observed) -> list[CaptionsServer | TranscriptionWorker]:
    return [*observed.captions, *observed.transcribers]


def _nodes_of(pool: str, observed: Observed) -> list[GpuNode]:
    return [node for node in observed.nodes if node.pool == pool]


def _standing(change: PoolChange) -> dict[str, float]:
    """An approval that is not carried out yet: the pool has to get from this size to that one."""
    key = f"approved.{change.pool}"
    return {f"{key}.from": float(change.before), f"{key}.to": float(change.after)}


def _is_under_way(change: PoolChange, memory: Mapping[str, float]) -> bool:
    """Whether exactly this change was approved; with another size wanted by now, the approval has lost its object."""
    return all(memory.get(key) == value for key, value in _standing(change).items())


def _approval_notes(observed: Observed, count: int, *, fits: bool) -> dict[str, float]:
    """What to remember of the approval on the object. Every new one counts, also one that fits nothing: it must not
    fit later, when nobody thinks of it any more.
    """
    notes = {_ROUND: float(count)} if count else {}
    if not observed.approved:
        return notes
    number = number_of(observed.approved)
    if fits:
        return {_ROUND: count + 1.0, _USED: number}
    for key in (_USED, IGNORED):
        if observed.memory.get(key) == number:
            return {**notes, key: number}
    return {_ROUND: count + 1.0, IGNORED: number}


def _without(waiting: Sequence[PoolChange], spec: VisioDeploymentSpec, observed: Observed, gpus: GpuSize) -> GpuSize:
    """The sizes of pods and what to remember, when these changes are not made."""
    memory = dict(gpus.memory)
    replicas, pods, paused = dict(gpus.replicas), list(gpus.pods), set(gpus.paused)
    plans = {plan.name: plan for plan in gpus.pools}
    trace = list(gpus.trace)
    for change in waiting:
        _put_back(memory, observed.memory, f"pool.{change.pool}.raisedAt")
        if plans[change.pool].desired < change.before:
            # The plan remembers when it lowered a pool, and mistrusts the pool's nodes after that.
            _put_back(memory, observed.memory, f"pool.{change.pool}.loweredAt", f"pool.{change.pool}.loweredTo")
        for part, (pool, least) in _users(spec).items():
            if pool == change.pool and part in paused:
                paused.remove(part)
                names = _pods_of(part, observed)
                pods = [mark for mark in pods if mark.pod not in names]
                pods += _back_in_service(part, least, observed)
                replicas[part] = max(replicas.get(part, 0), _with_minimum(part, least, pool, observed))
                trace.append(f"{part}: does not pause, replicas stay {replicas[part]}: pool {pool} keeps its size")
    return replace(
        gpus,
        replicas=replicas,
        pods=tuple(pods),
        paused=frozenset(paused),
        memory=memory,
        trace=tuple(trace),
    )


def _put_back(memory: dict[str, float], before: Mapping[str, float], *keys: str) -> None:
    for key in keys:
        memory.pop(key, None)
        if key in before:
            memory[key] = before[key]


def _pods_of(part: str, observed: Observed) -> set[str]:
    pods = observed.captions if part == "captions" else observed.transcribers
    return {pod.pod for pod in pods if not pod.terminating}


def _back_in_service(part: str, least: int, observed: Observed) -> list[PodMark]:
    """Marks for pods of a minimum that had begun to pause, when the mode was still another one."""
    if part == "transcription":
        return [PodMark(w.pod, deletion_cost=0) for w in observed.transcribers if w.deletion_cost < 0]
    live = [server for server in observed.captions if not server.terminating]
    workload = observed.workloads.get(part)
    if workload is not None and workload.desired < len(live):
        # One of them is about to be taken, and nobody knows which.
        return []
    closed = sorted((s for s in live if not s.serving), key=lambda server: (not server.ready, server.created))
    short = max(0, least - (len(live) - len(closed)))
    return [PodMark(s.pod, serving=True, deletion_cost=0 if s.deletion_cost else None) for s in closed[:short]]


def _with_minimum(part: str, least: int, pool: str, observed: Observed) -> int:
    """The replicas that are there, and those that the minimum lacks as far as a GPU is free for them."""
    workload = observed.workloads.get(part)
    desired = workload.desired if workload else len(_pods_of(part, observed))
    usable = {n.name: n.gpus for n in _nodes_of(pool, observed) if n.ready and not n.cordoned}
    missing = max(0, desired - len(_pods_of(part, observed)))
    taken = missing + sum(pod.node in usable or not pod.node for pod in _pods(observed))
    return desired + max(0, min(least - desired, sum(usable.values()) - taken))


def _nodes(
    waiting: Sequence[PoolChange], going: Collection[str], observed: Observed, gpus: GpuSize
) -> Iterator[NodeMark]:
    """Marks of nodes that need no approval: our own cordons are taken back unless a smaller pool waits, since what is
    paid for may serve while more waits. None is made but on the way to a smaller size that was approved.
    """
    held = {change.pool for change in waiting if change.after < change.before}
    pool_of = {node.name: node.pool for node in observed.nodes}
    for mark in gpus.nodes:
        pool = pool_of.get(mark.node)
        if pool in going if mark.cordon else pool not in held:
            yield mark


def _limits(proposal: Proposal, observed: Observed) -> Iterator[Limit]:
    """Capacity is limited where a larger pool waits; a smaller one that waits limits nobody."""
    reason = Reason.APPROVAL_NEEDED if proposal.approvable else Reason.FORECAST_ONLY
    for change in proposal.changes:
        if change.after > change.before:
            message = f"pool {change.pool} should have {change.after} nodes and has {change.before}"
            yield Limit(reason, f"{message}; {next_step(proposal, observed)}")


def next_step(proposal: Proposal, observed: Observed) -> str:
    """What to do about a proposal, in one clause."""
    if not proposal.approvable:
        return "it is only shown: set spec.capacity.mode to Propose to approve it, or to Auto"
    ignored = ""
    if proposal.ignored:
        ignored = f"the approval of {proposal.ignored} is of another plan and is ignored; "
    return f"{ignored}approve it with `{command(observed, proposal.digest)}`"


def _trace(under_way: Sequence[PoolChange], proposal: Proposal | None) -> Iterator[str]:
    for change in under_way:
        yield f"{in_words(change)}: approved"
    if proposal is not None:
        state = f"waits for approval of {proposal.digest}" if proposal.approvable else "only shown"
        for change in proposal.changes:
            yield f"{in_words(change)}: {state}"


def in_words(change: PoolChange) -> str:
    """A change with its numbers."""
    return f"pool {change.pool}: {change.before} -> {change.after} nodes, {change.euros_text} euros a day"
