"""Transcription servers for recordings that have to start in time: sized on work, not on the length of the queue.

One job runs on one GPU (design.md section 5). Whether a job would start too late is asked of a plan of the next
minutes: first come, first served on the servers that are there, busy or on their way (facts/scaling.md D6).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .lead_time import LeadTimes
from .servers import Job, Limits, Orders, Reading, Server, by_state
from .spending import Spending

SPEED = 14.0
"""Seconds of audio that one GPU transcribes and diarizes in a second, until it was observed (facts/scaling.md B)."""
_PRIOR_SECONDS = 600.0
MARGIN = 45.0
"""Seconds that a start should be ahead of its limit: a decision comes every 30 s."""
ACCEPTED = 0.0125
"""Share of the waiting jobs that may be expected to start late. The project's target are 0.5 % of all, and of all jobs
some find a free server; with this much every rate and shape of tests/ranges.yaml keeps the target, 6 an hour included,
where one job alone gets three orders. Without it, orders that fail made 0.6 to 1.1 % late."""
_SOON = 60.0
_PATIENCE = 2.0
"""Lead times that an idle server is kept while another job is likely before it could be bought again."""
_FORGET = 0.995
_STEP = 30.0
"""Seconds between two decisions."""
_TAIL = 0.02
"""Share of the orders that come, but too late for a job that has just begun to wait."""
_HOPELESS = 0.9
"""Highest share of failing orders that is reckoned with: where hardly any comes, more orders help nobody."""
_MORE = 3
"""Orders beyond half as many again, at most: those that make sure of a single job."""
_UNLIKELY = 1e-4
"""Chance of so many failing orders that more of them need not be looked at."""
_COARSE = 16
"""Orders up to which each one is counted by itself; a decision has to stay quick with hundreds."""


@dataclass
class Batch:
    """What the planner of one pool of transcription servers knows."""

    limits: Limits

    def __post_init__(self) -> None:
        self.leads = LeadTimes()
        self._spending = Spending(self.limits)
        self._work: dict[str, float] = {}
        """Seconds of audio that each busy server is at, as far as it is known."""
        self._busy: dict[str, float] = {}
        self._waiting: dict[str, Job] = {}
        self._idle_since: dict[str, float] = {}
        self._audio, self._seconds = SPEED * _PRIOR_SECONDS, _PRIOR_SECONDS
        self.typical = 1800.0
        """Seconds of audio of a recording, lately."""
        self._gap = 3600.0
        """Seconds between two jobs, lately."""
        self._last_job: float | None = None

    def step(self, seen: Reading) -> Orders:
        """Decide on one reading; readings come in the order of time."""
        now = seen.now
        fleet = by_state(seen.servers)

        # 1. Learn lead times, speed and how often jobs come.
        self._learn(seen)
        self._spending.pay(now, len(seen.servers))
        lead = self.leads.p95()

        # 2. Plan the starts on what is there. A closed server finishes its job and takes no other.
        free = [self._free_at(server, now) for server in fleet.open]
        due = [at for server in fleet.coming if (at := self._ready_at(server, now)) is not None]
        late = self._late(seen.jobs, [*free, *due], now, lead)

        # 3. Buy for those that would start too late, after what is closed was opened again.
        missing = max(late, self.limits.minimum - len(fleet.open) - len(fleet.coming))
        back = fleet.closed[:missing]
        needed = max(0, missing - len(back))
        free += [self._free_at(server, now) for server in back]
        wanted = self._insured(seen.jobs, free, due, needed, now + lead)
        order = self._spending.affordable(now, wanted, len(seen.servers))
        audio = sum(job.audio for job in seen.jobs)
        why = (
            f"{len(seen.jobs)} jobs with {audio:.0f} s of audio at {self.speed():.1f} a second, {late} would be late;"
            f" {len(fleet.open)} open, {len(fleet.closed)} closed, {len(fleet.coming)} coming"
        )
        if wanted > needed:
            why += f"; {wanted - needed} more are ordered, since {self.leads.failure_rate:.0%} of the orders fail"

        # 4. Close servers that were idle for so long that the next job can wait for a new one; return closed ones.
        closing = () if missing or seen.jobs else self._idle(fleet.open, len(fleet.coming), now)
        kept = {server.id for server in back}
        returned = tuple(server.id for server in fleet.closed if not _is_busy(server) and server.id not in kept)
        return Orders(order, closing, tuple(server.id for server in back), returned, why)

    def speed(self) -> float:
        """Seconds of audio that one server does in a second."""
        return self._audio / self._seconds

    def _free_at(self, server: Server, now: float) -> float:
        if not _is_busy(server):
            return now
        work = self._work.get(server.id, self.typical) / self.speed()
        return now + max(_SOON, work - (server.busy_for or 0.0))

    def _ready_at(self, server: Server, now: float) -> float | None:
        """When an order will probably serve; None when it is not counted on any more."""
        if now - server.ordered > self.leads.p99():
            return None
        return max(now + _SOON, server.ordered + self.leads.p95())

    def _late(self, jobs: Sequence[Job], free: list[float], now: float, lead: float) -> int:
        """Servers to buy so that no job starts too late."""
        bought = 0
        ends = list(free)
        heapq.heapify(ends)
        for job in sorted(jobs, key=lambda job: job.since):
            limit = max(job.since + self.limits.start_within - MARGIN, now)
            start = max(now, ends[0]) if ends else float("inf")
            arrival = now + lead
            if start > limit and arrival < start:
                bought += 1
                start = arrival
                heapq.heappush(ends, start + job.audio / self.speed())
                continue
            heapq.heapreplace(ends, start + job.audio / self.speed())
        return bought

    def _insured(
        self, jobs: Sequence[Job], free: Sequence[float], due: Sequence[float], order: int, helped: float
    ) -> int:
        """How many to order so that no more jobs are expected to start late than may, though orders fail.

        `free` is when each server that is there takes its next job, `due` when each order probably serves, and `helped`
        when one of now does. How many orders fail is binomial; the earliest ones are taken for those that do.
        """
        if not jobs or not (due or order):
            return order
        queue = sorted(jobs, key=lambda job: job.since)
        work = [(job.since + self.limits.start_within - _STEP, job.audio / self.speed()) for job in queue]
        fails = min(self.leads.failure_rate + _TAIL, _HOPELESS)
        accepted, most = ACCEPTED * len(jobs), order + (order + len(due)) // 2 + _MORE
        while order < most:
            ready = sorted([*due, *[helped] * order])
            expected = 0.0
            for failing, chance in _binomial(len(ready), fails):
                expected += chance * _starting_late(work, [*free, *ready[failing:]], helped)
                if expected > accepted:
                    break
            else:
                break
            order += 1 + len(ready) // _COARSE
        return min(order, most)

    def _idle(self, servers: list[Server], coming: int, now: float) -> tuple[str, ...]:
        hold = self.leads.median()
        if self._gap < _PATIENCE * hold:
            # Jobs come so often that a new server would be bought at once; the last one is kept for longer.
            hold *= _PATIENCE
        busy = sum(map(_is_busy, servers))
        idle = [server for server in servers if not _is_busy(server)]
        idle.sort(key=lambda server: self._idle_since.get(server.id, now))
        able = len(servers) + coming - self.limits.minimum
        closing: list[str] = []
        for server in idle[: max(0, able)]:
            # A job can wait for the next server that gets free, so only the last one waits for jobs.
            others = busy + len(idle) - len(closing) - 1
            if now - self._idle_since.get(server.id, now) >= (_SOON if others else hold):
                closing.append(server.id)
        return tuple(closing)

    def _learn(self, seen: Reading) -> None:
        now = seen.now
        there = {server.id for server in seen.servers}
        self.leads.look(now, seen.servers)
        waiting = {job.id: job for job in seen.jobs}
        for name in [name for name in waiting if name not in self._waiting]:
            self.typical = 0.95 * self.typical + 0.05 * waiting[name].audio
            if self._last_job is not None:
                self._gap = 0.8 * self._gap + 0.2 * (now - self._last_job)
            self._last_job = now
        if self._last_job is not None and now - self._last_job > self._gap:
            self._gap = now - self._last_job
        started = sorted((job for name, job in self._waiting.items() if name not in waiting), key=lambda j: j.since)
        for server in seen.servers:
            self._look_at(server, started, now)
        for name in self._busy.keys() - there:
            del self._busy[name]
            self._work.pop(name, None)
        for name in self._idle_since.keys() - there:
            del self._idle_since[name]
        self._waiting = waiting

    def _look_at(self, server: Server, started: list[Job], now: float) -> None:
        busy, before = server.busy_for or 0.0, self._busy.get(server.id)
        if not _is_busy(server) or (before is not None and busy < before):
            if before is not None and (audio := self._work.pop(server.id, None)) is not None:
                # It ended somewhere between the last look and this one.
                self._audio = self._audio * _FORGET + audio
                self._seconds = self._seconds * _FORGET + before + 15.0
            self._busy.pop(server.id, None)
        if _is_busy(server):
            self._idle_since.pop(server.id, None)
            if server.id not in self._busy and started:
                self._work[server.id] = started.pop(0).audio
            self._busy[server.id] = busy
        elif server.ready:
            self._idle_since.setdefault(server.id, now)


def _binomial(orders: int, fails: float) -> Iterator[tuple[int, float]]:
    """How many of these orders fail, and how likely that is, as far as it is likely at all; of many orders a few counts
    together, as the highest of them.
    """
    chance, together, stride = (1.0 - fails) ** orders, 0.0, 1 + orders // _COARSE
    for failing in range(orders + 1):
        if failing:
            chance *= (orders - failing + 1) / failing * fails / (1.0 - fails)
        together += chance
        last = failing == orders or (failing > orders * fails and chance < _UNLIKELY)
        if last or failing % stride == 0:
            yield failing, together
            together = 0.0
        if last:
            return


def _starting_late(work: Sequence[tuple[float, float]], free: list[float], helped: float) -> int:
    """Jobs that start after their limit on servers that are free then, of those that an order of now still helps.

    `work` is the limit and the length of each job, first come, first served.
    """
    heapq.heapify(free)
    late = 0
    for limit, length in work:
        late += limit >= helped and (not free or free[0] > limit)
        if free:
            heapq.heapreplace(free, free[0] + length)
    return late


def _is_busy(server: Server) -> bool:
    return not server.known or bool(server.busy_for) or server.used > 0
