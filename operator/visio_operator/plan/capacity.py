"""GPU capacity: from load to servers and workers, from these to nodes."""

from __future__ import annotations

from collections.abc import Mapping

from visio_operator.api.parts import GpuPool
from visio_operator.api.spec import VisioDeploymentSpec

from .captions import size_captions
from .foresee import PartNeed, foresee_captions, foresee_transcription, settle
from .inventory import Inventory, take_inventory
from .observed import Observed
from .pace import Pace
from .planners import Planners
from .pools import Demand, free_gpus, larger_than_needed, size_pools
from .sizing import GpuSize, PartSize, PoolSize
from .transcription import size_transcription

_FORESEE = {"captions": foresee_captions, "transcription": foresee_transcription}


def size_gpus(spec: VisioDeploymentSpec, observed: Observed, planners: Planners, now: float, pace: Pace) -> GpuSize:
    """Size captions, transcription and their pools. Where both share a pool, captions get free GPUs first: people are
    waiting in a meeting, recordings wait in a queue. `planners` learn from the snapshot.
    """
    groups = _groups(spec)
    stock = take_inventory(observed)
    pool_of = _pool_of(spec)
    missing = {part: _missing(part, observed) for part in pool_of}
    free = {name: _free(name, pools, pool_of, missing, stock, observed, now, pace) for name, pools in groups.items()}
    asked = {part: _FORESEE[part](spec, observed, planners, now, pace) for part in pool_of}

    parts = _parts(spec, asked, pool_of, free, observed, now, pace)
    paused = _pausing(spec, asked, pool_of, free, observed, now, pace)
    parts = [paused.get(part.part, part) for part in parts]
    for part in parts:
        settle(part.part, planners, part.wanted + part.late - _live(part.part, observed), now, pace)

    running = sum(float(pool.price_per_hour or 0) * _bought(pool, observed) for pool in spec.gpu_pools)
    planners.budget.per_day = spec.capacity.budget_per_day
    planners.budget.pay(pace.clock(now), running)
    room = planners.budget.room(pace.clock(now), running)
    sized: list[PoolSize] = []
    for name, pools in groups.items():
        users = [part for part in parts if pool_of[part.part] == name]
        demand = Demand(
            wanted={part.part: part.wanted + part.late for part in users},
            floor=sum(_minimum(spec, part.part) for part in users),
            at_least=sum(part.target for part in users),
            missing=sum(missing[part.part] for part in users),
            frozen=any(part.frozen for part in users),
        )
        added = size_pools(pools, demand, stock, observed, room, now, pace)
        room -= sum(_added_cost(size, spec, observed) for size in added)
        sized += added
    both: tuple[PartSize | PoolSize, ...] = (*parts, *sized)
    return GpuSize(
        replicas={part.part: part.replicas for part in parts},
        pools=tuple(size.plan for size in sized if size.plan is not None),
        pods=tuple(mark for part in parts for mark in part.pods),
        nodes=tuple(mark for size in sized for mark in size.nodes),
        limits=tuple(limit for size in both for limit in size.limits),
        paused=frozenset(paused),
        frozen=tuple(part.frozen for part in parts if part.frozen),
        memory={key: value for size in both for key, value in size.memory.items()},
        trace=(
            *(
                f"{part}: its minimum pauses, so that no pod is left when pool {pool_of[part]} is lowered"
                for part in paused
            ),
            *(line for size in both for line in size.trace),
        ),
    )


def _parts(
    spec: VisioDeploymentSpec,
    asked: Mapping[str, PartNeed],
    pool_of: Mapping[str, str],
    free: Mapping[str, int | None],
    observed: Observed,
    now: float,
    pace: Pace,
) -> list[PartSize]:
    """Size the parts that are enabled, captions first."""
    parts: list[PartSize] = []
    if "captions" in pool_of:
        parts.append(
            size_captions(spec.captions, asked["captions"], observed, free.get(pool_of["captions"]), now, pace)
        )
    if "transcription" in pool_of:
        left = free.get(pool_of["transcription"])
        if left is not None and pool_of.get("captions") == pool_of["transcription"]:
            left = max(0, left - _added(parts[0], observed))
        parts.append(size_transcription(spec.transcription, asked["transcription"], observed, left, now, pace))
    return parts


