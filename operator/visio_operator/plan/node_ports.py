"""The node ports for media: one block for each deployment that stays where it is, since firewalls are opened for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain

from visio_operator.api.media import MEDIA_PORTS, NODE_PORTS, Sfu

from .observed import Observed
from .reasons import Reason
from .sizing import Limit

FIRST_PORT = "mediaNodePort"
"""The first port in use, in `Plan.memory`. Losing it costs a few refused writes."""
BLOCKS = 340
"""Blocks of eight node ports to choose from; another number would move the ports of every deployment."""


@dataclass(frozen=True)
class NodePorts:
    """The first port; None where media come in by another way."""

    first: int | None = None
    memory: Mapping[str, float] = field(default_factory=dict)
    limits: tuple[Limit, ...] = ()
    trace: tuple[str, ...] = ()


def derived(namespace: str, name: str, attempt: int = 0) -> int:
    """The first port that a name gives, and the ones to try after it, block by block."""
    number = int(sha256(f"{namespace}/{name}".encode()).hexdigest(), 16) + attempt
    return NODE_PORTS[0] + MEDIA_PORTS * (number % BLOCKS)


def choose(sfu: Sfu, observed: Observed) -> NodePorts:
    """The user's first port; else the one of the last decision, or one derived from the name.

    Any Service of the cluster may have a port already, and only the API server knows all of them: a block that it
    refused is left for the next one.
    """
    if sfu.exposure != "nodePort":
        return NodePorts()
    if sfu.node_port is not None:
        return NodePorts(sfu.node_port, limits=_taken(sfu.node_port, observed))
    kept = observed.memory.get(FIRST_PORT)
    named = (derived(observed.namespace, observed.name, attempt) for attempt in range(BLOCKS))
    candidates = [int(kept)] if kept is not None else []
    first = next((port for port in chain(candidates, named) if not _refused(port, observed)), None)
    if first is None:
        # All are refused, which is another trouble: the API server's own words stand in the condition.
        first = derived(observed.namespace, observed.name)
    refused = ", ".join(map(str, sorted(observed.refused_node_ports)))
    trace = (f"sfu: node ports from {first}, since {refused} is another Service's",) if refused else ()
    return NodePorts(first, {FIRST_PORT: first}, trace=trace)


def _refused(first: int, observed: Observed) -> frozenset[int]:
    return observed.refused_node_ports & frozenset(range(first, first + MEDIA_PORTS))


def _taken(first: int, observed: Observed) -> tuple[Limit, ...]:
    if not (refused := _refused(first, observed)):
        return ()
    message = (
        f"spec.sfu.nodePort {first}: the cluster has no node port {min(refused)} to give, which is another Service's"
        " or out of its range; set another first port, or none to have one found"
    )
    return (Limit(Reason.PORT_TAKEN, message),)
