"""Whether each signal of load can be read, what is done without it, and what to look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from .observed import Observed
from .pace import Pace

_NAMED = 3
"""Servers that a message names; it is in status, so it may not grow with the fleet."""


@dataclass(frozen=True)
class SignalHealth:
    """One signal of one deployment."""

    name: str
    source: str
    """Where it is read."""
    read_at: float
    """Unix seconds of the oldest reading in force; now where there is nothing to be read."""
    problem: str = ""
    """What is wrong, what is done meanwhile and what to do next; empty while the signal is fresh."""
    source_reason: str = ""
    """Why it is not read from Prometheus, or not all of it; empty without one."""


@dataclass(frozen=True)
class _Reading:
    """The last reading of one server or queue, which counts from its creation while there is none."""

    name: str
    at: float


@dataclass(frozen=True)
class _Signal:
    """A signal with its readings, in the words of its problem: {} stands for the silent ones."""

    name: str
    source: str
    readings: list[_Reading]
    wrong: str
    meanwhile: str


def signal_health(observed: Observed, now: float, pace: Pace) -> tuple[SignalHealth, ...]:
    """The signals of the parts that exist. Missing is what was not read for `pace.stale_after` seconds.

    The words of a problem stay the same as long as the same servers are silent: they are written to status.
    """
    return tuple(
        SignalHealth(
            signal.name,
            _source(signal, observed),
            min((reading.at for reading in signal.readings), default=now),
            _problem(signal, now, pace),
            observed.sources[signal.name].reason if signal.name in observed.sources else "",
        )
        for signal in _signals(observed)
    )


def _source(signal: _Signal, observed: Observed) -> str:
    known = observed.sources.get(signal.name)
    share = "none" if known is None else known.prometheus
    return {"all": "Prometheus", "some": f"Prometheus and {signal.source}", "none": signal.source}[share]


def _signals(observed: Observed) -> Iterator[_Signal]:
    parts = observed.workloads
    if "captions" in parts:
        slots = [
            _Reading(one.pod, max(one.read_at, one.created))
            for one in observed.captions
            # One that never answered and is not ready has loaded no model yet.
            if not one.terminating and (one.ready or one.read_at > 0)
        ]
        yield _Signal(
            "captionsSlots", "captions servers", slots, "{} do not say how many slots are in use",
            "captions servers are added and none is taken away; check these pods, and that network policies let the"
            " operator reach their port 8080",
        )  # fmt: skip
    if "subtitles" in parts:
        waits = [_Reading("", observed.captions_waiting_read_at)] if observed.captions_waiting is None else []
        yield _Signal(
            "waitingStreams", "captions proxies", waits, "a captions proxy does not say how many streams wait",
            "captions grow by the slots in use and nothing shrinks; check the subtitles pods, and that network"
            " policies let the operator reach their port 8091",
        )  # fmt: skip
        load = [_Reading(one.pod, max(one.read_at, one.created)) for one in observed.agents if one.ready]
        yield _Signal(
            "agentLoad", "subtitles agents", load, "{} do not say how busy they are",
            "nothing is sized by it; check that network policies let the operator reach port 8081 of these pods",
        )  # fmt: skip
    if "captionsHistory" in observed.sources:
        yield _Signal("captionsHistory", "readings of this operator", [], "", "")
    if "transcription" in parts:
        queue = observed.queue
        yield _Signal(
            "transcriptionQueue", "Redis", [_Reading("", queue.read_at)] if queue.waiting is None else [],
            queue.error or "the queue cannot be read",
            "transcription workers are kept as many as they are; check spec.redis and that Redis answers",
        )  # fmt: skip
        work = [
            _Reading(one.pod, max(one.read_at, one.created))
            for one in observed.transcribers
            if one.ready and not one.terminating
        ]
        yield _Signal(
            "busyWorkers", "WhisperX servers", work, "{} do not say whether they work",
            "they count as busy and are not taken away; check that network policies let the operator reach their port"
            " 8000",
        )  # fmt: skip
    if "sfu" in parts:
        media = [_Reading(one.pod, max(one.read_at, one.created)) for one in observed.media if one.ready]
        yield _Signal(
            "mediaServers", "LiveKit metrics", media, "the metrics of {} cannot be read",
            "no media server is taken away; check that network policies let the operator reach port 6789 of these pods",
        )  # fmt: skip
    if "egress" in parts:
        egress = [_Reading(one.pod, max(one.read_at, one.created)) for one in observed.recorders if one.ready]
        yield _Signal(
            "recorders", "egress metrics", egress, "the metrics of {} cannot be read",
            "no recorder is taken away; check that network policies let the operator reach the metrics of these pods",
        )  # fmt: skip
    queues = {part: queue for part, queue in observed.worker_queues.items() if part in parts}
    if queues:
        unread = [_Reading(part, queue.read_at) for part, queue in queues.items() if queue.waiting is None]
        errors = sorted({queue.error for queue in queues.values() if queue.error})
        yield _Signal(
            "workerQueues", "Redis", unread, "; ".join(errors) or "the queues of {} cannot be read",
            "these workers are kept as many as they are; check spec.redis and that Redis answers",
        )  # fmt: skip
    if observed.pools or observed.nodes:
        # A pass without the list of nodes reports nothing at all.
        yield _Signal("gpuNodes", "Kubernetes", [], "", "")
    if observed.pools:
        lost = [_Reading(pool.name, 0.0) for pool in observed.pools.values() if not pool.found]
        errors = sorted(pool.error for pool in observed.pools.values() if not pool.found)
        yield _Signal(
            "nodePools", "node pools of the provider", lost, "; ".join(errors[:_NAMED]),
            "no node of these pools is ordered or given back",
        )  # fmt: skip


def _problem(signal: _Signal, now: float, pace: Pace) -> str:
    silent = sorted(reading.name for reading in signal.readings if now - reading.at > pace.stale_after)
    if not silent:
        return ""
    more = f" and {len(silent) - _NAMED} more" if len(silent) > _NAMED else ""
    return f"{signal.wrong.replace('{}', ', '.join(silent[:_NAMED]) + more)}; {signal.meanwhile}"
