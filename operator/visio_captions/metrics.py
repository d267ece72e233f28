"""The proxy's metrics, in Prometheus' text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """One proxy's metrics in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.streams = Gauge("visio_captions_streams", "Streams that a server has accepted.", registry=self.registry)
        self.waiting = Gauge(
            "visio_captions_waiting_streams", "Streams that wait for a free slot.", registry=self.registry
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
            "Streams that their server ended before the client did.",
            registry=self.registry,
        )
