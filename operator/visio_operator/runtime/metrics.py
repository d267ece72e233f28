"""The operator's own metrics, in Prometheus text format."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
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
DRAIN_PODS = Gauge(
    "visio_operator_drain_pods", "Pods that drain, of each deployment.", ["deployment", "part"], registry=REGISTRY
)
DRAIN_ROOMS = Gauge(
    "visio_operator_drain_rooms",
    "Rooms, recordings or transcriptions that draining pods still have, as far as they could be read.",
    ["deployment", "part"],
    registry=REGISTRY,
)
DRAIN_PARTICIPANTS = Gauge(
    "visio_operator_drain_participants",
    "People, or streams of captions, on draining pods, as far as they could be read.",
    ["deployment", "part"],
    registry=REGISTRY,
)
DRAIN_SECONDS_LEFT = Gauge(
    "visio_operator_drain_seconds_to_deadline",
    "Seconds until the next draining pod is killed; negative while it is late.",
    ["deployment", "part"],
    registry=REGISTRY,
)
CAPTIONS_PANIC = Gauge(
    "visio_operator_captions_panic",
    "1 while more people come than was foreseen, so that some wait and no captions server is closed or returned.",
    ["deployment"],
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


@dataclass(frozen=True)
class DrainFigures:
    """What drains of one part."""

    pods: int
    rooms: int
    participants: int
    deadline: float | None
    """Of the next one, in unix seconds; None while pods are only closed."""


def set_drains(deployment: str, parts: Mapping[str, DrainFigures]) -> None:
    """What drains of a deployment, by part; none is kept that is not named."""
    for gauge in (DRAIN_PODS, DRAIN_ROOMS, DRAIN_PARTICIPANTS, DRAIN_SECONDS_LEFT):
        gauge.remove_by_labels({"deployment": deployment})
    for part, figures in parts.items():
        DRAIN_PODS.labels(deployment, part).set(figures.pods)
        DRAIN_ROOMS.labels(deployment, part).set(figures.rooms)
        DRAIN_PARTICIPANTS.labels(deployment, part).set(figures.participants)
        if figures.deadline is not None:
            DRAIN_SECONDS_LEFT.labels(deployment, part).set_function(partial(_until, figures.deadline))


def set_panic(deployment: str, panic: bool | None) -> None:
    """Whether the captions of a deployment are in panic; None for a deployment that is looked after no more."""
    if panic is None:
        CAPTIONS_PANIC.remove_by_labels({"deployment": deployment})
    else:
        CAPTIONS_PANIC.labels(deployment).set(panic)


def _until(at: float) -> float:
    return at - time.time()


def _age(at: float) -> float:
    return max(0.0, time.time() - at)


def text() -> bytes:
    """All metrics as text."""
    return generate_latest(REGISTRY)
