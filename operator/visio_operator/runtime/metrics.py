"""The operator's own metrics, in Prometheus text format."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

REGISTRY = CollectorRegistry()

PASSES = Counter("visio_operator_passes", "Passes by result: steady, changed, failed.", ["result"], registry=REGISTRY)
STEP_SECONDS = Histogram(
    "visio_operator_step_seconds",
    "Time of each step of a pass.",
    ["step"],
    buckets=(0.001, 0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2, 5, 15, 60),
    registry=REGISTRY,
)
WRITES = Counter("visio_operator_writes", "Writes to the API server.", ["verb", "kind"], registry=REGISTRY)
ERRORS = Counter("visio_operator_errors", "What went wrong, by step.", ["step"], registry=REGISTRY)
DEPLOYMENTS = Gauge("visio_operator_deployments", "Deployments that are being looked after.", registry=REGISTRY)
LEADER = Gauge("visio_operator_leader", "1 while this process holds the lease.", registry=REGISTRY)


def count_write(verb: str, kind: str) -> None:
    """Count one write to the API server."""
    WRITES.labels(verb, kind).inc()


def text() -> bytes:
    """All metrics as text."""
    return generate_latest(REGISTRY)
