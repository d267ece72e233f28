"""Everything a decision may look at, and how old it is.

The records are projections: never whole bodies of pods or nodes. Times are unix seconds, ages are taken against `now`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from .backups import BackupSource, RestoreSource
from .leaving import Leaving, RoomTimes
from .media_counts import Stretch
from .planners import Planners


@dataclass(frozen=True)
class Workload:
    """A Deployment, StatefulSet, CronJob or Job of one part, as the API server last reported it."""

    kind: str
    name: str
    part: str
    desired: int = 1
    ready: int = 0
    updated: int = 0
    images: tuple[str, ...] = ()
    current: bool = False
    """The controller has seen the newest generation."""
    succeeded: bool = False
    """A Job that has completed."""
    failed: str = ""
    """Why a Job or a rollout failed; empty while it has not."""
    fingerprint: str = ""
    """Digest of the manifest this object was last applied from."""
    livekit_keys: tuple[str, ...] = ()
    """Secrets of the LiveKit key pairs that its pods accept (media servers) or sign with (all others)."""
    release: str = ""
    """The release that it was last rendered from; empty when the object does not say."""
    finished_at: float = 0.0
    """When a Job ended; 0 while it has not."""
    previous: str = ""
    """Of the Jobs of a rung: the release that it leaves."""
    note: str = ""
    """Of the Job that began a rung: why the rung was taken back."""
    saved_at: float = 0.0
    """Of a backup: the time whose state it holds."""
    restore: str = ""
    """Of a backup: the digest of the restore that somebody has approved, and by what it is restored."""


@dataclass(frozen=True)
class PodTimes:
    """When a pod reached each step of its start; 0 for one that it has not reached, or that says nothing."""

    scheduled: float = 0.0
    started: float = 0.0
    """When the first of its running containers started, its image being there; 0 when one has been started again."""
    ready: float = 0.0


@dataclass(frozen=True)
class CaptionsServer:
    """One Kyutai speech-to-text pod; slots are None while they could not be read."""

    pod: str
    node: str
    ready: bool
    serving: bool
    used: int | None
    total: int | None
    read_at: float
    """When the slots were last read successfully; 0 for never."""
    created: float
    terminating: bool = False
    deletion_cost: int = 0
    times: PodTimes = field(default_factory=PodTimes)


@dataclass(frozen=True)
class TranscriptionWorker:
    """One transcription pod (worker and WhisperX on one GPU)."""

    pod: str
    node: str
    ready: bool
    busy: bool | None
    created: float
    terminating: bool = False
    deletion_cost: int = 0
    busy_since: float | None = None
    """Since when it was seen busy by one process of the operator; a new process counts from its first look."""
    read_at: float = 0.0
    """When `busy` was last known; 0 for never."""
    times: PodTimes = field(default_factory=PodTimes)


@dataclass(frozen=True)
class WaitingJob:
    """A recording that waits for its transcription."""

    id: str
    since: float
    """When the summary service took it, when it may be tried again, or when it was first seen where its message says
    nothing."""
    audio: float | None = None
    """Seconds between start and end of the recording; None where its message has none: no metadata agent was there."""


@dataclass(frozen=True)
class RunningJob:
    """A recording that is being transcribed. Which worker has it is not told."""

    id: str
    since: float
    """When a worker took it."""
    audio: float | None = None
    """As of a waiting job."""


@dataclass(frozen=True)
class Queue:
    """The transcription queue; `waiting` is None while Redis could not be read."""

    waiting: int | None = None
    read_at: float = 0.0
    """When it was last read; of a queue that cannot be read now, when it last could."""
    error: str = ""
    jobs: tuple[WaitingJob, ...] = ()
    """The oldest first. `waiting` counts them all; here those beyond 500 are missing, and those not understood."""
    paused: tuple[WaitingJob, ...] = ()
    """Jobs that failed and that a worker tries again later, at their `since` or after it; they are not in `waiting`."""
    running: tuple[RunningJob, ...] = ()
    """Jobs that workers are at, the oldest first. A worker that was killed leaves its job here for an hour."""


@dataclass(frozen=True)
class MediaServer:
    """One LiveKit pod; what its metrics said is None while they could not be read."""

    pod: str
    node: str
    ready: bool
    created: float
    rooms: int | None = None
    participants: int | None = None
    packets: float | None = None
    """Packets a second, in and out; None until two readings are apart enough."""
    cpu: float | None = None
    """Cores in use; None until two readings are apart enough."""
    read_at: float = 0.0
    """When the metrics were last read; 0 for never."""
    terminating: bool = False
    deletion_cost: int = 0
    slot: int | None = None
    """The number of its own load balancer, where it has one."""
    announced: str = ""
    """The address that it was told to announce; it does not start before."""
    reachable_at: str = ""
    """The address at which the world finds it, as its node or its load balancer says now."""
    image: str = ""
    """The image of its LiveKit, which tells servers of the old and of the new release apart."""
    canary: bool = False
    """It is the one server that tries a new release (plan/canary.py)."""
    restarts: int = 0
    """How often its LiveKit was started again in this pod."""
    problem: str = ""
    """Why its LiveKit does not run, in the kubelet's word, such as ImagePullBackOff."""
    stretches: tuple[Stretch, ...] = ()
    """What it counted lately, the oldest first."""


