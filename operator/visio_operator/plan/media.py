"""How many media servers and recorders run.

A room lives on one media server until it ends, so a new server takes new rooms only and a full one stays full: what
counts is the room left on servers, not the mean load. A server that is taken away gets SIGTERM, accepts no new room
and leaves when its last one has ended (facts/visio.md 6); none is killed to save money.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil

from visio_operator.api.fields import amount
from visio_operator.api.media import Sfu
from visio_operator.api.parts import Recording
from visio_operator.api.spec import VisioDeploymentSpec

from .gentle import Candidate, keep_all, take_away
from .observed import MediaServer, Observed, Recorder
from .pace import Pace
from .plan import PodMark
from .reasons import Reason
from .sizing import Fleet, Limit, PartSize, hold_before_shrinking

SFU_CPU = "2"
"""Cores that a media server asks for when nobody overrides it."""
PACKETS_PER_CORE = 25_000
"""Packets one core is trusted with each second, in and out: about half of what LiveKit's published benchmark of 150
publishers and subscribers needed at 85 % of 16 cores (50,000 in and 760,000 out), since real rooms come in bursts."""
CPU_SHARE = 0.6
"""Share of its cores from which a server counts as full; the figure of LiveKit's own chart (facts/visio.md 6)."""
STARTING_ROOM = 2
"""Participants that a room is counted with at least: one that has just begun fills up."""
_HEADROOM = 0.25
"""Room kept free, as a share of the load."""
_SFU_LESS = "sfu.less"
_EGRESS_LESS = "egress.less"


@dataclass(frozen=True)
class _Need:
    servers: int
    unread: tuple[str, ...]
    trace: str


def sfu_cores(spec: VisioDeploymentSpec) -> int:
    """Cores that one media server is sized with."""
    override = next((one for one in spec.overrides if one.part == "sfu"), None)
    requested = override.resources.requests.get("cpu") if override and override.resources else None
    return max(1, int(amount(requested or SFU_CPU)))


def server_load(server: MediaServer, sfu: Sfu, cores: int, now: float, pace: Pace) -> float | None:
    """The share of one server that is in use, by participants, packets and CPU; None when it is not known.

    One that is not ready and never answered carries nothing yet.
    """
    if not server.ready and server.read_at == 0:
        return 0.0
    if server.participants is None or now - server.read_at > pace.stale_after:
        return None
    expected = max(server.participants, STARTING_ROOM * (server.rooms or 0))
    return max(
        expected / (sfu.participants_per_core * cores),
        (server.packets or 0.0) / (PACKETS_PER_CORE * cores),
        (server.cpu or 0.0) / (CPU_SHARE * cores),
    )


def size_sfu(spec: VisioDeploymentSpec, observed: Observed, now: float, pace: Pace) -> PartSize:
    """Size the media servers."""
    sfu, cores = spec.sfu, sfu_cores(spec)
    # A canary is a Deployment of its own and leaves soon: its room counts for nothing, its load has to go somewhere.
    live = [server for server in observed.media if not server.terminating and not server.canary]
    trying = [server for server in observed.media if not server.terminating and server.canary]
    fleet = _fleet("sfu", len(live), sfu.min, observed)
    running = len(live) - fleet.leaving + fleet.missing
    loads = {server.pod: server_load(server, sfu, cores, now, pace) for server in live}
    beside = sum(server_load(server, sfu, cores, now, pace) or 0.0 for server in trying)
    need = _servers(running, list(loads.values()), [pod for pod, load in loads.items() if load is None], beside)
    target = min(max(need.servers, sfu.min), sfu.max)
    if need.unread or trying:
        target = min(max(target, running), max(sfu.max, running))
    candidates = [
        Candidate(
            pod=server.pod,
            ready=server.ready,
            # An unready one with rooms would be taken before any that is marked.
            may_go=loads[server.pod] is not None and (server.ready or not server.participants),
            order=(float(server.participants or 0), float(server.rooms or 0), -server.created),
            deletion_cost=server.deletion_cost,
        )
        for server in live
    ]
    limits: tuple[Limit, ...] = ()
    if need.servers > sfu.max:
        message = (
            f"the media servers' load asks for {need.servers} of them, spec.sfu.max is {sfu.max};"
            " calls lose quality unless it is raised"
        )
        limits = (Limit(Reason.MAXIMUM_REACHED, message),)
    frozen = _unread("sfu: the load", need.unread, pace)
    trace = f"sfu: {need.trace}, {running} run, within {sfu.min}..{sfu.max} -> {target}"
    return _sized("sfu", _SFU_LESS, fleet, running, target, candidates, limits, frozen, trace, observed, now, pace)


