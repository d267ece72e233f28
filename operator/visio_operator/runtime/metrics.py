"""The operator's own metrics, in Prometheus text format."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial

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
SIGNAL_AGE = Gauge(
    "visio_operator_signal_age_seconds",
    "Age of the oldest reading in force of each signal of load, of each deployment.",
    ["deployment", "signal"],
    registry=REGISTRY,
)
LEADER = Gauge("visio_operator_leader", "1 while this process holds the lease.", registry=REGISTRY)


def count_write(verb: str, kind: str) -> None:
    """Count one write to the API server."""
    WRITES.labels(verb, kind).inc()


def set_signals(deployment: str, read_at: Mapping[str, float]) -> None:
    """When each signal of a deployment was read, in unix seconds; none is kept that is not named.

    Ages are taken when the metrics are asked for, so that they grow while passes fail.
    """
    SIGNAL_AGE.remove_by_labels({"deployment": deployment})
    for signal, at in read_at.items():
        SIGNAL_AGE.labels(deployment, signal).set_function(partial(_age, at))


def _age(at: float) -> float:
    return max(0.0, time.time() - at)


def text() -> bytes:
    """All metrics as text."""
    return generate_latest(REGISTRY)
