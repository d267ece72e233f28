"""How many nodes a GPU pool has: ordered ahead of the pods, given back only when no session can be hit.

The provider chooses which node it takes (facts/scaling.md A1 b), and an idle server may get a stream a second later.
So a pool is lowered only while no pod of ours is on any of its nodes. Until then emptied nodes are cordoned, and
brought back before any is bought.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from visio_operator.api.parts import GpuPool

from .backoff import LONGEST, BackOff, back_off, raised_at
from .inventory import GpuPod, Inventory
from .observed import GpuNode, Observed, Pool
from .pace import Pace
from .plan import NodeMark, PoolPlan
from .pool_errors import read_error
from .providers import abilities_of, two_writers, where_to_look
from .reasons import Reason
from .shares import Shares, View, share
from .sizing import Limit, PoolSize, hold_before_shrinking


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

    @property
    def total(self) -> int:
        """Pods of all parts together, one GPU each."""
        return sum(self.wanted.values())


def trusted_nodes(pool: GpuPool, stock: Inventory, observed: Observed, now: float, pace: Pace) -> list[GpuNode]:
    """The nodes of a pool that may be put to new use.

    After a pool was lowered the provider is taking nodes away, and nobody knows which: those that existed then are left
    alone until the pool has its size, or `pace.removal` seconds have passed.
    """
    nodes = list(stock.nodes_of(pool.name))
    provider = observed.pools.get(pool.name)
    if provider is None or pool.provider == "none":
        return nodes
    if provider.placeholders is not None:
        # An autoscaler takes no node that a pod of ours came to meanwhile.
        return nodes
    if abilities_of(pool, provider).chooses_victim:
        return [node for node in nodes if node.name not in provider.marked]
    at, size = observed.memory.get(_lowered_at(pool)), observed.memory.get(_lowered_to(pool))
    if at is None or size is None:
        return nodes if len(nodes) <= provider.desired else []
    old = [node for node in nodes if node.created <= at]
    settled = len(old) <= size and len(nodes) <= provider.desired
    return nodes if settled or now - at >= pace.removal else [node for node in nodes if node.created > at]


def free_gpus(
    pools: Sequence[GpuPool],
    parts: frozenset[str],
    missing: int,
    stock: Inventory,
    observed: Observed,
    now: float,
    pace: Pace,
) -> int | None:
    """GPUs of a group on which a new pod could start at once; None when the nodes are somebody else's business."""
    if any(pool.provider == "none" for pool in pools):
        return None
    nodes = [node for pool in pools for node in trusted_nodes(pool, stock, observed, now, pace)]
    usable = [node for node in nodes if node.ready and node.gpus > 0 and not node.cordoned]
    names = {node.name for node in usable}
    taken = sum(pod.node in names for pool in pools for pod in stock.pods_of(pool.name))
    taken += sum(pod.part in parts and not pod.terminating for pod in stock.unplaced)
    return max(0, sum(node.gpus for node in usable) - taken - missing)


def larger_than_needed(pool: GpuPool, observed: Observed, now: float, pace: Pace) -> bool:
    """Whether a pool of ours had more nodes than needed for so long that it may be lowered as a whole."""
    found = observed.pools.get(pool.name)
    if found is not None and found.found and pool.provider != "none" and abilities_of(pool, found).chooses_victim:
        return False
    since = observed.memory.get(_less(pool))
    return since is not None and now - since >= min(pace.hold, pace.gpu_hold)


