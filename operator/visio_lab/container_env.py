"""Environment and command line of a container, as a kubelet makes them from the pod. Pure: no request is sent here."""

import base64
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from visio_lab.context import KUBERNETES_SERVICE_IP
from visio_lab.programs import all_containers

Json = dict[str, Any]

REFERENCE = re.compile(r"\$(\$|\([^()]*\))")
INDEXED = re.compile(r"metadata\.(labels|annotations)\['(.+)'\]")
SUFFIXES = {
    "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip

Ref = tuple[str, str]
"""("Secret" or "ConfigMap", name)"""


class ConfigError(Exception):
    """The pod names something that is not there; the text says what. A kubelet waits for it and tries again."""


def expand(value: str, environment: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; `$$` is one dollar and hides what follows; an unknown name stays as it is written."""

    def replacement(match: re.Match[str]) -> str:
        if match[1] == "$":
            return "$"
        return environment.get(match[1][1:-1], match[0])

    return REFERENCE.sub(replacement, value)


def references(pod: Json) -> dict[Ref, bool]:
    """Every Secret and ConfigMap that the pod reads, and whether the pod can start without it."""
    found: dict[Ref, bool] = {}
    for ref, optional in _references(pod):
        found[ref] = found.get(ref, True) and optional
    return found


def mounted_objects(pod: Json) -> set[Ref]:
    """The Secrets and ConfigMaps that the pod's volumes show."""
    return {ref for ref, _ in _mounted(pod)}


def _references(pod: Json) -> Iterator[tuple[Ref, bool]]:
    for container in all_containers(pod):
        for source in container.get("envFrom") or []:
            yield from _named(source, "secretRef", "configMapRef")
        for variable in container.get("env") or []:
            yield from _named(variable.get("valueFrom") or {}, "secretKeyRef", "configMapKeyRef")
    yield from _mounted(pod)


def _mounted(pod: Json) -> Iterator[tuple[Ref, bool]]:
    for volume in pod["spec"].get("volumes") or []:
        for source in [volume, *((volume.get("projected") or {}).get("sources") or [])]:
            yield from _named(source, "secret", "configMap")


def _named(source: Json, secret: str, config_map: str) -> Iterator[tuple[Ref, bool]]:
    """The one object that `source` names under either key. Only a secret volume spells its name differently."""
    for key, kind in ((secret, "Secret"), (config_map, "ConfigMap")):
        if key in source:
            name = source[key].get("secretName") or source[key]["name"]
            yield (kind, name), bool(source[key].get("optional"))


def data_of(obj: Json) -> dict[str, bytes]:
    """The entries of a Secret or a ConfigMap as bytes."""
    if obj.get("kind") == "Secret":
        return {key: base64.b64decode(value) for key, value in (obj.get("data") or {}).items()}
    entries = {key: str(value).encode() for key, value in (obj.get("data") or {}).items()}
    return entries | {key: base64.b64decode(value) for key, value in (obj.get("binaryData") or {}).items()}


def environment(container: Json, pod: Json, objects: Mapping[Ref, Mapping[str, bytes]]) -> dict[str, str]:
    """The container's own variables: the API server's Service, then envFrom, then env, later ones winning.

    `objects` holds the data of each Secret and ConfigMap that exists. Raises ConfigError for a key that is not there.
    """
    result = {
        "KUBERNETES_SERVICE_HOST": KUBERNETES_SERVICE_IP,
        "KUBERNETES_SERVICE_PORT": "443",
        "KUBERNETES_SERVICE_PORT_HTTPS": "443",
    }
    for source in container.get("envFrom") or []:
        for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if key in source:
                entries = objects.get((kind, source[key]["name"]), {})
                result |= {source.get("prefix", "") + name: _text(value) for name, value in entries.items()}
    for variable in container.get("env") or []:
        value = _value(variable, container, pod, objects, result)
        if value is not None:
            result[variable["name"]] = value
    return result


def _value(
    variable: Json, container: Json, pod: Json, objects: Mapping[Ref, Mapping[str, bytes]], before: Mapping[str, str]
) -> str | None:
    origin = variable.get("valueFrom")
    if not origin:
        return expand(variable.get("value") or "", before)
    for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if key in origin:
            ref = origin[key]
            entries = objects.get((kind, ref["name"]), {})
            if ref["key"] in entries:
                return _text(entries[ref["key"]])
            if ref.get("optional"):
                return None
            raise ConfigError(f"{kind} {ref['name']} has no key {ref['key']}")
    if "fieldRef" in origin:
        return field(pod, origin["fieldRef"]["fieldPath"])
    if "resourceFieldRef" in origin:
        return resource(container, origin["resourceFieldRef"])
    raise ConfigError(f"environment variable {variable['name']}: this source is not known to the lab")


def _text(value: bytes) -> str:
    return value.decode(errors="surrogateescape")


def field(pod: Json, path: str) -> str:
    """One field of the pod by its downward API path. Raises ConfigError for a path that API does not offer."""
    metadata, spec, status = pod["metadata"], pod["spec"], pod.get("status", {})
    if match := INDEXED.fullmatch(path):
        return str((metadata.get(match[1]) or {}).get(match[2], ""))
    if path in ("metadata.labels", "metadata.annotations"):
        entries = metadata.get(path.removeprefix("metadata.")) or {}
        return "\n".join(f'{key}="{value}"' for key, value in sorted(entries.items()))
    known = {
        "metadata.name": metadata["name"],
        "metadata.namespace": metadata["namespace"],
        "metadata.uid": metadata["uid"],
        "spec.nodeName": spec.get("nodeName"),
        "spec.serviceAccountName": spec.get("serviceAccountName"),
        "status.hostIP": status.get("hostIP"),
        "status.hostIPs": status.get("hostIP"),
        "status.podIP": status.get("podIP"),
        "status.podIPs": status.get("podIP"),
    }
    if path not in known:
        raise ConfigError(f"fieldPath {path} is not one of the downward API")
    return str(known[path] or "")


def resource(container: Json, ref: Json) -> str:
    """A container's own request or limit in whole units of the divisor, as resourceFieldRef gives it."""
    group, name = ref["resource"].split(".", 1)
    amount = ((container.get("resources") or {}).get(group) or {}).get(name, "0")
    divisor = quantity(str(ref.get("divisor") or "1")) or 1.0
    return str(math.ceil(quantity(str(amount)) / divisor))


def quantity(text: str) -> float:
    """A Kubernetes quantity in its base unit. Raises ConfigError when it is none."""
    match = re.fullmatch(r"([0-9.]+(?:e[0-9]+)?)([a-zA-Z]*)", text)
    if not match or (match[2] and match[2] not in SUFFIXES):
        raise ConfigError(f"{text} is not a quantity")
    return float(match[1]) * (SUFFIXES[match[2]] if match[2] else 1.0)


def expanded(words: list[str] | None, variables: Mapping[str, str]) -> list[str]:
    """A command or argument list with its variables filled in."""
    return [expand(word, variables) for word in words or []]
