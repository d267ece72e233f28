"""Readable inputs: `a_deployment().with_captions(slots=64).on_gateway_api()` and what follows from it."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from visio_operator.api.releases import find_release, load_releases
from visio_operator.api.spec import API_VERSION, KIND, VisioDeploymentSpec
from visio_operator.plan.images import as_release
from visio_operator.plan.order import GPU_PARTS, fixed_size, part_set
from visio_operator.plan.plan import PartPlan, Plan, Release
from visio_operator.plan.preflight import connections_digest
from visio_operator.plan.secrets import secret_needs
from visio_operator.workloads.common import Manifest, Site
from visio_operator.workloads.render import render

UID = "11111111-2222-3333-4444-555555555555"
_MINIMAL: dict[str, Any] = {
    "version": "1.27.0",
    "host": "visio.example.gouv.fr",
    "oidc": {
        "jwksEndpoint": "https://auth.example.gouv.fr/jwks",
        "authorizationEndpoint": "https://auth.example.gouv.fr/authorize",
        "tokenEndpoint": "https://auth.example.gouv.fr/token",
        "userEndpoint": "https://auth.example.gouv.fr/userinfo",
        "clientId": "visio",
        "secretRef": {"name": "oidc"},
    },
    "database": {"embedded": {}},
    "redis": {"embedded": {}},
    "objectStorage": {"embedded": {}},
    "gateway": {"ingressClassName": "nginx", "tls": {"issuerRef": "letsencrypt"}},
}


@dataclass(frozen=True)
class DeploymentBuilder:
    """A VisioDeployment in the making; every method gives a new builder, so a base can be shared."""

    name: str = "visio"
    namespace: str = "visio"
    content: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(_MINIMAL))

    def named(self, name: str, namespace: str | None = None) -> DeploymentBuilder:
        return DeploymentBuilder(name, namespace or self.namespace, self.content)

    def having(self, **fields: Any) -> DeploymentBuilder:
        """The spec with these fields, by their names in YAML, laid over it level by level."""
        return DeploymentBuilder(self.name, self.namespace, _merged(self.content, fields))

    def without(self, *names: str) -> DeploymentBuilder:
        kept = {name: value for name, value in self.content.items() if name not in names}
        return DeploymentBuilder(self.name, self.namespace, kept)

    def with_captions(self, slots: int = 64, servers: int = 1, pool: str = "captions") -> DeploymentBuilder:
        captions = {"enabled": True, "slotsPerGpu": slots, "pool": pool, "min": servers, "max": max(4, servers)}
        return self.having(captions=captions)._with_pool(pool)

    def with_transcription(self, workers: int = 1, pool: str = "transcription") -> DeploymentBuilder:
        transcription = {"enabled": True, "pool": pool, "huggingFaceSecret": "hugging-face", "min": workers}
        return self.having(transcription=transcription)._with_pool(pool)

    def with_llm(self) -> DeploymentBuilder:
        llm = {"url": "https://llm.example.gouv.fr/v1", "model": "albert-large", "secretRef": {"name": "llm"}}
        return self.having(llm=llm)

    def with_docs(self) -> DeploymentBuilder:
        return self.having(docs={"url": "https://docs.example.gouv.fr", "secretRef": {"name": "docs"}})

    def with_mail(self) -> DeploymentBuilder:
        mail = {"host": "smtp.example.gouv.fr", "sender": "visio@example.gouv.fr", "user": "visio"}
        return self.having(mail={**mail, "secretRef": {"name": "mail"}})

    def with_superuser(self) -> DeploymentBuilder:
        return self.having(superuser={"email": "admin@example.gouv.fr", "secretRef": {"name": "admin"}})

    def with_own_services(self) -> DeploymentBuilder:
        """PostgreSQL, Redis and object store of the administration instead of the embedded ones."""
        services = {
            "database": {"host": "db.databases.svc.cluster.local", "secretRef": {"name": "db"}},
            "redis": {"host": "redis.example.gouv.fr", "tls": True, "secretRef": {"name": "redis"}},
            "objectStorage": {"endpoint": "https://s3.example.gouv.fr", "secretRef": {"name": "s3"}},
        }
        return self.without(*services).having(**services)

    def with_network(self, network: str, *, host_network: bool = False) -> DeploymentBuilder:
        return self.having(sfu={"network": network, "hostNetwork": host_network})

    def on_gateway_api(self) -> DeploymentBuilder:
        """By a controller of which nothing is known but the standard."""
        return self.routed_by("other", className="cilium", recordingDownloads=False)

    def routed_by(self, controller: str, **fields: Any) -> DeploymentBuilder:
        gateway = {"controller": controller, "tls": {"secretRef": {"name": "public-tls"}}, **fields}
        return self.without("gateway").having(gateway=gateway)

    def overriding(self, part: str, **changes: Any) -> DeploymentBuilder:
        overrides = [*self.content.get("overrides", []), {"part": part, **changes}]
        return self.without("overrides").having(overrides=overrides)

    def complete(self) -> DeploymentBuilder:
        """Every part that needs no choice against another one."""
        built = self.with_own_services().with_captions(servers=2).with_transcription(workers=2)
        return built.with_llm().with_docs().with_mail().with_superuser()

    def _with_pool(self, name: str) -> DeploymentBuilder:
        pool = {"name": name, "provider": "oks", "nodeType": "inference7-l40.medium", "max": 4}
        others = [one for one in self.content.get("gpuPools", []) if one["name"] != name]
        return self.without("gpuPools").having(gpuPools=[*others, pool])

    def cr(self) -> dict[str, Any]:
        """The object as a user writes it."""
        return {
            "apiVersion": API_VERSION,
            "kind": KIND,
            "metadata": {"name": self.name, "namespace": self.namespace},
            "spec": copy.deepcopy(self.content),
        }

    def spec(self) -> VisioDeploymentSpec:
        return VisioDeploymentSpec.model_validate(self.content)

    def site(self) -> Site:
        return Site(self.name, self.namespace, UID, self.spec())

    def plan(self) -> Plan:
        """The plan of this deployment once everything is up."""
        return healthy_plan(self.site())

    def manifests(self) -> tuple[Manifest, ...]:
        return render(self.site(), self.plan())


def a_deployment() -> DeploymentBuilder:
    """The smallest deployment: embedded services, Ingress, no GPU."""
    return DeploymentBuilder()


def release(spec: VisioDeploymentSpec) -> Release:
    """The release of a spec, from the built-in ladder."""
    entry = find_release(load_releases(), spec.version)
    assert entry is not None, f"{spec.version} is not in the ladder"
    return as_release(entry, spec.sovereignty.registries)


def healthy_plan(site: Site) -> Plan:
    """A plan in which every gate is open and GPU parts have their minimum."""
    spec = site.spec
    floors = {"captions": spec.captions.min, "transcription": spec.transcription.min}
    of = release(spec)
    parts = {
        part: PartPlan(part, floors[part] if part in GPU_PARTS else fixed_size(spec, part))
        for part in part_set(spec, of.settings)
    }
    return Plan(
        release=of,
        parts=parts,
        secrets=secret_needs(site.name, spec),
        connections=connections_digest(spec, {}),
    )


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    result = copy.deepcopy(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else copy.deepcopy(value)
    return result
