"""The proxy's metrics, in Prometheus' text format."""

from __future__ import annotations

from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from visio_captions.seats import Cause


class Metrics:
    """One proxy's metrics in a registry of its own. The gauges are given their functions by the proxy."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.streams = Gauge("visio_captions_streams", "Streams that have a server.", registry=self.registry)
        self.waiting = Gauge(
            "visio_captions_waiting_streams",
            "Streams without a server that wait for a free slot.",
            registry=self.registry,
        )
        self.longest_wait = Gauge(
            "visio_captions_longest_wait_seconds",
            "Seconds that the stream which waits longest for a free slot has waited; 0 when none waits.",
            registry=self.registry,
        )
        self.lag = Gauge(
            "visio_captions_lag_seconds",
            "Audio that no server has heard yet, of the stream that has most of it.",
            registry=self.registry,
        )
        self.wait_seconds = Histogram(
            "visio_captions_wait_seconds",
            "Seconds from a stream's arrival to its acceptance by a server.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2, 5, 10, 30, 60, 120, 290),
            registry=self.registry,
        )
        self.refused = Counter(
            "visio_captions_refused_total", "Streams that found no server in time.", registry=self.registry
        )
        self.lost = Counter(
            "visio_captions_lost_total",
            "Streams that lost their server and found no other in time.",
            registry=self.registry,
        )
        self.moves = Counter(
            "visio_captions_moves_total",
            "Streams that went on on another server, by why they left the one before.",
            ["cause"],
            registry=self.registry,
        )
        for cause in get_args(Cause):
            self.moves.labels(cause)
        self.move_seconds = Histogram(
            "visio_captions_move_seconds",
            "Seconds that a moved stream was without a server.",
            buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1, 2, 3, 5, 10, 30, 120, 290),
            registry=self.registry,
        )
        self.repeated = Counter(
            "visio_captions_repeated_words_total",
            "Words of replayed audio that were dropped, as the client had them.",
            registry=self.registry,
        )
