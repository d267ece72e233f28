"""The parts without GPU that follow load: media servers, recorders, queue workers, and what an autoscaler sizes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from visio_operator.api.fields import Bounds
from visio_operator.api.spec import VisioDeploymentSpec

from .addresses import assign
from .media import size_egress, size_sfu
from .node_ports import choose
from .observed import Observed
from .pace import Pace
from .plan import PodMark
from .sizing import Limit, PartSize
from .workers import BACKLOG, size_worker


@dataclass(frozen=True)
class LoadSize:
    """What these parts shall have."""

    replicas: Mapping[str, int] = field(default_factory=dict)
    pods: tuple[PodMark, ...] = ()
    slots: tuple[int, ...] = ()
    node_port: int | None = None
    limits: tuple[Limit, ...] = ()
    frozen: tuple[str, ...] = ()
    memory: Mapping[str, float] = field(default_factory=dict)
    trace: tuple[str, ...] = ()
    loaded: bool = False
    """Something is going on, so that it is worth looking often."""


def autoscaled(spec: VisioDeploymentSpec, part: str) -> Bounds | None:
    """The bounds of a part that a HorizontalPodAutoscaler sizes; None where there is nothing to choose."""
    bounds = {"backend": spec.api, "frontend": spec.frontend}.get(part)
    return bounds if bounds is not None and bounds.min < bounds.max else None


def size_load(
    spec: VisioDeploymentSpec, observed: Observed, present: Iterable[str], now: float, pace: Pace
) -> LoadSize:
    """Size what is present of them."""
    there = set(present)
    sizes: list[PartSize] = [size_sfu(spec, observed, now, pace)]
    if "egress" in there:
        sizes.append(size_egress(spec.recording, observed, now, pace))
    sizes += [size_worker(part, spec.workers, observed, now, pace) for part in BACKLOG if part in there]
    replicas = {size.part: size.replicas for size in sizes}
    # What an autoscaler has chosen stands; the figure is for the report only.
    replicas |= {
        # None of them runs only while the database is restored; that many come back then.
        part: observed.workloads[part].desired or bounds.min
        for part in ("backend", "frontend")
        if part in observed.workloads and (bounds := autoscaled(spec, part)) is not None
    }
    addresses = assign(spec.sfu, observed.media, replicas["sfu"])
    ports = choose(spec.sfu, observed)
    return LoadSize(
        replicas=replicas,
        pods=_joined((*(mark for size in sizes for mark in size.pods), *addresses.marks)),
        slots=addresses.slots,
        node_port=ports.first,
        limits=(*(limit for size in sizes for limit in size.limits), *addresses.limits, *ports.limits),
        frozen=tuple(size.frozen for size in sizes if size.frozen),
        memory={**{key: value for size in sizes for key, value in size.memory.items()}, **ports.memory},
        trace=(*(line for size in sizes for line in size.trace), *addresses.trace, *ports.trace),
        loaded=_loaded(observed),
    )


def _joined(marks: tuple[PodMark, ...]) -> tuple[PodMark, ...]:
    """One mark for each pod, since each pod gets one patch."""
    found: dict[str, PodMark] = {}
    for mark in marks:
        before = found.get(mark.pod, PodMark(mark.pod))
        found[mark.pod] = PodMark(
            mark.pod,
            serving=before.serving if mark.serving is None else mark.serving,
            deletion_cost=before.deletion_cost if mark.deletion_cost is None else mark.deletion_cost,
            slot=before.slot if mark.slot is None else mark.slot,
            address=before.address if mark.address is None else mark.address,
        )
    return tuple(found.values())


def _loaded(observed: Observed) -> bool:
    return (
        any(server.rooms or (server.reachable_at and not server.announced) for server in observed.media)
        or any(recorder.busy for recorder in observed.recorders)
        or any(queue.waiting for queue in observed.worker_queues.values())
    )