def _pausing(
    spec: VisioDeploymentSpec,
    asked: Mapping[str, PartNeed],
    pool_of: Mapping[str, str],
    free: Mapping[str, int | None],
    observed: Observed,
    now: float,
    pace: Pace,
) -> dict[str, PartSize]:
    """Parts whose minimum goes for some minutes, because their pool is too large and has no load at all.

    With a pod that always runs a pool could never be lowered: the provider might take just that pod's node, with a
    stream that came in between. So the minimum goes first, gently, and comes back on a node that stayed. Load that
    arrives meanwhile ends the pause.
    """
    at_rest = spec.model_copy(
        update={
            "captions": spec.captions.model_copy(update={"min": 0}),
            "transcription": spec.transcription.model_copy(update={"min": 0}),
        }
    )
    sizes = {part.part: part for part in _parts(at_rest, asked, pool_of, free, observed, now, pace)}
    pausing: dict[str, PartSize] = {}
    for key, pools in _groups(spec).items():
        if len(pools) > 1:
            # Of several pools those without pods are lowered one by one.
            continue
        ((_, pool),) = pools
        users = [part for part, name in pool_of.items() if name == key]
        idle = all(sizes[part].target == 0 and not sizes[part].frozen for part in users)
        if idle and larger_than_needed(pool, observed, now, pace):
            pausing.update({part: sizes[part] for part in users if _minimum(spec, part) > 0})
    return pausing


def _minimum(spec: VisioDeploymentSpec, part: str) -> int:
    return spec.captions.min if part == "captions" else spec.transcription.min


def _pool_of(spec: VisioDeploymentSpec) -> dict[str, str]:
    """The pool of each GPU part that is enabled; empty text where none is named."""
    captions, transcription = spec.captions, spec.transcription
    named = (
        ("captions", captions.enabled, captions.pool),
        ("transcription", transcription.enabled, transcription.pool),
    )
    return {part: pool or "" for part, enabled, pool in named if enabled}


def _groups(spec: VisioDeploymentSpec) -> dict[str, list[tuple[int, GpuPool]]]:
    """The pools and their places in spec.gpuPools, by the name that parts know them by: their group's or their own."""
    found: dict[str, list[tuple[int, GpuPool]]] = {}
    for index, pool in enumerate(spec.gpu_pools):
        found.setdefault(pool.known_as, []).append((index, pool))
    return found


def _bought(pool: GpuPool, observed: Observed) -> int:
    provider = observed.pools.get(pool.name)
    return provider.desired if provider is not None else sum(node.pool == pool.name for node in observed.nodes)


def _added_cost(size: PoolSize, spec: VisioDeploymentSpec, observed: Observed) -> float:
    """Euros an hour of the nodes that are bought now."""
    if size.plan is None:
        return 0.0
    pool = next(pool for pool in spec.gpu_pools if pool.name == size.plan.name)
    return float(pool.price_per_hour or 0) * max(0, size.plan.desired - _bought(pool, observed))


def _free(
    key: str,
    pools: list[tuple[int, GpuPool]],
    pool_of: Mapping[str, str],
    missing: Mapping[str, int],
    stock: Inventory,
    observed: Observed,
    now: float,
    pace: Pace,
) -> int | None:
    parts = frozenset(part for part, name in pool_of.items() if name == key)
    coming = sum(missing[part] for part in parts)
    return free_gpus([pool for _, pool in pools], parts, coming, stock, observed, now, pace)


def _missing(part: str, observed: Observed) -> int:
    """Pods that a part's Deployment asks for and that are not seen yet."""
    workload = observed.workloads.get(part)
    return max(0, workload.desired - _live(part, observed)) if workload else 0


def _live(part: str, observed: Observed) -> int:
    """Pods of a part that are not on their way out."""
    pods = observed.captions if part == "captions" else observed.transcribers
    return sum(not pod.terminating for pod in pods)


def _added(size: PartSize, observed: Observed) -> int:
    workload = observed.workloads.get(size.part)
    return max(0, size.replicas - (workload.desired if workload else 0))
