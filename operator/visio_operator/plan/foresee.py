"""What the planners make of a snapshot: the servers and workers that have to be there when an order of now is.

The same planners as in `replay` and `simulate`. There the world is a list of servers; here pods, nodes and open orders
are first brought into that form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime

from visio_operator.api.fields import seconds
from visio_operator.api.spec import VisioDeploymentSpec

from .ledger import Born
from .observed import CaptionsServer, Observed, TranscriptionWorker
from .pace import Pace
from .planners import Planners
from .servers import Job, Limits, Meeting, Reading, Server

_REPLACED = 2
"""Late orders of a part that others are made for at once: a provider that delivers nothing is not asked for more."""


@dataclass(frozen=True)
class PartNeed:
    """What one GPU part asks for, before its bounds."""

    servers: int = 0
    late: int = 0
    """Orders that nobody counts on any more, so that as many are made anew."""
    load: int = 0
    frozen: str = ""
    """Which signal is missing; while one is, nothing shrinks."""
    panic: bool = False
    """Everything is opened, and nothing closed or taken away."""
    trace: str = ""
    panic_trace: str = ""


def slots_in_use(server: CaptionsServer, now: float, pace: Pace) -> int | None:
    """The slots in use, as far as it can be known; None when it cannot.

    A server that is not ready and has never answered has loaded no model yet, so nothing runs on it.
    """
    if not server.ready and server.read_at == 0:
        return 0
    fresh = server.used is not None and now - server.read_at <= pace.stale_after
    return server.used if fresh else None


def may_be_busy(worker: TranscriptionWorker) -> bool:
    """Whether a worker may hold a job: what is unknown counts as busy, unless its pod has not been placed yet."""
    return worker.busy is not False and bool(worker.node)


def foresee_captions(
    spec: VisioDeploymentSpec, observed: Observed, planners: Planners, now: float, pace: Pace
) -> PartNeed:
    """Servers for the streams to come; with a missing reading the need is kept from falling by whoever applies it."""
    clock = pace.clock(now)
    live = [server for server in observed.captions if not server.terminating]
    used = {server.pod: slots_in_use(server, now, pace) for server in live}
    unread = [server.pod for server in live if used[server.pod] is None]
    waiting = observed.captions_waiting
    longest = observed.captions_longest_wait if waiting else None
    frozen = ""
    if unread:
        frozen = f"captions: the slots of {', '.join(unread[:3])} could not be read for {pace.stale_after:.0f} s"
    elif waiting is None:
        frozen = "captions: the waiting streams could not be read from a captions proxy of the subtitles agents"
    planner = planners.captions
    planner.limit(Limits(slots=spec.captions.slots_per_gpu, blocked_target=float(spec.capacity.blocked_target)))
    _grow(spec, planners, clock, pace)
    # A pod came of an order when its node is younger; where the node is not ours to see, the pod itself.
    nodes = {node.name: node.created for node in observed.nodes}
    born = [Born(s.pod, pace.clock(nodes.get(s.node, s.created)), s.ready) for s in live]
    coming = _coming("captions", born, planners, pace)
    ledger = planners.orders["captions"]
    # One that is starting on a node that was there before is no order, and has no streams.
    known = [server for server in live if server.pod not in ledger.starting and (server.ready or server.read_at > 0)]
    starting = sum(server.pod not in ledger.starting for server in live) - len(known)
    servers = [
        Server(
            id=ledger.came.get(server.pod, server.pod),
            ordered=pace.clock(server.created),
            ready=True,
            cordoned=not server.serving,
            used=used[server.pod] or 0,
            known=used[server.pod] is not None,
        )
        for server in known
    ]
    asked = planner.foresee(
        Reading(
            now=clock,
            servers=[*servers, *coming],
            queued=waiting or 0,
            calendar=_calendar(spec, pace),
            known=waiting is not None,
            longest_wait=None if longest is None else longest * pace.speed,
            starting=starting,
        )
    )
    expected = planner.expected((server.ordered for server in coming), clock, 0)
    there = sum(server.ready for server in live)
    spare = max(0, planner.missing(asked, there, expected) - max(0, asked.servers - there - expected))
    late = min(_REPLACED, len(coming) - expected)
    said = "unknown" if waiting is None else str(waiting)
    said += " streams wait" if longest is None else f" streams wait, the longest for {longest:.0f} s"
    trace = f"captions: {said}; {asked.why}, {spec.captions.slots_per_gpu} slots per GPU"
    trace += f", {late} orders are late" if late else ""
    trace += f", {spare} more since orders may fail" if spare else ""
    need = asked.servers + spare
    if asked.panic:
        # What was ordered stays ordered, and what is closed is opened.
        need = max(need, len(known) + starting + expected)
    panic_trace = asked.panic_said and f"captions: {asked.panic_said}"
    return PartNeed(need, late, asked.load, frozen, asked.panic, trace, panic_trace)


def foresee_transcription(
    spec: VisioDeploymentSpec, observed: Observed, planners: Planners, now: float, pace: Pace
) -> PartNeed:
    """Workers for the recordings that wait and run, so that each starts in time."""
    clock = pace.clock(now)
    live = [worker for worker in observed.transcribers if not worker.terminating]
    queue = observed.queue
    frozen = ""
    if queue.waiting is None or now - queue.read_at > pace.stale_after:
        cause = f" ({queue.error})" if queue.error else ""
        frozen = f"transcription: the queue could not be read for {pace.stale_after:.0f} s{cause}"
    planner = planners.transcription
    planner.limits = replace(planner.limits, start_within=seconds(spec.transcription.start_within))
    nodes = {node.name: node.created for node in observed.nodes}
    born = [Born(w.pod, pace.clock(nodes.get(w.node, w.created)), w.ready) for w in live]
    coming = _coming("transcription", born, planners, pace)
    ledger = planners.orders["transcription"]
    busy = {worker.pod for worker in live if may_be_busy(worker)}
    servers = [
        Server(
            id=ledger.came.get(worker.pod, worker.pod),
            ordered=pace.clock(worker.created),
            ready=True,
            used=int(worker.pod in busy),
            busy_for=_busy_for(worker, clock, pace) if worker.pod in busy else None,
        )
        for worker in live
        if worker.pod not in ledger.starting
    ]
    if not frozen:
        planners.wait_for((queue.waiting or 0) - len(queue.jobs), clock)
    jobs = _jobs(observed, planners, pace)
    orders = planner.step(Reading(now=clock, servers=[*servers, *coming], jobs=jobs, known=not frozen))
    wanted = len(servers) + len(coming) + orders.order - len(orders.cordon)
    overdue = sum(clock - server.ordered > planner.leads.p99() for server in coming)
    late = min(_REPLACED, overdue)
    trace = f"transcription: {orders.why}{f', {late} orders are late' if late else ''}"
    return PartNeed(max(0, wanted - overdue), late, len(jobs) + len(busy), frozen, trace=trace)


def _jobs(observed: Observed, planners: Planners, pace: Pace) -> list[Job]:
    """What waits: as the queue's messages say, and where they say less than its length, since when it was seen."""
    typical = planners.transcription.typical
    told = [
        Job(job.id, pace.clock(job.since), typical if job.audio is None else job.audio) for job in observed.queue.jobs
    ]
    return [*told, *(Job(f"waiting-{number}", since, typical) for number, since in planners.untold)]


