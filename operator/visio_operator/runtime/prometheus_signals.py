"""Signals of load as a Prometheus has them: one question a pass for all that the platform's pods export.

Samples come by a range selector, since the result of an instant selector bears the time of the question and not that
of the sample. What is read goes to the same memory as direct readings, with its own time; which pods have to be asked
themselves comes back with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from visio_operator.plan.observed import Source
from visio_operator.workloads.common import SERVING_LABEL, Site

from .kube import Kube
from .memory import Memory, Metrics, Slots, Waits
from .projections import PART_LABEL, is_ready, labels_of, seconds
from .prometheus import PrometheusError, Series, connect, query

Body = Mapping[str, Any]

YOUNGEST = 45.0
"""Seconds; an older sample is no substitute for asking, as sizes freeze on readings of a minute."""
KEEP = 60.0
"""Seconds for which a sample stands for something."""
WINDOW = "1m"
SETTLING = 120.0
"""Seconds in which a new pod need not be known to Prometheus, which looks for targets every half minute or so."""
GAP = 300.0
"""Seconds for which a pod that Prometheus had nothing of is asked itself: a source that changes with every scrape would
be a write of the status each time."""
DOWN = 30.0
"""Seconds for which a Prometheus that could not be asked is left alone."""
_SAME_SCRAPE = 1.0
_NAMED = 3


@dataclass(frozen=True)
class Signal:
    """A signal that exporters of one part's pods have."""

    name: str
    """As in `status.signals`."""
    part: str
    key: str
    """The metric without which a pod has told nothing."""
    others: tuple[str, ...] = ()


SIGNALS = (
    # kyutai-labs/moshi, rust/moshi-server/src/metrics.rs: channels that are open are slots in use.
    Signal("captionsSlots", "captions", "asr_open_channels"),
    Signal("waitingStreams", "subtitles", "visio_captions_waiting_streams", ("visio_captions_longest_wait_seconds",)),
    # livekit/livekit, pkg/telemetry/prometheus; livekit/egress, pkg/stats.
    Signal(
        "mediaServers",
        "sfu",
        "livekit_room_total",
        ("livekit_participant_total", "livekit_packet_total", "process_cpu_seconds_total"),
    ),
    Signal("recorders", "egress", "livekit_egress_can_accept_request", ("livekit_egress_requests",)),
)
ONLY_DIRECT: Mapping[str, str] = {
    "agentLoad": "the agents of Visio export no metrics",
    "busyWorkers": "WhisperX exports no metrics",
    "transcriptionQueue": "only the messages in Redis tell how much audio waits",
    "workerQueues": "they are in the Redis that is asked for the transcription queue",
}
"""Why other signals are never read from Prometheus."""


@dataclass(frozen=True)
class Reading:
    """What one scrape of a pod said: sums over the labels of each metric."""

    values: Mapping[str, float]
    at: float


@dataclass(frozen=True)
class FromPrometheus:
    """What need not be asked of the pods, and why the rest must."""

    known: frozenset[str] = frozenset()
    """Pods whose signal is known."""
    sources: Mapping[str, Source] = field(default_factory=dict)
    """By signal; empty where no Prometheus is given."""


async def read(
    kube: Kube, session: aiohttp.ClientSession, site: Site, pods: Mapping[str, Body], memory: Memory, now: float
) -> FromPrometheus:
    """Take in what Prometheus knows of the pods. Raises KubeError; what is wrong with Prometheus is in the sources."""
    given = site.spec.signals.prometheus
    if given is None:
        return FromPrometheus()
    state = memory.prometheus
    if now >= state.down_until:
        try:
            connection = await connect(kube, site, given, memory)
            names = "|".join(["up", *(name for signal in SIGNALS for name in (signal.key, *signal.others))])
            parts = "|".join(signal.part for signal in SIGNALS)
            selector = connection.selector(names, f"{site.name}-({parts})-.+")
            series = await query(session, connection, "query", {"query": f"{selector}[{WINDOW}]"})
        except PrometheusError as error:
            state.down_until, state.problem = now + DOWN, str(error)
        else:
            state.problem = ""
            return _take(by_pod(series), site, pods, memory, now)
    why = {signal.name: Source("none", state.problem) for signal in SIGNALS}
    return FromPrometheus(sources={**why, **_only_direct()})


def _only_direct() -> dict[str, Source]:
    return {name: Source("none", reason) for name, reason in ONLY_DIRECT.items()}


