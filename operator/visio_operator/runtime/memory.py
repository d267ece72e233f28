"""What one process remembers of one deployment between two passes; losing it costs a few requests and no decision."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from visio_operator.plan.leaving import RoomTimes
from visio_operator.plan.media_counts import Stretch
from visio_operator.plan.planners import Planners

from .attempts import Attempts


@dataclass(frozen=True)
class Slots:
    """One reading of a captions server."""

    used: int
    total: int
    at: float
    keep: float = 15.0
    """Seconds for which it stands for something."""


@dataclass(frozen=True)
class Waits:
    """One reading of a captions proxy."""

    streams: int
    """Streams that wait for a slot."""
    longest: float | None
    """Seconds that the one which waits longest has waited; None where the proxy does not tell."""
    at: float


@dataclass(frozen=True)
class Metrics:
    """One reading of the metrics of a pod."""

    values: Mapping[str, float]
    at: float


@dataclass(frozen=True)
class AgentLoad:
    """One reading of an agents pod."""

    jobs: int
    load: float
    at: float


@dataclass(frozen=True)
class Counters:
    """Counters of a media server, and the rates that came with them."""

    at: float
    packets: float
    cpu: float
    rates: tuple[float | None, float | None] = (None, None)
    """Packets a second and cores."""


@dataclass(frozen=True)
class Rooms:
    """One reading of LiveKit's rooms; their names stay in this process and are never printed."""

    names: Mapping[str, tuple[str, ...]]
    """By pod, of media servers that are on their way out."""
    times: RoomTimes
    unread: frozenset[str] = frozenset()
    """Those of them whose rooms could not be read."""
    failures: int = 0
    """How many readings in a row were not whole."""


@dataclass(frozen=True)
class Tallies:
    """The last reading of a media server's counters, and what was counted between readings lately."""

    at: float
    values: Mapping[str, float]
    restarts: int
    stretches: tuple[Stretch, ...] = ()


@dataclass
class AtPrometheus:
    """What is remembered of the Prometheus of one deployment."""

    down_until: float = 0.0
    problem: str = ""
    """Why it could not be asked; empty after it could."""
    gaps: dict[tuple[str, str], float] = field(default_factory=dict)
    """Signals and pods that it had nothing of: until when these pods are asked themselves."""


@dataclass
class Filling:
    """The history of weeks on its way from Prometheus to the planner."""

    task: asyncio.Task[dict[str, Any] | None] | None = None
    attempts: int = 0
    next_at: float = 0.0
    done: bool = False
    problem: str = ""
    """Why it is not there; empty while it is on its way or there."""


@dataclass
class Memory:
    """Per deployment: last good readings, endpoints that did not answer, writes that changed nothing."""

    slots: dict[str, Slots] = field(default_factory=dict)
    """Last good reading by pod."""
    metrics: dict[str, Metrics] = field(default_factory=dict)
    """Last good reading of media servers and recorders, by pod."""
    counters: dict[str, Counters] = field(default_factory=dict)
    """By pod, of media servers."""
    tallies: dict[str, Tallies] = field(default_factory=dict)
    """By pod, of media servers."""
    silent_until: dict[str, float] = field(default_factory=dict)
    """Endpoints that could not be reached are left alone until then, so that one dead pod does not slow every pass."""
    answered: set[str] = field(default_factory=set)
    """Transcription pods whose WhisperX has answered once; silence of these means work."""
    busy_since: dict[str, float] = field(default_factory=dict)
    """Since when transcription pods have been seen busy."""
    busy_read_at: dict[str, float] = field(default_factory=dict)
    """When it was last known of each transcription pod whether it works; 0 for never."""
    jobs_seen: dict[str, float] = field(default_factory=dict)
    """When each waiting transcription job was seen first, by its id; as bounded as what is read of the queue."""
    queue_read_at: float = 0.0
    """When the transcription queue was last read."""
    workers_read_at: float = 0.0
    """When the queues of the other workers were last read."""
    waits: dict[str, Waits] = field(default_factory=dict)
    """Last good reading of the captions proxies, by pod."""
    waiting_read_at: float = 0.0
    """When the waiting streams of all captions proxies were last read."""
    prometheus: AtPrometheus = field(default_factory=AtPrometheus)
    trust: tuple[str, ssl.SSLContext] | None = field(default=None, repr=False)
    """Digest of the authorities of `spec.caBundle`, and what was made of them."""
    agents: dict[str, AgentLoad] = field(default_factory=dict)
    """Last good reading of the subtitles agents, by pod."""
    collectors: dict[str, AgentLoad] = field(default_factory=dict)
    """The same of metadata agents on their way out."""
    rooms: Rooms | None = None
    """Last reading of LiveKit's rooms, while a media server is on its way out."""
    announced: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What was announced lately, by id, as status says it."""
    tell_after: dict[str, tuple[float, float]] = field(default_factory=dict)
    """Of announcements that failed, by channel and id: when to try again, and the pause before that."""
    gpus_seen: dict[str, float | None] | None = None
    """When the GPU of each node was first seen allocatable: None for not yet, 0 for before the first look. The whole is
    None until then."""
    settled: dict[tuple[str, str], tuple[str, str, tuple[str, ...]]] = field(default_factory=dict)
    """Objects by kind and name for which an apply changed nothing: uid, digest and the differences that stayed."""
    attempts: Attempts = field(default_factory=Attempts)
    """Writes that were refused lately."""
    refused_node_ports: set[int] = field(default_factory=set)
    """Node ports that were refused since the Service for media was last written."""
    planners: Planners | None = None
    """`Plan.planners` of the previous pass; None until what was kept in the cluster has been read."""
    filling: Filling = field(default_factory=Filling)
    kept: bool = False
    """Whether the cluster holds what was learned."""
    kept_panic: bool = False
    """Whether captions were in panic when it was last written."""
    kept_at: float = 0.0
    """When what was learned was last written to the cluster, or read from it."""
    learned: bool = False
    """Whether there was anything to learn since then."""
    plan: dict[str, float] = field(default_factory=dict)
    """`Plan.memory` of the previous pass."""
    status: dict[str, Any] | None = None
    """The status last sent; a server that drops a field of it must not make us send it for ever."""
    status_seen: dict[str, Any] | None = None
    """What the server kept of it."""
    marks_key: str = ""
    """Drawn for the marks of Secrets, until the generated Secret holds it."""
    told: frozenset[str] = frozenset()
    """Errors that are in the log already."""
    failures: int = 0
    """Passes that failed one after another."""
    invalid: tuple[str, ...] = ()
    """`Plan.invalid` of the previous pass."""
    invalid_passes: int = 0
    """How many passes in a row came to just that."""
