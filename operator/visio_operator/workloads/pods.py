"""Pods and what runs them: Deployment, StatefulSet, Job, CronJob, with their accounts and Services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from visio_operator.api.rollout import PartOverride, Toleration

from .common import (
    LONGEST_CRON_NAME,
    POOL_LABEL,
    Manifest,
    Site,
    digest,
    env,
    labels,
    metadata,
    object_name,
    pod_security,
    selector,
)
from .containers import GPU, User
from .quantities import canonical_amounts, parse
from .trust import trusting

KEEP_SESSIONS = {
    "cluster-autoscaler.kubernetes.io/safe-to-evict": "false",
    "karpenter.sh/do-not-disrupt": "true",
}
"""Node autoscalers give a pod ten minutes at most (facts/scaling.md A4); a pod with sessions is taken by us only."""

DISK = "ephemeral-storage"
_LOGS = "256Mi"
"""A kubelet keeps five files of 10 MiB of a container's logs by default; the rest is for what programs write beside."""
_GPU_LEAD = 2_400
"""Seconds: a node, its driver and the download of the weights."""


@dataclass(frozen=True)
class Pod:
    """What differs between the pods of the parts; the first container is the one that overrides change."""

    part: str
    user: User
    grace: int
    """Seconds between SIGTERM and SIGKILL; facts/visio.md 0 says how long each program needs."""
    containers: tuple[Manifest, ...]
    init: tuple[Manifest, ...] = ()
    volumes: tuple[Manifest, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    pool: str | None = None
    """GPU pool on whose nodes it runs."""
    one_per_node: bool = False
    host_network: bool = False
    placed_like: str = ""
    """Part whose overridden node selector and tolerations it takes in place of its own."""
    priority_class: str = ""
    overrides_of: str = ""
    """Part whose overridden variables it takes too: Jobs run with the settings of the API."""


def pod_template(site: Site, pod: Pod) -> Manifest:
    """The pod template, with what `spec.overrides` says about the part."""
    meta: Manifest = {"labels": {**labels(site, pod.part), **pod.labels}}
    if pod.annotations:
        meta["annotations"] = dict(pod.annotations)
    return {"metadata": meta, "spec": trusting(site, pod.part, _pod_spec(site, pod))}


def _pod_spec(site: Site, pod: Pod) -> Manifest:
    override = _override(site, pod.part)
    inherited = _override(site, pod.overrides_of)
    main, *others = (_bounded(one, pod.volumes) for one in pod.containers)
    security = {**pod_security(), "runAsUser": pod.user.uid, "runAsGroup": pod.user.gid, "fsGroup": pod.user.gid}
    spec: Manifest = {
        "serviceAccountName": object_name(site, pod.part),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": pod.grace,
        "securityContext": {**security, "fsGroupChangePolicy": "OnRootMismatch"},
        "containers": [_overridden(main, inherited, override), *others],
    }
    placed = _override(site, pod.placed_like or pod.part)
    pools = sorted(each.name for each in site.spec.gpu_pools if pod.pool == each.known_as)
    of_pool = {POOL_LABEL: pod.pool} if pod.pool and pools in ([pod.pool], []) else {}
    selected = {**of_pool, **(placed.node_selector if placed else {})}
    tolerated = [{"key": GPU, "operator": "Exists"}] if pod.pool else []
    tolerated += [_toleration(one) for one in placed.tolerations] if placed else []
    optional: Manifest = {
        "priorityClassName": pod.priority_class,
        "initContainers": [_bounded(one, pod.volumes) for one in pod.init],
        "volumes": list(pod.volumes),
        "imagePullSecrets": [{"name": name} for name in site.spec.image_pull_secrets],
        "nodeSelector": selected,
        "tolerations": tolerated,
    }
    spec |= {key: value for key, value in optional.items() if value}
    affinity: Manifest = {}
    if pod.one_per_node:
        affinity["podAntiAffinity"] = {
            "requiredDuringSchedulingIgnoredDuringExecution": [
                {
                    "labelSelector": {"matchLabels": selector(site, pod.part)},
                    "topologyKey": "kubernetes.io/hostname",
                }
            ]
        }
    if pools and not of_pool:
        term = {"matchExpressions": [{"key": POOL_LABEL, "operator": "In", "values": pools}]}
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    if affinity:
        spec["affinity"] = affinity
    if pod.host_network:
        spec |= {"hostNetwork": True, "dnsPolicy": "ClusterFirstWithHostNet"}
    return spec


def _bounded(container: Manifest, volumes: tuple[Manifest, ...]) -> Manifest:
    """The container with a bound on what it writes to the node's disk: its logs beside the scratch volumes, whose own
    bounds hold for all containers together. A node whose disk is full evicts pods of everybody."""
    resources = container.get("resources", {})
    if DISK in resources.get("limits", {}):
        return container
    mounted = {mount["name"] for mount in container.get("volumeMounts", ())}
    sizes = (one["emptyDir"].get("sizeLimit", "0") for one in volumes if "emptyDir" in one and one["name"] in mounted)
    limit = sum((parse(size)[0] for size in sizes), parse(_LOGS)[0])
    return {
        **container,
        "resources": {
            "requests": {**resources.get("requests", {}), DISK: _LOGS},
            "limits": {**resources.get("limits", {}), **canonical_amounts({DISK: f"{ceil(limit / 1024**2)}Mi"})},
        },
    }


def _override(site: Site, part: str) -> PartOverride | None:
    return next((override for override in site.spec.overrides if override.part == part), None)


def _toleration(toleration: Toleration) -> Manifest:
    written = {
        "key": toleration.key,
        "operator": toleration.operator,
        "value": toleration.value,
        "effect": toleration.effect,
    }
    return {name: value for name, value in written.items() if value}


def _overridden(container: Manifest, *overrides: PartOverride | None) -> Manifest:
    changed = dict(container)
    for override in overrides:
        if override is None:
            continue
        if override.extra_env:
            changed["env"] = _with_extra(
                changed.get("env", []), env({extra.name: extra.value for extra in override.extra_env})
            )
        if override.resources is not None and override is overrides[-1]:
            changed["resources"] = _with_amounts(
                changed.get("resources", {}), override.resources.requests, override.resources.limits
            )
    return changed


def _with_extra(variables: list[Manifest], extra: list[Manifest]) -> list[Manifest]:
    """Extra variables replace those of the same name where they stand, since later ones may refer to them."""
    replaced = {variable["name"]: variable for variable in extra}
    kept = [replaced.pop(variable["name"], variable) for variable in variables]
    return [*kept, *replaced.values()]


def _with_amounts(resources: Manifest, requests: Mapping[str, str], limits: Mapping[str, str]) -> Manifest:
    changed: dict[str, Any] = {
        "requests": {**resources.get("requests", {}), **canonical_amounts(requests)},
        "limits": {**resources.get("limits", {}), **canonical_amounts(limits)},
    }
    return {kind: amounts for kind, amounts in changed.items() if amounts}


def _spread(site: Site, part: str) -> list[Manifest]:
    return [
        {
            "maxSkew": 1,
            "topologyKey": key,
            "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": selector(site, part)},
        }
        for key in ("topology.kubernetes.io/zone", "kubernetes.io/hostname")
    ]


