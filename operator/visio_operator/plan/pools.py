"""How many nodes a GPU pool has: ordered ahead of the pods, given back only when no session can be hit.

The provider chooses which node it takes (facts/scaling.md A1 b), and an idle server may get a stream a second later.
So a pool is lowered only while no pod of ours is on any of its nodes. Until then emptied nodes are cordoned, and
brought back before any is bought.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from visio_operator.api.parts import GpuPool

from .observed import GpuNode, Observed, Pool
from .pace import Pace
from .plan import NodeMark, PoolPlan
from .reasons import Reason
from .sizing import Limit, PoolSize, hold_before_shrinking


@dataclass(frozen=True)
class GpuPod:
    """A pod of a GPU part, in what matters to its node."""

    pod: str
    part: str
    node: str
    terminating: bool


@dataclass(frozen=True)
class Demand:
    """What a pool is asked for."""

    wanted: Mapping[str, int]
    """Pods by part, the hold before shrinking counted in."""
    at_least: int = 0
    """Pods of all parts that the load alone asks for."""
    floor: int = 0
    """Pods that shall run without any load; their nodes are kept even while the pods pause."""
    missing: int = 0
    """Pods that are asked for and not seen yet."""
    frozen: bool = False
    propose: bool = False

    @property
    def total(self) -> int:
        """Pods of all parts together, one GPU each."""
        return sum(self.wanted.values())


def gpu_pods(observed: Observed) -> tuple[GpuPod, ...]:
    """All pods of GPU parts, those on their way out too."""
    servers = (GpuPod(s.pod, "captions", s.node, s.terminating) for s in observed.captions)
    workers = (GpuPod(w.pod, "transcription", w.node, w.terminating) for w in observed.transcribers)
    return (*servers, *workers)


def trusted_nodes(pool: GpuPool, observed: Observed, now: float, pace: Pace) -> list[GpuNode]:
    """The nodes of a pool that may be put to new use.

    After a pool was lowered the provider is taking nodes away, and nobody knows which: those that existed then are left
    alone until the pool has its size, or `pace.removal` seconds have passed.
    """
    nodes = [node for node in observed.nodes if node.pool == pool.name]
    provider = observed.pools.get(pool.name)
    if provider is None or pool.provider == "none":
        return nodes
    at, size = observed.memory.get(_lowered_at(pool)), observed.memory.get(_lowered_to(pool))
    if at is None or size is None:
        return nodes if len(nodes) <= provider.desired else []
    old = [node for node in nodes if node.created <= at]
    settled = len(old) <= size and len(nodes) <= provider.desired
    return nodes if settled or now - at >= pace.removal else [node for node in nodes if node.created > at]


def free_gpus(
    pool: GpuPool, parts: frozenset[str], missing: int, observed: Observed, now: float, pace: Pace
) -> int | None:
    """GPUs on which a new pod could start at once; None when the nodes are somebody else's business."""
    if pool.provider == "none":
        return None
    usable = [n for n in trusted_nodes(pool, observed, now, pace) if n.ready and n.gpus > 0 and not n.cordoned]
    names = {node.name for node in usable}
    pods = gpu_pods(observed)
    taken = sum(pod.node in names or (not pod.node and pod.part in parts and not pod.terminating) for pod in pods)
    return max(0, sum(node.gpus for node in usable) - taken - missing)


def larger_than_needed(pool: GpuPool, observed: Observed, now: float, pace: Pace) -> bool:
    """Whether a pool of ours had more nodes than needed for so long that it may be lowered."""
    since = observed.memory.get(_less(pool))
    return since is not None and now - since >= min(pace.hold, pace.gpu_hold)