def by_pod(series: Iterable[Series]) -> dict[str, dict[str, Reading]]:
    """By pod and key metric, what the newest scrape said.

    A pod may be scraped twice, by two servers or two jobs: each target counts by itself. The labels of a target are
    those of its `up`; what a series has beyond them is its own and is summed over. So nothing is counted twice,
    whatever label tells the scrapers apart.
    """
    everything = list(series)
    targets: dict[str, set[frozenset[tuple[str, str]]]] = defaultdict(set)
    for one in everything:
        if one.labels.get("__name__") == "up":
            targets[one.labels.get("pod", "")].add(_without_name(one.labels))
    scraped: dict[tuple[str, frozenset[tuple[str, str]]], list[tuple[str, float, float]]] = defaultdict(list)
    for one in everything:
        name, pod = one.labels.get("__name__", ""), one.labels.get("pod", "")
        mine = _without_name(one.labels)
        target = max((each for each in targets[pod] if each <= mine), key=len, default=None)
        if name != "up" and target is not None:
            scraped[pod, target].append((name, *one.samples[-1]))
    found: dict[str, dict[str, Reading]] = defaultdict(dict)
    for (pod, _), samples in sorted(scraped.items(), key=lambda item: (item[0][0], sorted(item[0][1]))):
        reading = _reading(samples)
        for name in reading.values:
            if name not in found[pod] or reading.at > found[pod][name].at:
                found[pod][name] = reading
    return found


def _without_name(labels: Mapping[str, str]) -> frozenset[tuple[str, str]]:
    return frozenset(item for item in labels.items() if item[0] != "__name__")


def _reading(samples: Iterable[tuple[str, float, float]]) -> Reading:
    """The sums of the newest scrape; series that ended before, as when a server began anew, are not in it."""
    listed = list(samples)
    newest = max(at for _, at, _ in listed)
    values: dict[str, float] = {}
    for name, at, value in listed:
        if newest - at <= _SAME_SCRAPE:
            values[name] = values.get(name, 0.0) + value
    return Reading(values, newest)


def _take(
    found: Mapping[str, Mapping[str, Reading]], site: Site, pods: Mapping[str, Body], memory: Memory, now: float
) -> FromPrometheus:
    state = memory.prometheus
    state.gaps = {place: until for place, until in state.gaps.items() if until > now and place[1] in pods}
    known: set[str] = set()
    sources: dict[str, Source] = {}
    for signal in SIGNALS:
        mine = {name: pod for name, pod in pods.items() if labels_of(pod).get(PART_LABEL) == signal.part}
        fresh = set()
        for name in mine:
            reading = found.get(name, {}).get(signal.key)
            if reading is None:
                continue
            _remember(signal, name, reading, site, memory, now)
            if now - reading.at <= YOUNGEST:
                fresh.add(name)
        for name, pod in mine.items():
            if is_ready(pod) and name not in fresh and now - _created(pod) > SETTLING:
                state.gaps[signal.name, name] = now + GAP
        gaps = sorted(name for name in mine if (signal.name, name) in state.gaps)
        covered = fresh - set(gaps)
        sources[signal.name] = _source(signal, covered, gaps)
        known |= {name for name in covered if not _must_be_asked(mine[name], signal)}
    return FromPrometheus(frozenset(known), {**sources, **_only_direct()})


def _created(pod: Body) -> float:
    return seconds(pod["metadata"].get("creationTimestamp"))


def _must_be_asked(pod: Body, signal: Signal) -> bool:
    """Whether a pod is asked itself all the same: a closed captions server goes when it is empty, and a sample may be
    older than the last stream that came before it was closed.
    """
    return signal.part == "captions" and labels_of(pod).get(SERVING_LABEL) != "true"


def _source(signal: Signal, covered: set[str], gaps: list[str]) -> Source:
    if not gaps:
        return Source("all")
    more = f" and {len(gaps) - _NAMED} more" if len(gaps) > _NAMED else ""
    reason = f"Prometheus has no {signal.key} of {', '.join(gaps[:_NAMED])}{more} younger than {YOUNGEST:.0f} s"
    return Source("some" if covered else "none", reason)


def _remember(signal: Signal, pod: str, reading: Reading, site: Site, memory: Memory, now: float) -> None:
    """Keep a reading as if the pod had been asked at its time, unless it was asked since."""
    # The clock of Prometheus may be ahead of ours.
    at, values = min(reading.at, now), reading.values
    if signal.part == "captions":
        before = memory.slots.get(pod)
        # Kyutai exports no total; the servers have as many as their configuration says.
        total = before.total if before is not None else site.spec.captions.slots_per_gpu
        if before is None or before.at <= at:
            memory.slots[pod] = Slots(max(0, round(values[signal.key])), total, at=at, keep=KEEP)
    elif signal.part == "subtitles":
        waits = memory.waits.get(pod)
        if waits is None or waits.at <= at:
            longest = values.get(signal.others[0])
            memory.waits[pod] = Waits(max(0, round(values[signal.key])), longest, at=at)
    else:
        metrics = memory.metrics.get(pod)
        if metrics is None or metrics.at <= at:
            wanted = (signal.key, *signal.others)
            memory.metrics[pod] = Metrics({name: values[name] for name in wanted if name in values}, at)
