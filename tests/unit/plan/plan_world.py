"""Readable inputs for tests of decisions: specs, observed worlds, and a healthy deployment."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from visio_operator.api.releases import load_releases
from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.plan.images import as_release
from visio_operator.plan.observed import Observed, Preflight, WorkerQueue, Workload
from visio_operator.plan.order import CHECKS, IMAGE_KEYS, JOBS, fixed_size, part_set
from visio_operator.plan.policy import secrets_wanted
from visio_operator.plan.preflight import connections_digest
from visio_operator.plan.workers import BACKLOG

LADDER = load_releases()
NOW = 1_800_000_000.0
ALWAYS_FRESH = NOW + 1e9


def a_spec(**changes: Any) -> VisioDeploymentSpec:
    """A small deployment on embedded services, with fields of the spec replaced by name."""
    document: dict[str, Any] = {
        "version": "1.27.0",
        "host": "visio.example.fr",
        "oidc": {
            "jwksEndpoint": "https://id.example.fr/jwks",
            "authorizationEndpoint": "https://id.example.fr/authorize",
            "tokenEndpoint": "https://id.example.fr/token",
            "userEndpoint": "https://id.example.fr/user",
            "clientId": "visio",
            "secretRef": {"name": "oidc"},
        },
        "database": {"embedded": {}},
        "redis": {"embedded": {}},
        "objectStorage": {"embedded": {}},
        "gateway": {"ingressClassName": "nginx", "tls": {"issuerRef": "ca"}},
        **changes,
    }
    return VisioDeploymentSpec.model_validate(document)


def with_captions(**captions: Any) -> dict[str, Any]:
    """Fields of a spec with captions on one pool of four nodes, and no margin for streams that may come."""
    return {
        "capacity": {"blockedTarget": "0.5"},
        "captions": {"enabled": True, "pool": "l40", "slotsPerGpu": 10, "max": 4, **captions},
        "gpuPools": [{"name": "l40", "provider": "oks", "max": 4}],
    }


def an_empty_world(spec: VisioDeploymentSpec, **changes: Any) -> Observed:
    """Nothing exists but the Secrets that the user has to provide, and the word that all connections are in order."""
    secrets = {wanted.name: frozenset(wanted.keys) for wanted in secrets_wanted(spec)}
    checked = Preflight(connections_digest(spec, {}), succeeded=True)
    queues = {part: WorkerQueue(waiting=0, read_at=ALWAYS_FRESH) for part in BACKLOG}
    world = Observed(
        uid="u", namespace="visio", name="main", secret_keys=secrets, preflight=checked, worker_queues=queues
    )
    return replace(world, **changes)


def a_workload(spec: VisioDeploymentSpec, part: str, **changes: Any) -> Workload:
    """One part, healthy and current."""
    entry = next(entry for entry in LADDER if entry.version == spec.version)
    images = as_release(entry, spec.sovereignty.registries).images
    size = 0 if part in ("captions", "transcription") else fixed_size(spec, part)
    workload = Workload(
        kind="Job" if part in JOBS | CHECKS else "Deployment",
        name=f"main-{part}",
        part=part,
        desired=size,
        ready=size,
        updated=size,
        images=tuple(images[key] for key in IMAGE_KEYS[part]),
        current=True,
        succeeded=part in JOBS | CHECKS,
    )
    return replace(workload, **changes)


def a_healthy_world(spec: VisioDeploymentSpec, **changes: Any) -> Observed:
    """Everything that the spec asks for runs; GPU parts have no replica."""
    workloads = {part: a_workload(spec, part) for part in part_set(spec)}
    return an_empty_world(spec, workloads=workloads, **changes)


def condition(plan: Any, kind: str) -> tuple[str, str, str]:
    """Status, reason and message of one condition of a plan."""
    found = next(item for item in plan.conditions if item.type == kind)
    return found.status, found.reason, found.message