def size_pool(index: int, pool: GpuPool, demand: Demand, observed: Observed, now: float, pace: Pace) -> PoolSize:
    """Size one pool of nodes; `index` is its place in spec.gpuPools."""
    provider = observed.pools.get(pool.name)
    if pool.provider == "none" or provider is None:
        return PoolSize(trace=(f"pool {pool.name}: {demand.total} GPUs wanted; its nodes are not sized here",))
    foreign = _not_ours(index, pool, provider, observed)
    if foreign is not None:
        return PoolSize(limits=(foreign,), trace=(f"pool {pool.name}: not touched: {foreign.message}",))

    nodes = [node for node in observed.nodes if node.pool == pool.name]
    names = {node.name for node in nodes}
    pods = [p for p in gpu_pods(observed) if p.node in names or (not p.node and p.part in demand.wanted)]
    closed = _closed(nodes, pods)
    need = max(max(demand.total, demand.floor) + _kept(pods) + closed, pool.min)
    desired, memory, note = _desired(pool, provider.desired, need, demand, pods, observed, now, pace)
    limits = tuple(_limits(index, pool, provider, need, desired, nodes))
    marks: tuple[NodeMark, ...] = ()
    if demand.propose and desired != provider.desired:
        message = f"pool {pool.name} should have {desired} nodes and has {provider.desired}"
        limits = (Limit(Reason.APPROVAL_NEEDED, f"{message}; set spec.capacity.mode to Auto to act on it"), *limits)
        desired, memory, note = provider.desired, {}, f"{note}, proposed only"
    elif not demand.propose:
        # Nodes of a pool that is being lowered are of no use: any of them may be the one that goes.
        trusted = [] if desired < provider.desired else trusted_nodes(pool, observed, now, pace)
        marks = _marks(need - closed, nodes, pods, trusted, demand, memory, pool)
    if desired < provider.desired:
        memory = {**memory, _lowered_at(pool): now, _lowered_to(pool): float(desired)}
    else:
        memory = {**memory, **_still_lowering(pool, nodes, provider, observed)}
    plan = PoolPlan(pool.name, pool.provider, desired, min(pool.min, desired), max(pool.max, desired))
    ready = sum(node.ready and node.gpus > 0 for node in nodes)
    ordered = max(0, provider.desired - len(nodes))
    trace = (
        f"pool {pool.name}: need {need} ({_worded(demand.wanted)}, min {pool.min}, max {pool.max}),"
        f" {len(nodes)} nodes, {ready} with GPU, {ordered} on order, desired {provider.desired} -> {desired}{note}",
        *(f"node {mark.node}: {'cordon, not needed' if mark.cordon else 'back in use'}" for mark in marks),
    )
    return PoolSize(plan=plan, nodes=marks, limits=limits, memory=memory, trace=trace)


def _lowered_at(pool: GpuPool) -> str:
    return f"pool.{pool.name}.loweredAt"


def _lowered_to(pool: GpuPool) -> str:
    return f"pool.{pool.name}.loweredTo"


def _less(pool: GpuPool) -> str:
    return f"pool.{pool.name}.less"


def _worded(wanted: Mapping[str, int]) -> str:
    return ", ".join(f"{part} {count}" for part, count in wanted.items()) or "no part"


def _not_ours(index: int, pool: GpuPool, provider: Pool, observed: Observed) -> Limit | None:
    """Why a pool must not be written: two writers would undo each other's sizes for ever."""
    if provider.autoscaling:
        message = f"NodePool {pool.name} has autoscaling true, and a pool has one writer"
        return Limit(Reason.TWO_WRITERS, f"{message}; set it to false, or spec.gpuPools[{index}].provider to none")
    owner = f"{observed.namespace}/{observed.name}"
    if provider.owner not in ("", owner):
        message = f"NodePool {pool.name} is sized by {provider.owner}"
        return Limit(Reason.POOL_OF_ANOTHER, f"{message}; name another pool in spec.gpuPools[{index}].name")
    return None


def _closed(nodes: list[GpuNode], pods: list[GpuPod]) -> int:
    """Nodes that somebody else cordoned and that carry no pod of ours: they exist and are of no use."""
    with_pods = {pod.node for pod in pods if not pod.terminating}
    return sum(node.cordoned and not node.cordoned_by_us and node.name not in with_pods for node in nodes)


def _kept(pods: list[GpuPod]) -> int:
    """Nodes of transcription workers on their way out: they finish a recording first, while captions servers, empty
    by then, go in seconds.
    """
    return len({pod.node for pod in pods if pod.terminating and pod.part == "transcription" and pod.node})