def service_account(site: Site, part: str) -> Manifest:
    """The identity of a part's pods; it has no rights, and no pod gets its token."""
    return {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": metadata(site, part),
        "automountServiceAccountToken": False,
    }


def deployment(site: Site, pod: Pod, replicas: int, *, surge: int = 1) -> Manifest:
    """A Deployment that never has fewer ready pods than asked for while it rolls.

    With `surge` 0 one pod ends before its successor starts, where two cannot run side by side or a GPU would be needed.
    """
    template = pod_template(site, pod)
    template["spec"]["topologySpreadConstraints"] = _spread(site, pod.part)
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(site, pod.part),
        "spec": {
            "replicas": replicas,
            "revisionHistoryLimit": 3,
            # A successor may have to wait until its predecessor has drained, or until a GPU node is there.
            "progressDeadlineSeconds": 600 + pod.grace + (_GPU_LEAD if pod.pool else 0),
            "selector": {"matchLabels": selector(site, pod.part)},
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": surge, "maxUnavailable": 0 if surge else 1},
            },
            "template": template,
        },
    }


def stateful_set(site: Site, pod: Pod, storage: str) -> Manifest:
    """One pod with one data volume called `data`; the deletion policy decides whether the volume survives."""
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": metadata(site, pod.part),
        "spec": {
            "replicas": 1,
            "revisionHistoryLimit": 3,
            "serviceName": object_name(site, pod.part),
            "selector": {"matchLabels": selector(site, pod.part)},
            "persistentVolumeClaimRetentionPolicy": {"whenDeleted": site.spec.deletion_policy, "whenScaled": "Retain"},
            "template": pod_template(site, pod),
            "volumeClaimTemplates": [
                {
                    "metadata": {"name": "data", "labels": labels(site, pod.part)},
                    "spec": {
                        "accessModes": ["ReadWriteOnce"],
                        "resources": {"requests": canonical_amounts({"storage": storage})},
                    },
                }
            ],
        },
    }


def job(site: Site, pod: Pod, *, version: str = "", retries: int = 2) -> Manifest:
    """A Job; its pod template can never be changed, so its name ends in a digest of it.

    It is not removed when it is done: the operator would see it missing and run it again.
    """
    template = pod_template(site, pod)
    template["spec"]["restartPolicy"] = "Never"
    suffix = f"{pod.part}{'-' + version.replace('.', '-') if version else ''}-{digest(template, 6)}"
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata(site, pod.part, object_name(site, suffix)),
        "spec": {"backoffLimit": retries, "activeDeadlineSeconds": 3600, "template": template},
    }


def cron_job(site: Site, pod: Pod, schedule: str, *, suspended: bool = False) -> Manifest:
    """A CronJob of which one run at a time exists; none begins while it is suspended."""
    template = pod_template(site, pod)
    template["spec"]["restartPolicy"] = "Never"
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": metadata(site, pod.part, object_name(site, pod.part, LONGEST_CRON_NAME)),
        "spec": {
            **({"suspend": True} if suspended else {}),
            "schedule": schedule,
            "timeZone": "Etc/UTC",
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": 3600,
            "successfulJobsHistoryLimit": 3,
            "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": labels(site, pod.part)},
                "spec": {"backoffLimit": 1, "activeDeadlineSeconds": 3600, "template": template},
            },
        },
    }


def service(site: Site, part: str, *ports: Manifest, **fields: Any) -> Manifest:
    """A Service in front of a part's pods; `fields` are further ones of its spec."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(site, part),
        "spec": {"selector": selector(site, part), "ports": list(ports), **fields},
    }


def service_port(name: str, number: int, target: str | int | None = None, protocol: str = "TCP") -> Manifest:
    """A port of a Service; the target is the container port's name when none is given."""
    return {"name": name, "port": number, "targetPort": name if target is None else target, "protocol": protocol}


def disruption_budget(site: Site, part: str) -> Manifest:
    """One pod at a time may be evicted for node maintenance; one that is broken anyway, always."""
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": metadata(site, part),
        "spec": {
            "maxUnavailable": 1,
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": {"matchLabels": selector(site, part)},
        },
    }