def _busy_for(worker: TranscriptionWorker, clock: float, pace: Pace) -> float:
    """Seconds for which a worker has been at its job; none where it is unknown whether it has one."""
    return 0.0 if worker.busy_since is None else max(0.0, clock - pace.clock(worker.busy_since))


def settle(part: str, planners: Planners, missing: int, now: float, pace: Pace) -> None:
    """Enter what is ordered now: so many servers or workers have no pod yet."""
    ledger = planners.orders[part]
    leads = (planners.captions if part == "captions" else planners.transcription).leads
    for name in ledger.settle(missing, pace.clock(now)):
        leads.coming.pop(name, None)


def forget_orders(observed: Observed, planners: Planners, now: float, pace: Pace) -> None:
    """Take back what was entered as ordered in this decision and waits for somebody's approval instead."""
    for part, ledger in planners.orders.items():
        settle(part, planners, min(len(ledger.open), len(observed.planners.orders[part].open)), now, pace)


def ordered_nodes(observed: Observed, planners: Planners, pace: Pace) -> dict[str, float]:
    """When the nodes of pods that came of an order were ordered, in unix time, as far as it is known."""
    pods = {server.pod: server.node for server in observed.captions}
    pods |= {worker.pod: worker.node for worker in observed.transcribers}
    return {
        pods[pod]: pace.unix(at)
        for ledger in planners.orders.values()
        for pod, at in ledger.times.items()
        if pods.get(pod)
    }


def panic_since(planners: Planners, pace: Pace) -> float | None:
    """Since when captions are in panic, in unix time; None while they are not."""
    since = planners.captions.panic.since
    return None if since is None else pace.unix(since)


def _coming(part: str, born: list[Born], planners: Planners, pace: Pace) -> list[Server]:
    """The orders that do not serve yet."""
    ledger = planners.orders[part]
    # Kubernetes tells creation times in whole seconds.
    ledger.match(born, slack=pace.speed)
    return [Server(name, at) for name, at in ledger.waiting().items()]


def _calendar(spec: VisioDeploymentSpec, pace: Pace) -> tuple[Meeting, ...]:
    return tuple(
        Meeting(
            pace.clock(datetime.fromisoformat(entry.start).timestamp()),
            pace.clock(datetime.fromisoformat(entry.end).timestamp()),
            entry.streams,
        )
        for entry in spec.capacity.calendar
    )


def _grow(spec: VisioDeploymentSpec, planners: Planners, clock: float, pace: Pace) -> None:
    """Raise the history by the waves of users that came since the last decision, so that their first morning is
    expected. A wave that stays away is a deviation that the forecast follows within minutes.
    """
    before, planners.grown_until = planners.grown_until, clock
    if not before:
        return
    users = float(spec.users.regular)
    for wave in sorted(spec.users.waves, key=lambda wave: wave.date):
        day = pace.clock(datetime.fromisoformat(wave.date).replace(tzinfo=UTC).timestamp())
        if before < day <= clock:
            planners.captions.demand.grow(1.0 + wave.add / users)
        users += wave.add