def size_pools(
    pools: Sequence[tuple[int, GpuPool]],
    demand: Demand,
    stock: Inventory,
    observed: Observed,
    room: float,
    now: float,
    pace: Pace,
) -> list[PoolSize]:
    """Size the pools of one group, each with its place in spec.gpuPools; `room` is what new nodes may cost an hour."""
    sizes: list[PoolSize] = []
    ours: list[_Pool] = []
    coming = [pod for pod in stock.unplaced if pod.part in demand.wanted]
    for index, pool in pools:
        provider = observed.pools.get(pool.name)
        if pool.provider == "none" or provider is None:
            line = f"pool {pool.name}: {demand.total} GPUs wanted; its nodes are not sized here"
            sizes.append(PoolSize(trace=(line,)))
        elif (foreign := _not_ours(index, pool, provider, observed)) is not None:
            line = f"pool {pool.name}: not touched: {foreign.message}"
            sizes.append(PoolSize(limits=(foreign,), trace=(line,)))
        else:
            nodes = stock.nodes_of(pool.name)
            pods = [pod for pod in stock.pods_of(pool.name) if not pod.over]
            ours.append(_Pool(index, pool, provider, nodes, pods, back_off(pool, provider, nodes, observed, now, pace)))
    if not ours:
        return sizes

    views = [View(one.spec, one.provider.desired, one.occupied, one.back_off.blocked) for one in ours]
    least = sum(one.spec.min for one in ours)
    kept, closed = sum(one.kept for one in ours), sum(one.closed for one in ours)
    need = max(max(demand.total, demand.floor) + kept + closed, least)
    fewest = max(need - max(demand.total - max(demand.at_least, demand.floor), 0), least)
    shares, smallest = share(need, views, room), share(fewest, views, room)
    alone = len(ours) == 1
    for one in ours:
        wanted, enough = shares.nodes[one.spec.name], smallest.nodes[one.spec.name]
        sizes.append(_size_pool(one, wanted, enough, demand, coming, stock, observed, now, pace, alone=alone))
    return [*sizes, PoolSize(limits=tuple(_limits(ours, need, shares, demand)))]


@dataclass(frozen=True)
class _Pool:
    """One pool that is ours to size."""

    index: int
    """Its place in spec.gpuPools."""
    spec: GpuPool
    provider: Pool
    nodes: Sequence[GpuNode]
    pods: Sequence[GpuPod]
    """Pods of ours that need their nodes."""
    back_off: BackOff

    @property
    def occupied(self) -> int:
        """Nodes with pods of ours."""
        return len({pod.node for pod in self.pods})

    @property
    def kept(self) -> int:
        """Nodes of transcription workers on their way out: they finish a recording first, while captions servers,
        empty by then, go in seconds.
        """
        return len({pod.node for pod in self.pods if pod.terminating and pod.part == "transcription"})

    @property
    def closed(self) -> int:
        """Nodes that somebody else cordoned and that carry no pod of ours: they exist and are of no use."""
        with_pods = {pod.node for pod in self.pods if not pod.terminating}
        return sum(node.cordoned and not node.cordoned_by_us and node.name not in with_pods for node in self.nodes)