def _servers(running: int, loads: list[float | None], unread: list[str], beside: float) -> _Need:
    """Servers so that the free room is a quarter of the load; full servers have none, however overloaded they are.

    `beside` is load of servers that are not among them and leave soon.
    """
    known = sorted(load for load in loads if load is not None)
    demand = sum(known) + beside
    headroom = _HEADROOM * demand + beside
    starting = max(0, running - len(loads))
    free = sum(max(0.0, 1.0 - load) for load in known) + starting
    wanted = running
    if free < headroom:
        wanted = running + ceil(headroom - free)
    else:
        for load in [*([0.0] * starting), *known]:
            left = free - max(0.0, 1.0 - load)
            # The rooms of the server that goes end with it, but as many new ones begin elsewhere meanwhile.
            if left < headroom + min(load, 1.0):
                break
            free, wanted = left, wanted - 1
    said = f"load {demand:.2f} servers" + (f" and {len(unread)} unknown" if unread else "")
    return _Need(max(0, wanted), tuple(unread), said)


def may_record(recorder: Recorder, now: float, pace: Pace) -> bool:
    """Whether a recorder may hold a recording: what is unknown counts as busy, unless it never answered and is not
    ready.
    """
    if not recorder.ready and recorder.read_at == 0:
        return False
    return recorder.busy is not False or now - recorder.read_at > pace.stale_after


def size_egress(recording: Recording, observed: Observed, now: float, pace: Pace) -> PartSize:
    """Size the recorders: `spare` of them that would really accept a room, whatever the others do.

    `livekit_egress_available` says 0 as soon as a recorder does anything, so it is not asked
    (facts/peers.md 4, item 6).
    """
    live = [recorder for recorder in observed.recorders if not recorder.terminating]
    fleet = _fleet("egress", len(live), recording.spare, observed)
    running = len(live) - fleet.leaving + fleet.missing
    fresh = {one.pod: one.accepts is not None and now - one.read_at <= pace.stale_after for one in live}
    unread = tuple(one.pod for one in live if not fresh[one.pod] and (one.ready or one.read_at > 0))
    full = sum(1 for one in live if (fresh[one.pod] and not one.accepts) or one.pod in unread)
    wanted = full + recording.spare
    target = min(max(wanted, recording.spare), recording.max)
    if unread:
        # Growing on a guess would buy nodes for nothing, shrinking would lose what may be idle and free.
        known = sum(1 for one in live if fresh[one.pod] and not one.accepts) + recording.spare
        target = max(min(known, recording.max), running)
    candidates = [
        Candidate(
            pod=one.pod,
            ready=one.ready,
            may_go=not may_record(one, now, pace),
            order=(-one.created,),
            deletion_cost=one.deletion_cost,
        )
        for one in live
    ]
    limits: tuple[Limit, ...] = ()
    if wanted > recording.max and not unread:
        message = (
            f"{full} recorders are full and {recording.spare} are to be kept free, spec.recording.max is"
            f" {recording.max}; the next recordings may be refused unless it is raised"
        )
        limits = (Limit(Reason.MAXIMUM_REACHED, message),)
    frozen = _unread("egress: whether a recording would be accepted", unread, pace)
    trace = f"egress: {full} of {len(live)} full, spare {recording.spare}, at most {recording.max} -> {target}"
    return _sized(
        "egress", _EGRESS_LESS, fleet, running, target, candidates, limits, frozen, trace, observed, now, pace
    )


def _fleet(part: str, pods: int, otherwise: int, observed: Observed) -> Fleet:
    workload = observed.workloads.get(part)
    return Fleet(pods=pods, desired=workload.desired if workload else max(pods, otherwise))


def _unread(what: str, pods: Iterable[str], pace: Pace) -> str:
    names = list(pods)
    if not names:
        return ""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"{what} could not be read from {', '.join(names[:3])}{more} for {pace.stale_after:.0f} s"


def _sized(
    part: str,
    key: str,
    fleet: Fleet,
    running: int,
    target: int,
    candidates: list[Candidate],
    limits: tuple[Limit, ...],
    frozen: str,
    trace: str,
    observed: Observed,
    now: float,
    pace: Pace,
) -> PartSize:
    """From the target to replicas and marks: grown at once, shrunk after the hold and gently."""
    held = hold_before_shrinking(key, running, target, observed.memory, now, pace.hold)
    replicas, note = fleet.desired, ""
    marks: tuple[PodMark, ...] = keep_all(candidates)
    if held.size > running:
        replicas += held.size - running
    elif held.size < running:
        removal = take_away(running - held.size, candidates, fleet)
        replicas, marks, note = removal.replicas, removal.marks, removal.note
    return PartSize(
        part=part,
        replicas=replicas,
        wanted=held.size,
        target=target,
        pods=marks,
        limits=limits,
        frozen=frozen,
        memory=held.memory,
        trace=(f"{trace}{', frozen' if frozen else ''}{held.note}, replicas {fleet.desired} -> {replicas}{note}",),
    )
