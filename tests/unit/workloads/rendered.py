"""The deployments over which every rule about manifests is checked, and ways to look into what is rendered."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from builders import DeploymentBuilder, a_deployment
from visio_operator.workloads.common import Manifest

CASES: dict[str, DeploymentBuilder] = {
    "minimal": a_deployment(),
    "embedded": a_deployment().with_captions().with_transcription().with_superuser(),
    "complete": a_deployment().complete(),
    "gateway": a_deployment().on_gateway_api(),
    "turn": a_deployment().complete().with_network("turnTLS"),
    "weights": a_deployment()
    .with_captions()
    .with_transcription()
    .having(captions={"weights": {"snapshot": "kyutai"}}, transcription={"weights": {"claim": "whisper"}}),
    "nodePorts": a_deployment().with_network("nodePorts"),
    "balanced": a_deployment().having(sfu={"network": "nodePorts", "expose": "loadBalancer"}),
    "external": a_deployment().having(sfu={"externalAddress": {"discover": "nodeExternalIP"}}),
    "overridden": a_deployment()
    .complete()
    .named("a" * 40, "b" * 63)
    .overriding(
        "backend",
        resources={"requests": {"cpu": "0.5", "memory": "1024Mi"}, "limits": {"memory": "2048Mi"}},
        extraEnv=[{"name": "SESSION_COOKIE_AGE", "value": ""}, {"name": "DB_HOST", "value": "$(HOME)"}],
        nodeSelector={"disk": "fast"},
        tolerations=[{"key": "dedicated", "operator": "Equal", "value": "visio", "effect": "NoSchedule"}],
    )
    .having(sovereignty={"registries": ["registry.example.gouv.fr/visio"]}, imagePullSecrets=["pull"]),
}
ADMITTED = dict(CASES)
"""Those that a namespace with PodSecurity `restricted` must admit."""
ALL = {
    **CASES,
    "hostNetwork": a_deployment().with_network("udpMux", host_network=True),
    "turnOnNodes": a_deployment().having(sfu={"network": "turnTLS", "expose": "hostNetwork"}),
}


def named(manifests: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    return next(one for one in manifests if (one["kind"], one["metadata"]["name"]) == (kind, name))


def templates(manifests: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Every pod template with the part that it is of."""
    for manifest in manifests:
        spec = manifest.get("spec", {})
        template = spec.get("template") or spec.get("jobTemplate", {}).get("spec", {}).get("template")
        if template:
            yield template["metadata"]["labels"]["app.kubernetes.io/component"], template


def containers(template: Manifest) -> list[Manifest]:
    return [*template["spec"]["containers"], *template["spec"].get("initContainers", [])]


def container(manifests: tuple[Manifest, ...], name: str) -> Manifest:
    """A container by name, as its program sees it: a secret in a file named by NAME_FILE stands under NAME."""
    return next(
        {**one, "env": [_by_file(template, variable) for variable in one.get("env", [])]}
        for _, template in templates(manifests)
        for one in containers(template)
        if one["name"] == name
    )


def _by_file(template: Manifest, variable: Manifest) -> Manifest:
    name, path = variable["name"], variable.get("value", "")
    source = files_of_secrets(template).get(path.rpartition("/")[2]) if name.endswith("_FILE") else None
    return {"name": name.removesuffix("_FILE"), "valueFrom": {"secretKeyRef": source}} if source else variable


def files_of_secrets(template: Manifest) -> dict[str, dict[str, str]]:
    """The secrets that a pod has as files of a projected volume, by file name."""
    return {
        item["path"]: {"name": source["secret"]["name"], "key": item["key"]}
        for volume in template["spec"].get("volumes", [])
        for source in volume.get("projected", {}).get("sources", [])
        for item in source.get("secret", {}).get("items", [])
    }


def variables(container: Manifest) -> dict[str, Any]:
    """Variables by name: their text, or the source of their value."""
    return {one["name"]: one.get("valueFrom", one.get("value", "")) for one in container.get("env", [])}


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no map and no list, and every empty map and list, with its path."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, f"{path}[{index}]")
    else:
        yield path, value


def maps(value: Any) -> Iterator[Mapping[str, Any]]:
    """Every map inside a value, itself included."""
    if isinstance(value, Mapping):
        yield value
        for inner in value.values():
            yield from maps(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from maps(inner)