def _size_pool(
    one: _Pool,
    need: int,
    fewest: int,
    demand: Demand,
    coming: Sequence[GpuPod],
    stock: Inventory,
    observed: Observed,
    now: float,
    pace: Pace,
    *,
    alone: bool,
) -> PoolSize:
    pool, provider = one.spec, one.provider
    placing = bool(demand.missing or coming)

    def sized(seen: _Pool) -> _Size:
        return _desired(seen, need, fewest, demand, observed, now, pace, placing=placing, alone=alone)

    size = sized(one)
    desired, memory = size.desired, size.memory
    # Nodes of a pool that is being lowered are of no use: any of them may be the one that goes.
    trusted = [] if desired < provider.desired else trusted_nodes(pool, stock, observed, now, pace)
    lasting = _less(pool) in memory and not demand.frozen and not placing
    marks = _marks(need - one.closed, one, trusted, lasting=lasting)
    if desired < provider.desired and not abilities_of(pool, provider).chooses_victim:
        memory = {**memory, _lowered_at(pool): now, _lowered_to(pool): float(desired)}
    else:
        memory = {**memory, **_still_lowering(one, observed)}
    raised = {raised_at(pool): now} if desired > provider.desired else {}
    plan = PoolPlan(
        pool.name,
        pool.provider,
        desired,
        min(pool.min, desired),
        max(pool.max, desired),
        victims=size.victims,
        aim=_aim(one, marks, size, sized),
    )
    ready = sum(node.ready and node.gpus > 0 for node in one.nodes)
    ordered = max(0, provider.desired - len(one.nodes))
    trace = (
        f"pool {pool.name}: need {need} ({_worded(demand.wanted)}, min {pool.min}, max {pool.max}),"
        f" {len(one.nodes)} nodes, {ready} with GPU, {ordered} on order,"
        f" desired {provider.desired} -> {desired}{size.note}",
        *(f"node {mark.node}: {'cordon, not needed' if mark.cordon else 'back in use'}" for mark in marks),
    )
    return PoolSize(
        plan=plan,
        nodes=marks,
        limits=tuple(_errors(one, desired, pace)),
        memory={**memory, **one.back_off.memory, **raised},
        trace=trace,
    )


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
        return Limit(Reason.TWO_WRITERS, two_writers(index, pool))
    owner = f"{observed.namespace}/{observed.name}"
    if provider.owner not in ("", owner):
        message = f"pool {pool.name} is sized by {provider.owner}"
        return Limit(Reason.POOL_OF_ANOTHER, f"{message}; name another pool in spec.gpuPools[{index}].name")
    return None


@dataclass(frozen=True)
class _Size:
    """A pool's new size, what to remember, a word on it, and which nodes shall go."""

    desired: int
    memory: Mapping[str, float]
    note: str = ""
    victims: tuple[str, ...] = ()


def _desired(
    one: _Pool,
    need: int,
    fewest: int,
    demand: Demand,
    observed: Observed,
    now: float,
    pace: Pace,
    *,
    placing: bool,
    alone: bool,
) -> _Size:
    """What is ordered counts from the order on."""
    current = one.provider.desired
    if need > current:
        return _Size(need, {})
    # The pool's hold runs beside those of its parts, not after them.
    hold = min(pace.hold, pace.gpu_hold)
    held = hold_before_shrinking(_less(one.spec), current, fewest, observed.memory, now, hold)
    if held.size >= current or need == current:
        return _Size(current, held.memory, held.note)
    if demand.frozen:
        return _Size(current, held.memory, f", kept {current}: a signal is missing")
    if one.provider.obeys_marks and not placing:
        return _by_marks(one, need, held.memory)
    # In a group the load may live on other pools; then nothing can come to this one while its nodes are closed.
    exposed = demand.at_least > 0 if alone else any(not node.cordoned for node in one.nodes)
    if one.pods or placing or exposed:
        names = ", ".join(sorted(pod.pod for pod in one.pods)[:3]) or "a pod that is about to start"
        note = f", kept {current}: the provider chooses, and might take the node of {names}"
        if not (one.pods or placing or alone):
            note = f", kept {current} until nothing can come to its nodes"
        return _Size(current, held.memory, note)
    return _Size(need, held.memory, ", lowered: no pod is left on its nodes")


def _by_marks(one: _Pool, need: int, memory: Mapping[str, float]) -> _Size:
    """Where the provider takes marked machines first: mark closed and empty nodes, lower by those seen marked."""
    current, marked = one.provider.desired, one.provider.marked
    with_pods = {pod.node for pod in one.pods}
    empty = [node for node in one.nodes if node.cordoned and node.cordoned_by_us and node.name not in with_pods]
    victims = tuple(node.name for node in sorted(empty, key=lambda node: -node.created)[: current - need])
    going = sum(name in marked for name in victims)
    note = f", {len(victims)} closed and empty, {going} of them marked"
    return _Size(current if marked & with_pods else current - going, memory, note, victims)


