"""Which address each media server announces, and which load balancer is whose.

Rooms live on one server, so browsers have to reach the very server that they were sent to: each announces an address of
its own. Where that address is only known once the pod exists, the pod waits until the operator writes it on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from visio_operator.api.media import Sfu

from .observed import MediaServer
from .plan import PodMark
from .reasons import Reason
from .sizing import Limit


@dataclass(frozen=True)
class Addresses:
    """Load balancers and marks."""

    slots: tuple[int, ...] = ()
    marks: tuple[PodMark, ...] = ()
    limits: tuple[Limit, ...] = ()
    trace: tuple[str, ...] = ()


def has_own_balancer(sfu: Sfu) -> bool:
    """Whether each media server has a load balancer of its own."""
    return sfu.exposure == "loadBalancer" and sfu.network != "turnTLS"


def is_told(sfu: Sfu) -> bool:
    """Whether servers wait for the operator to tell them their address."""
    given = sfu.external_address
    if sfu.network == "turnTLS" or (given is not None and given.address is not None):
        return False
    return has_own_balancer(sfu) or (given is not None and given.discover == "nodeExternalIP")


def assign(sfu: Sfu, servers: Iterable[MediaServer], replicas: int) -> Addresses:
    """Give servers their load balancers, as many as there are servers or shall be, and tell them their addresses.

    A server keeps its load balancer until its pod is gone, however long its rooms last. A StatefulSet would give the
    same numbers, but takes away the highest one and not the server with the fewest participants.
    """
    ordered = sorted(servers, key=lambda server: (server.created, server.pod))
    slots: set[int] = set()
    marks: dict[str, PodMark] = {}
    if has_own_balancer(sfu):
        slots = {server.slot for server in ordered if server.slot is not None}
        for server in ordered:
            if server.slot is None and not server.terminating:
                number = _smallest_free(slots)
                slots.add(number)
                marks[server.pod] = PodMark(server.pod, slot=number)
        while len(slots) < replicas:
            slots.add(_smallest_free(slots))
    waiting: list[MediaServer] = []
    if is_told(sfu):
        for server in ordered:
            if server.announced or server.terminating or server.pod in marks:
                continue
            if server.reachable_at:
                marks[server.pod] = PodMark(server.pod, address=server.reachable_at)
            else:
                waiting.append(server)
    return Addresses(
        slots=tuple(sorted(slots)),
        marks=tuple(marks.values()),
        limits=_limits(sfu, waiting),
        trace=tuple(f"sfu: {mark.pod} gets {_what(mark)}" for mark in marks.values()),
    )


def _smallest_free(taken: set[int]) -> int:
    return next(number for number in range(len(taken) + 1) if number not in taken)


def _what(mark: PodMark) -> str:
    return f"load balancer {mark.slot}" if mark.slot is not None else f"address {mark.address}"


def _limits(sfu: Sfu, waiting: list[MediaServer]) -> tuple[Limit, ...]:
    placed = [server for server in waiting if server.node]
    if not placed:
        return ()
    names = ", ".join(server.pod for server in placed[:3])
    if has_own_balancer(sfu):
        message = (
            f"{names} wait for the IP address of their load balancers; see the events of the Services"
            " sfu-media-*, or choose another spec.sfu.expose where the cluster has none for UDP"
        )
    else:
        nodes = ", ".join(sorted({server.node for server in placed})[:3])
        message = (
            f"{names} wait, since {nodes} has no address of type ExternalIP; give these nodes public addresses, or"
            " choose another spec.sfu.externalAddress"
        )
    return (Limit(Reason.ADDRESS_MISSING, message),)
