"""A cluster in plain Python: a cloud that takes whichever node it likes, a ReplicaSet with its real order of victims,
proxies with an old address list, streams that come and go. Only what a decision can get wrong is modelled.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from plan_world import LADDER, NOW, a_healthy_world

from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.plan.decide import decide
from visio_operator.plan.observed import CaptionsServer, GpuNode, Observed, Pool
from visio_operator.plan.pace import Pace
from visio_operator.plan.plan import Plan
from visio_operator.plan.planners import Planners

TICK = 5
MODEL_LOAD = 40
ADDRESS_LAG = 15
"""Seconds for which a proxy may still send streams to a server whose label is gone."""


@dataclass
class Node:
    """A GPU node of the cloud."""

    name: str
    created: float
    gpu_at: float
    cordoned: bool = False


@dataclass
class Pod:
    """A captions server."""

    name: str
    created: float
    node: str = ""
    placed_at: float = 0.0
    serving: bool = True
    cordoned_at: float = 0.0
    cost: int = 0
    streams: set[int] = field(default_factory=set)

    def ready(self, now: float) -> bool:
        """The model is loaded."""
        return bool(self.node) and now >= self.placed_at + MODEL_LOAD

    def takes_streams(self, now: float) -> bool:
        """As a proxy sees it, which may be late."""
        return self.ready(now) and (self.serving or now - self.cordoned_at < ADDRESS_LAG)


@dataclass
class World:
    """Everything outside the operator."""

    spec: VisioDeploymentSpec
    chance: random.Random
    lead: Callable[[random.Random], float]
    now: float = NOW
    desired_nodes: int = 0
    replicas: int = 0
    nodes: list[Node] = field(default_factory=list)
    pods: list[Pod] = field(default_factory=list)
    waiting: list[int] = field(default_factory=list)
    ends: dict[int, float] = field(default_factory=dict)
    memory: dict[str, float] = field(default_factory=dict)
    planners: Planners = field(default_factory=Planners)
    next_removal: float = 0.0
    blind: frozenset[str] = frozenset()
    """Pods whose slots cannot be read."""
    cut: int = 0
    bought: int = 0
    made: int = 0
    most_nodes: int = 0
    longest_wait: float = 0.0
    joined: dict[int, float] = field(default_factory=dict)

    @property
    def slots(self) -> int:
        """Slots of one GPU."""
        return self.spec.captions.slots_per_gpu

    def join(self, seconds: float) -> None:
        """A person turns captions on for so long."""
        self.made += 1
        self.ends[self.made] = self.now + seconds
        self.joined[self.made] = self.now
        self.waiting.append(self.made)

    def tick(self) -> None:
        """Five seconds of cloud, scheduler, ReplicaSet, proxies and people."""
        self.now += TICK
        self._cloud()
        self._replica_set()
        self._scheduler()
        self._people()
        self._proxies()
        self.most_nodes = max(self.most_nodes, len(self.nodes))

    def _cloud(self) -> None:
        while len(self.nodes) < self.desired_nodes:
            self.bought += 1
            self.nodes.append(Node(f"node-{self.bought}", self.now, self.now + self.lead(self.chance)))
        if len(self.nodes) > self.desired_nodes and self.now >= self.next_removal:
            victim = self.chance.choice(self.nodes)
            self.nodes.remove(victim)
            for pod in [pod for pod in self.pods if pod.node == victim.name]:
                self._end(pod)
            self.next_removal = self.now + self.chance.choice([5, 30, 60])

    def _replica_set(self) -> None:
        while len(self.pods) < self.replicas:
            self.made += 1
            self.pods.append(Pod(f"pod-{self.made}", self.now))
        order = sorted(self.pods, key=lambda p: (bool(p.node), p.ready(self.now), p.cost, -p.created))
        for pod in order[: len(self.pods) - self.replicas]:
            self._end(pod)

    def _end(self, pod: Pod) -> None:
        self.cut += len(pod.streams)
        for stream in pod.streams:
            del self.ends[stream]
        self.pods.remove(pod)

    def _scheduler(self) -> None:
        taken = {pod.node for pod in self.pods}
        for pod in self.pods:
            free = [n for n in self.nodes if not n.cordoned and self.now >= n.gpu_at and n.name not in taken]
            if not pod.node and free:
                pod.node, pod.placed_at = self.chance.choice(free).name, self.now
                taken.add(pod.node)

    def _people(self) -> None:
        for stream in [stream for stream, end in self.ends.items() if end <= self.now]:
            del self.ends[stream]
            for pod in self.pods:
                pod.streams.discard(stream)
        self.waiting = [stream for stream in self.waiting if stream in self.ends]

    def _proxies(self) -> None:
        for pod in [pod for pod in self.pods if not pod.serving]:
            for stream in list(pod.streams):
                if self._place(stream, lambda other: other.serving):
                    pod.streams.discard(stream)
        for stream in list(self.waiting):
            if self._place(stream, lambda other: True):
                self.waiting.remove(stream)
                self.longest_wait = max(self.longest_wait, self.now - self.joined[stream])

    def _place(self, stream: int, allowed: Callable[[Pod], bool]) -> bool:
        open_ones = [p for p in self.pods if p.takes_streams(self.now) and allowed(p) and len(p.streams) < self.slots]
        if not open_ones:
            return False
        max(open_ones, key=lambda pod: (len(pod.streams), pod.name)).streams.add(stream)
        return True

    def observe(self) -> Observed:
        """What the operator sees."""
        world = a_healthy_world(self.spec)
        captions = replace(
            world.workloads["captions"], desired=self.replicas, ready=sum(pod.ready(self.now) for pod in self.pods)
        )
        servers = tuple(self._server(pod) for pod in self.pods)
        nodes = tuple(
            GpuNode(n.name, "l40", True, int(self.now >= n.gpu_at), n.cordoned, n.created) for n in self.nodes
        )
        return replace(
            world,
            workloads={**world.workloads, "captions": captions},
            captions=servers,
            captions_waiting=len(self.waiting),
            nodes=nodes,
            pools={"l40": Pool("l40", True, self.desired_nodes, 0, 0, owner="visio/main")},
            planners=self.planners,
            memory=self.memory,
        )

    def _server(self, pod: Pod) -> CaptionsServer:
        readable = pod.ready(self.now) and pod.name not in self.blind
        return CaptionsServer(
            pod=pod.name,
            node=pod.node,
            ready=pod.ready(self.now),
            serving=pod.serving,
            used=len(pod.streams) if readable else None,
            total=self.slots if readable else None,
            read_at=self.now if readable else 0.0,
            created=pod.created,
            deletion_cost=pod.cost,
        )

    def decide(self, pace: Pace) -> Plan:
        """One pass of the operator: observe, decide, apply."""
        plan = decide(self.spec, self.observe(), self.now, LADDER, pace)
        self.apply(plan)
        return plan

    def apply(self, plan: Plan) -> None:
        """What the runtime does with a plan."""
        captions = plan.part("captions")
        assert captions is not None
        self.replicas = captions.replicas
        self.memory, self.planners = dict(plan.memory), plan.planners
        for pool in plan.pools:
            assert pool.minimum <= pool.desired <= pool.maximum
            self.desired_nodes = pool.desired
        pods = {pod.name: pod for pod in self.pods}
        for mark in plan.pods:
            pod = pods[mark.pod]
            if mark.serving is not None:
                pod.serving, pod.cordoned_at = mark.serving, self.now
            if mark.deletion_cost is not None:
                pod.cost = mark.deletion_cost
        nodes = {node.name: node for node in self.nodes}
        for change in plan.nodes:
            nodes[change.node].cordoned = change.cordon
