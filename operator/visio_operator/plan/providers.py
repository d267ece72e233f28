"""What each seller of nodes can be told and what it tells; behaviour and messages follow from this table.

The facts and their sources are in facts/scaling.md, part A.
"""

from __future__ import annotations

from dataclasses import dataclass

from visio_operator.api.parts import GpuPool

from .observed import Pool


@dataclass(frozen=True)
class Abilities:
    """What can be done with the pools of one provider."""

    sets_size: bool
    """It is told a number of nodes; else it follows pods that find no node, and placeholders stand in for these."""
    chooses_victim: bool
    """It takes the nodes that we name, or only ones that carry nothing of ours."""
    sees_in_flight: bool
    """It tells how many machines are on their way."""
    sees_error: bool
    """It tells why a machine does not come, in an object that we may read."""


@dataclass(frozen=True)
class Provider:
    """One provider: its object, what it can do, and what a user has to do in each case."""

    kind: str
    """Kind of its pool object; empty where there is none."""
    resource: str
    """The name by which a user finds such objects, such as `nodepools.oks.dev`."""
    abilities: Abilities
    prepare: str = ""
    """The next step when the object is not there, or not as it has to be."""
    one_writer: str = ""
    """The next step when something else sizes the pool, too."""
    look_at: str = ""
    """Where it is told why nodes do not come."""


BY_PLACEHOLDERS = Abilities(sets_size=False, chooses_victim=True, sees_in_flight=False, sees_error=False)
"""An autoscaler takes only nodes on which no pod forbids it, and pods with sessions do."""

_LABEL = "the label visio-operator.dev/pool: NAME"

PROVIDERS: dict[str, Provider] = {
    "oks": Provider(
        kind="NodePool",
        resource="nodepools.oks.dev",
        abilities=Abilities(sets_size=True, chooses_victim=False, sees_in_flight=True, sees_error=True),
        prepare="create it with desiredNodes 0 and autoscaling false, or set provider none",
        one_writer="set its spec.autoscaling to false",
        look_at="status.last_error of the NodePool",
    ),
    "clusterAPI": Provider(
        kind="MachineDeployment",
        resource="machinedeployments.cluster.x-k8s.io",
        abilities=Abilities(sets_size=True, chooses_victim=True, sees_in_flight=True, sees_error=True),
        prepare=f"create it with replicas 0 and {_LABEL} in spec.template.metadata, or set provider none",
        one_writer="remove its annotations cluster.x-k8s.io/cluster-api-autoscaler-node-group-min-size and -max-size",
        look_at="the conditions of its Machines",
    ),
    "ovh": Provider(
        kind="NodePool",
        resource="nodepools.kube.cloud.ovh.com",
        abilities=Abilities(sets_size=True, chooses_victim=False, sees_in_flight=True, sees_error=False),
        prepare=f"create it with desiredNodes 0, autoscale false and {_LABEL} in spec.template.metadata,"
        " or set provider none",
        one_writer="set its spec.autoscale to false",
        look_at="the node pool in OVHcloud's control panel, since the cluster does not show it",
    ),
    "karpenter": Provider(
        kind="NodePool",
        resource="nodepools.karpenter.sh",
        abilities=Abilities(sets_size=True, chooses_victim=False, sees_in_flight=False, sees_error=True),
        prepare=f"create it with {_LABEL} in spec.template.metadata, or set provider none",
        look_at="the events of its NodeClaims",
    ),
    "clusterAutoscaler": Provider(
        kind="", resource="", abilities=BY_PLACEHOLDERS, look_at="the events of the placeholder pods"
    ),
}
"""By `provider` in spec.gpuPools; `none` is not in it, since such pools are somebody else's business. Karpenter's
entry is that of static NodePools; one without `spec.replicas` is driven by placeholders."""


def abilities_of(pool: GpuPool, found: Pool) -> Abilities:
    """What can be done with a pool that is there."""
    return BY_PLACEHOLDERS if found.placeholders is not None else PROVIDERS[pool.provider].abilities


def why_missing(pool: GpuPool, found: Pool | None) -> tuple[str, str]:
    """Problem and next step of a pool that is not there, or not fit to be sized."""
    provider = PROVIDERS[pool.provider]
    said = found.error if found is not None else ""
    problem = said or f"there is no {provider.kind} {pool.name} in {provider.resource}"
    return problem, provider.prepare.replace("NAME", pool.name)


def two_writers(index: int, pool: GpuPool) -> str:
    """What is wrong with a pool that an autoscaler sizes as well, and the next step."""
    provider = PROVIDERS[pool.provider]
    problem = f"{provider.kind} {pool.name} is sized by an autoscaler too, and a pool has one writer"
    return f"{problem}; {provider.one_writer}, or spec.gpuPools[{index}].provider to none"


def where_to_look(pool: GpuPool) -> str:
    """The next step when nodes stay away and nothing says why."""
    return f"look at {PROVIDERS[pool.provider].look_at}"