def _aim(one: _Pool, marks: Sequence[NodeMark], size: _Size, sized: Callable[[_Pool], _Size]) -> int | None:
    """The size that a pool which keeps its own now would get once these nodes are closed, and marked where that is
    obeyed; None when it is the same.
    """
    if size.desired != one.provider.desired:
        return None
    closing = {mark.node for mark in marks if mark.cordon}
    nodes = [replace(node, cordoned=True, cordoned_by_us=True) if node.name in closing else node for node in one.nodes]
    then = sized(replace(one, nodes=nodes))
    marked = replace(one.provider, marked=one.provider.marked | set(then.victims))
    after = sized(replace(one, nodes=nodes, provider=marked)).desired
    return after if after < size.desired else None


def _still_lowering(one: _Pool, observed: Observed) -> dict[str, float]:
    """What to remember of a pool that was lowered and has not reached its size yet."""
    pool, nodes = one.spec, one.nodes
    at, size = observed.memory.get(_lowered_at(pool)), observed.memory.get(_lowered_to(pool))
    if at is None or size is None:
        return {}
    reached = sum(node.created <= at for node in nodes) <= size and len(nodes) <= one.provider.desired
    return {} if reached else {_lowered_at(pool): at, _lowered_to(pool): size}


def _marks(need: int, one: _Pool, trusted: list[GpuNode], *, lasting: bool) -> tuple[NodeMark, ...]:
    """Cordon empty nodes that are too many for long enough; bring ours back before any is bought. `need` counts nodes
    that are open for pods.
    """
    usable = [node for node in one.nodes if not node.cordoned]
    if need > len(usable):
        ours = [node for node in trusted if node.cordoned and node.cordoned_by_us]
        back = sorted(ours, key=lambda node: (not node.ready, node.gpus == 0, node.created))
        return tuple(NodeMark(node.name, cordon=False) for node in back[: need - len(usable)])
    if not lasting:
        return ()
    with_pods = {pod.node for pod in one.pods}
    empty = sorted((node for node in usable if node.name not in with_pods), key=lambda node: -node.created)
    return tuple(NodeMark(node.name, cordon=True) for node in empty[: len(usable) - need])


def _limits(ours: Sequence[_Pool], need: int, shares: Shares, demand: Demand) -> Iterator[Limit]:
    """Why the group has fewer nodes than it needs."""
    first = ours[0].spec
    if shares.beyond_max and len(ours) == 1:
        message = f"pool {first.name} needs {need} nodes, spec.gpuPools[{ours[0].index}].max is {first.max}; raise it"
        yield Limit(Reason.MAXIMUM_REACHED, message)
    elif shares.beyond_max:
        most = sum(one.spec.max for one in ours)
        message = f"group {first.group} needs {need} nodes, its {len(ours)} pools may have {most} together; add a pool"
        yield Limit(Reason.MAXIMUM_REACHED, message)
    if shares.beyond_budget:
        message = f"{shares.beyond_budget} more nodes for {_worded(demand.wanted)} would cost more than is left"
        yield Limit(Reason.BUDGET_SPENT, f"{message} of spec.capacity.budgetPerDay today; raise it, or wait")


def _errors(one: _Pool, desired: int, pace: Pace) -> Iterator[Limit]:
    name, provider, stuck = one.spec.name, one.provider, one.back_off.stuck
    # The provider keeps its last error after it is over; only while nodes are missing it means anything.
    if provider.error and sum(node.ready for node in one.nodes) < desired:
        reason, next_step = read_error(provider.error)
        yield Limit(reason, f"pool {name}: the provider says: {provider.error[:200]}; {next_step}")
    elif stuck:
        minutes = f"{LONGEST * pace.hold / 60:.0f} minutes"
        message = f"pool {name}: {stuck} of {provider.desired} nodes have had no GPU for {minutes}"
        paid = "what was allocated and never attached is paid for"
        yield Limit(Reason.NODES_STUCK, f"{message}, and nothing says why; {where_to_look(one.spec)}: {paid}")