@dataclass(frozen=True)
class Recorder:
    """One egress pod; what its metrics said is None while they could not be read."""

    pod: str
    ready: bool
    created: float
    accepts: bool | None = None
    """Whether it would take one more room recording."""
    busy: bool | None = None
    """Whether it records anything at all."""
    read_at: float = 0.0
    terminating: bool = False
    deletion_cost: int = 0
    recordings: int | None = None
    """Recordings under way."""


@dataclass(frozen=True)
class Agent:
    """One pod of LiveKit agents; jobs and load are None while they could not be read."""

    pod: str
    ready: bool
    created: float
    jobs: int | None = None
    """Rooms that it listens to."""
    load: float | None = None
    """Share of its processors in use; at 0.7 it takes no more rooms (facts/visio.md 4)."""
    read_at: float = 0.0
    """When it was last read; 0 for never."""


@dataclass(frozen=True)
class WorkerQueue:
    """The Celery queue of one worker part; `waiting` is None while Redis could not be read."""

    waiting: int | None = None
    taken: int = 0
    """Messages that workers have fetched ahead and not begun."""
    read_at: float = 0.0
    """When it was last read; of a queue that cannot be read now, when it last could."""
    error: str = ""


@dataclass(frozen=True)
class GpuNode:
    """One node of a GPU pool."""

    name: str
    pool: str
    ready: bool
    gpus: int
    """Allocatable GPUs; 0 until the driver and the device plugin are there."""
    cordoned: bool
    """Unschedulable, whoever did it."""
    created: float
    zone: str = ""
    cordoned_by_us: bool = True
    """Of a cordoned node: our annotation is on it. A cordon that is somebody else's is never taken back."""
    ready_at: float = 0.0
    """Since when it is Ready; 0 while it is not."""
    gpu_at: float = 0.0
    """When its GPU was first seen allocatable; 0 while it is not, and when no one looked at that time."""


@dataclass(frozen=True)
class Pool:
    """The provider's pool object; `found` is False when there is none of that name."""

    name: str
    found: bool
    desired: int = 0
    minimum: int = 0
    maximum: int = 0
    autoscaling: bool = False
    error: str = ""
    owner: str = ""
    """Who sizes it, from our annotation: namespace/name of a VisioDeployment; empty when nobody does."""
    error_at: float = 0.0
    """When the provider said so; 0 where it does not tell."""
    obeys_marks: bool = False
    """The provider takes the machines that carry our mark first."""
    marked: frozenset[str] = frozenset()
    """Nodes whose machine carries our delete mark now."""
    placeholders: int | None = None
    """Placeholder pods that are asked for; None where the provider is told a size."""
    joining: int | None = None
    """Machines that are ordered and no node yet; None where the provider does not tell."""


@dataclass(frozen=True)
class Source:
    """Where one signal was read, where a Prometheus is given."""

    prometheus: Literal["all", "some", "none"]
    """How many of the servers Prometheus spoke for; the others were asked themselves."""
    reason: str = ""
    """Why not for all."""


@dataclass(frozen=True)
class Preflight:
    """What the newest Job that checks the connections has said so far."""

    digest: str
    """Of the connections that it checks."""
    succeeded: bool = False
    faults: tuple[tuple[str, str], ...] = ()
    """Connection, and its field, problem and next step."""