def _desired(
    pool: GpuPool,
    current: int,
    need: int,
    demand: Demand,
    pods: list[GpuPod],
    observed: Observed,
    now: float,
    pace: Pace,
) -> tuple[int, Mapping[str, float], str]:
    """The pool's new size, what to remember, and a word on it. What is ordered counts from the order on."""
    if need > current:
        return max(current, min(need, pool.max)), {}, ""
    # The pool's hold runs beside those of its parts, not after them.
    fewest = max(need - max(demand.total - max(demand.at_least, demand.floor), 0), pool.min)
    hold = min(pace.hold, pace.gpu_hold)
    held = hold_before_shrinking(_less(pool), current, fewest, observed.memory, now, hold)
    if held.size >= current or need == current:
        return current, held.memory, held.note
    if demand.frozen:
        return current, held.memory, f", kept {current}: a signal is missing"
    if pods or demand.missing or demand.at_least:
        names = ", ".join(sorted(pod.pod for pod in pods)[:3]) or "a pod that is about to start"
        return current, held.memory, f", kept {current}: the provider chooses, and might take the node of {names}"
    return need, held.memory, ", lowered: no pod is left on its nodes"


def _still_lowering(pool: GpuPool, nodes: list[GpuNode], provider: Pool, observed: Observed) -> dict[str, float]:
    """What to remember of a pool that was lowered and has not reached its size yet."""
    at, size = observed.memory.get(_lowered_at(pool)), observed.memory.get(_lowered_to(pool))
    if at is None or size is None:
        return {}
    reached = sum(node.created <= at for node in nodes) <= size and len(nodes) <= provider.desired
    return {} if reached else {_lowered_at(pool): at, _lowered_to(pool): size}


def _marks(
    need: int,
    nodes: list[GpuNode],
    pods: list[GpuPod],
    trusted: list[GpuNode],
    demand: Demand,
    memory: Mapping[str, float],
    pool: GpuPool,
) -> tuple[NodeMark, ...]:
    """Cordon empty nodes that are too many for long enough; bring ours back before any is bought. `need` counts nodes
    that are open for pods.
    """
    usable = [node for node in nodes if not node.cordoned]
    if need > len(usable):
        ours = [node for node in trusted if node.cordoned and node.cordoned_by_us]
        back = sorted(ours, key=lambda node: (not node.ready, node.gpus == 0, node.created))
        return tuple(NodeMark(node.name, cordon=False) for node in back[: need - len(usable)])
    lasting = _less(pool) in memory and not demand.frozen
    placing = demand.missing or any(not pod.node for pod in pods)
    if not lasting or placing:
        return ()
    with_pods = {pod.node for pod in pods}
    empty = sorted((node for node in usable if node.name not in with_pods), key=lambda node: -node.created)
    return tuple(NodeMark(node.name, cordon=True) for node in empty[: len(usable) - need])


def _limits(
    index: int, pool: GpuPool, provider: Pool, need: int, desired: int, nodes: list[GpuNode]
) -> Iterator[Limit]:
    if need > pool.max:
        message = f"pool {pool.name} needs {need} nodes, spec.gpuPools[{index}].max is {pool.max}; raise it"
        yield Limit(Reason.MAXIMUM_REACHED, message)
    # The provider keeps its last error after it is over; only while nodes are missing it means anything.
    if provider.error and sum(node.ready for node in nodes) < desired:
        reason, next_step = _read_error(provider.error)
        yield Limit(reason, f"pool {pool.name}: the provider says: {provider.error[:200]}; {next_step}")


def _read_error(text: str) -> tuple[Reason, str]:
    """What a provider's error means: Outscale's codes 10046 and 10001 (facts/scaling.md A6)."""
    lower = text.lower()
    if "10046" in lower or "quota" in lower:
        return Reason.QUOTA_EXCEEDED, "ask the provider for a higher quota, or lower max"
    if "10001" in lower or "insufficientcapacity" in lower or "insufficient capacity" in lower:
        return Reason.OUT_OF_STOCK, "use a pool in another zone or with another GPU model"
    return Reason.PROVIDER_ERROR, "look at the NodePool's status"
