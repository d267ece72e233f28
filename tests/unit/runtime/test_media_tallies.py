"""What is counted of joins and connections between two readings of LiveKit's metrics."""

from __future__ import annotations

from typing import Any

import pytest

from visio_operator.plan.media_counts import Counts
from visio_operator.runtime.media_signals import sums
from visio_operator.runtime.media_tallies import COUNTERS, KEPT, stretches
from visio_operator.runtime.memory import Memory, Metrics

NODE = 'node_id="ND_a",node_type="SERVER"'
TEXT = f"""\
livekit_participant_total{{{NODE}}} 4
livekit_node_service_operation{{error_type="",{NODE},status="success",type="participant_join"}} 10
livekit_node_service_operation{{error_type="send_response",{NODE},status="error",type="participant_join"}} 1
livekit_node_service_operation{{error_type="",{NODE},status="success",type="offer"}} 30
livekit_session_start_time_ms_bucket{{{NODE},protocol_version="16",le="+Inf"}} 9
livekit_session_start_time_ms_sum{{{NODE},protocol_version="16"}} 4500
livekit_session_start_time_ms_count{{{NODE},protocol_version="16"}} 9
livekit_participant_join_total{{{NODE},state="rtc_init"}} 13
livekit_participant_join_total{{{NODE},state="rtc_connected"}} 40
livekit_participant_join_total{{{NODE},state="signal_connected"}} 20
livekit_participant_join_total{{{NODE},state="signal_failed"}} 2
livekit_participant_join_total{{{NODE},state="signal_validation_failed"}} 3
livekit_packet_total{{country="",direction="incoming",{NODE},transmission="initial"}} 600
livekit_packet_total{{country="",direction="outgoing",{NODE},transmission="initial"}} 400
livekit_packet_loss_total{{country="",direction="incoming",{NODE},source="MICROPHONE",type="AUDIO"}} 5
"""
"""In the words of livekit-server 1.13.5."""


def reading(at: float, text: str = TEXT) -> Metrics:
    return Metrics(sums(text, ("livekit_participant_total", *COUNTERS)), at)


def counted(*readings: tuple[Metrics, int]) -> list[Any]:
    memory = Memory()
    return [stretches("a", metrics, restarts, memory) for metrics, restarts in readings]


def test_joins_connections_and_packets_are_told_apart() -> None:
    first, second = counted((Metrics({}, 100.0), 0), (reading(110.0), 0))
    assert first == ()
    assert [stretch.end for stretch in second] == [110.0]
    assert second[0].counts == Counts(
        seconds=10, joins=11, unanswered=1, starts=9, start_seconds=4.5, reconnects=2, signals=20, failed_signals=2,
        refused_signals=3, person_seconds=20, packets=1000, lost=5,
    )  # fmt: skip


def test_the_first_reading_and_one_that_is_not_new_count_nothing() -> None:
    _, second, third = counted((reading(100.0), 0), (reading(110.0), 0), (reading(110.0), 0))
    assert second == third
    assert second[0].counts == Counts(seconds=10, person_seconds=40)


def test_a_process_that_began_anew_counts_from_nothing() -> None:
    fewer = TEXT.replace('type="participant_join"}} 10', 'type="participant_join"}} 3')
    fewer = "\n".join(line.replace("} 10", "} 3") for line in fewer.splitlines())
    _, second = counted((reading(100.0), 0), (reading(110.0, fewer), 1))
    assert (second[0].counts.joins, second[0].counts.restarts, second[0].counts.packets) == (4, 1, 1000)


@pytest.mark.parametrize("label", ['state="rtc"', 'state="rtc_init'])
def test_a_label_is_taken_whole(label: str) -> None:
    assert sums(TEXT, (f"livekit_participant_join_total{{{label}}}",)) == {}


def test_only_the_latest_are_kept() -> None:
    memory = Memory()
    for at in range(20):
        latest = stretches("a", reading(float(at)), 0, memory)
    assert [stretch.end for stretch in latest] == [float(at) for at in range(20 - KEPT, 20)]
