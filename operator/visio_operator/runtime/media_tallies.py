"""What each media server counted between two looks, from the counters in its metrics.

Read in the source of livekit-server 1.11.0 and 1.13.5: `participant_join` operations (pkg/rtc/room.go, Join) and
`session_start_time_ms` (pkg/rtc/participant.go, when the media connection came about) are counted by the server that
has the room, as are the sessions `rtc_init` (pkg/service/signal.go), which are joins and resumptions; the states
`signal_*` (pkg/service/rtcservice.go) by the server that took the connection, whoever has the room. `rtc_connected` is
counted by both, so it is of no use.
"""

from __future__ import annotations

from collections.abc import Mapping

from visio_operator.plan.media_counts import Counts, Stretch

from .memory import Memory, Metrics, Tallies

KEPT = 8
"""Stretches that are kept of each server: a decision adds those that are new to it to sums of its own."""

_JOINS = 'livekit_node_service_operation{type="participant_join"}'
_UNANSWERED = 'livekit_node_service_operation{error_type="send_response"}'
_STARTS, _START_MS = "livekit_session_start_time_ms_count", "livekit_session_start_time_ms_sum"
_SESSIONS = 'livekit_participant_join_total{state="rtc_init"}'
_SIGNALS = 'livekit_participant_join_total{state="signal_connected"}'
_FAILED_SIGNALS = 'livekit_participant_join_total{state="signal_failed"}'
_REFUSED_SIGNALS = 'livekit_participant_join_total{state="signal_validation_failed"}'
_PACKETS, _LOST = "livekit_packet_total", "livekit_packet_loss_total"
_PEOPLE = "livekit_participant_total"
COUNTERS = (
    _JOINS,
    _UNANSWERED,
    _STARTS,
    _START_MS,
    _SESSIONS,
    _SIGNALS,
    _FAILED_SIGNALS,
    _REFUSED_SIGNALS,
    _PACKETS,
    _LOST,
)
"""What a server has to be asked for; of a labelled metric the part that is wanted. Each only ever grows while the
process lives, and is missing until there was a first case."""


def stretches(pod: str, metrics: Metrics, restarts: int, memory: Memory) -> tuple[Stretch, ...]:
    """The latest stretches of one server; a new one when its metrics were read anew."""
    before = memory.tallies.get(pod)
    if before is None:
        memory.tallies[pod] = Tallies(metrics.at, metrics.values, restarts)
        return ()
    if metrics.at <= before.at:
        return before.stretches
    grown = _grown(before.values, metrics.values)
    seconds = metrics.at - before.at
    joins = grown[_JOINS]
    counts = Counts(
        seconds=seconds,
        joins=joins,
        unanswered=grown[_UNANSWERED],
        starts=grown[_STARTS],
        start_seconds=grown[_START_MS] / 1000,
        reconnects=max(0.0, grown[_SESSIONS] - joins),
        signals=grown[_SIGNALS],
        failed_signals=grown[_FAILED_SIGNALS],
        refused_signals=grown[_REFUSED_SIGNALS],
        person_seconds=seconds * (before.values.get(_PEOPLE, 0.0) + metrics.values.get(_PEOPLE, 0.0)) / 2,
        packets=grown[_PACKETS],
        lost=grown[_LOST],
        restarts=max(0, restarts - before.restarts),
    )
    latest = (*before.stretches, Stretch(metrics.at, counts))[-KEPT:]
    memory.tallies[pod] = Tallies(metrics.at, metrics.values, restarts, latest)
    return latest


def _grown(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By how much each counter grew; of a process that began anew, all that it has counted."""
    anew = any(after.get(name, 0.0) < before.get(name, 0.0) for name in COUNTERS)
    return {name: after.get(name, 0.0) - (0.0 if anew else before.get(name, 0.0)) for name in COUNTERS}