@dataclass(frozen=True)
class RingPeer:
    """Another deployment of the cluster in an earlier ring, as its spec and status say."""

    namespace: str
    name: str
    ring: Literal["pilot", "early", "broad"]
    wanted: str
    """The version that it asks for."""
    running: str
    """The version that all of its parts run; empty while it has never run one."""
    since: float
    """When it came to run that version; 0 where its status does not say."""
    soak: float = 0.0
    """Seconds for which it shall have run a version before a later ring follows."""
    ready: bool = True
    """Its condition Ready is True now."""
    stopped: str = ""
    """What it has set that keeps it from moving: `spec.upgrade.paused` or `spec.emergencyStop`; else empty."""
    held: str = ""
    """Why its own upgrade does not go on, in its own words; empty while it does."""
    stuck: bool = False
    """What holds it does not pass by itself."""

    def __str__(self) -> str:
        """As messages name it."""
        return f"{self.ring} {self.namespace}/{self.name}"


@dataclass(frozen=True)
class Observed:
    """A snapshot of one deployment's world."""

    uid: str
    namespace: str
    name: str
    generation: int = 1
    workloads: Mapping[str, Workload] = field(default_factory=dict)
    """By part name."""
    secret_keys: Mapping[str, frozenset[str]] = field(default_factory=dict)
    """Keys of the Secrets that the spec refers to, by Secret name; a Secret that does not exist is missing."""
    bundle_keys: frozenset[str] | None = None
    """Keys of the ConfigMap that `spec.caBundle` names; None when it does not exist, or none is named."""
    secret_marks: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """By Secret and key: a keyed digest of the value, which changes with it and tells nothing of it."""
    media_keys: tuple[frozenset[str], ...] = ()
    """For each media server's pod that still runs, one that drains included: the key pairs that it accepts."""
    preflight: Preflight | None = None
    """None while there is no such Job."""
    captions: tuple[CaptionsServer, ...] = ()
    transcribers: tuple[TranscriptionWorker, ...] = ()
    captions_waiting: int | None = 0
    """Streams that wait for a slot in the captions proxies of all subtitles pods; None while one could not be read."""
    captions_waiting_read_at: float = 0.0
    """When all proxies were last read; 0 for never."""
    captions_longest_wait: float | None = None
    """Seconds for which the stream that waits longest has waited; None while no proxy tells."""
    agents: tuple[Agent, ...] = ()
    """The subtitles agents."""
    queue: Queue = field(default_factory=Queue)
    media: tuple[MediaServer, ...] = ()
    refused_node_ports: frozenset[int] = frozenset()
    """Node ports that the API server did not give to the Service for media; empty once it has one."""
    recorders: tuple[Recorder, ...] = ()
    worker_queues: Mapping[str, WorkerQueue] = field(default_factory=dict)
    """By part: celery-backend, summarize, call-webhook."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """Where signals were read, by their names in status; empty where all servers are asked themselves."""
    nodes: tuple[GpuNode, ...] = ()
    pools: Mapping[str, Pool] = field(default_factory=dict)
    """By name in spec.gpuPools; only pools with a provider are looked up."""
    planners: Planners = field(default_factory=Planners)
    """What was learned up to now; a decision works on a copy."""
    approved: str = ""
    """Digest of the proposal that a user approved, from the annotation of the VisioDeployment; empty for none."""
    memory: Mapping[str, float] = field(default_factory=dict)
    """Small facts carried from the previous status, such as since when a part could shrink."""
    backup_source: BackupSource | None = None
    """None where the spec names nothing; read only while an upgrade is wanted."""
    ring_peers: tuple[RingPeer, ...] = ()
    """Deployments in earlier rings, of those that the operator may see; read only while an upgrade is wanted."""
    approved_upgrade: str = ""
    """Digest of the upgrade plan that a user approved, from its own annotation of the VisioDeployment."""
    retry: str = ""
    """The release that a user wants tried again, from the annotation of the VisioDeployment; empty for none."""
    leaving: tuple[Leaving, ...] = ()
    """Pods with sessions that are on their way out."""
    rooms: RoomTimes = field(default_factory=RoomTimes)
    """Read only while a media server is on its way out."""
    collectors: tuple[Agent, ...] = ()
    """The metadata agents that are on their way out."""
    approved_restore: str = ""
    """Digest of the restore that a user approved, from its own annotation of the VisioDeployment."""
    restore_source: RestoreSource | None = None
    """None where there is no backup of a rung that could be restored."""
    writers: tuple[str, ...] | None = None
    """Parts with a pod that may still write to the database; looked up only before it is restored, else None."""
