"""A changed Secret restarts the pods that read it, and no others.

A program reads its environment and most of its files once. So every pod template carries a digest of exactly those keys
of Secrets that its containers and volumes refer to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from visio_operator.api.spec import GROUP
from visio_operator.plan.plan import LivekitKeys
from visio_operator.plan.secrets import LIVEKIT_API_SECRET, LIVEKIT_KEYS, composed_secret

from .common import Manifest, digest

SECRETS_DIGEST = f"{GROUP}/secrets-digest"
"""Annotation of pods: changes with the Secrets that they read."""
KEY_PAIRS = f"{GROUP}/livekit-keys"
"""Annotation of pods: the Secrets of the LiveKit key pairs that they accept, or sign with."""
RESTARTED = frozenset({"Deployment", "StatefulSet"})
"""What runs on. Jobs have run, and the pods of CronJobs read their Secrets anew each time."""

Marks = Mapping[str, Mapping[str, str]]


def referenced(pod: Mapping[str, Any]) -> frozenset[tuple[str, str]]:
    """The Secrets and keys that a pod spec refers to; an empty key stands for all of them."""
    return frozenset(_references(pod))


def _references(pod: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for container in (*pod.get("containers", ()), *pod.get("initContainers", ())):
        for variable in container.get("env", ()):
            source = variable.get("valueFrom", {}).get("secretKeyRef")
            if source:
                yield source["name"], source["key"]
        for source in container.get("envFrom", ()):
            if "secretRef" in source:
                yield source["secretRef"]["name"], ""
    for volume in pod.get("volumes", ()):
        if "secret" in volume:
            yield from _items(volume["secret"]["secretName"], volume["secret"])
        for source in volume.get("projected", {}).get("sources", ()):
            if "secret" in source:
                yield from _items(source["secret"]["name"], source["secret"])


def _items(name: str, source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    items = source.get("items")
    yield from ((name, item["key"]) for item in items) if items else ((name, ""),)


def secrets_digest(pod: Mapping[str, Any], marks: Marks) -> str | None:
    """The digest of what a pod reads; empty when it reads no Secret, None when one of them is not known."""
    found = {}
    for name, key in sorted(referenced(pod)):
        known = marks.get(name)
        if known is None or (key and key not in known):
            return None
        found[f"{name}/{key}"] = known[key] if key else dict(known)
    return digest(found, 16) if found else ""


def with_secrets_digest(manifest: Manifest, marks: Marks, live: Mapping[str, Any] | None) -> Manifest:
    """The manifest whose pods are replaced when what they read changes.

    While one of the Secrets is not known, `live` says what stands there now: not knowing is no change.
    """
    if manifest["kind"] not in RESTARTED:
        return manifest
    value = secrets_digest(manifest["spec"]["template"]["spec"], marks)
    if value is None:
        template = (live or {}).get("spec", {}).get("template", {})
        value = (template.get("metadata", {}).get("annotations") or {}).get(SECRETS_DIGEST, "")
    return _annotated(manifest, SECRETS_DIGEST, value)


def with_key_pairs(name: str, manifest: Manifest, livekit: LivekitKeys) -> Manifest:
    """The manifest whose pods say which LiveKit key pairs they know; the next steps of a rotation wait for that."""
    if manifest["kind"] not in RESTARTED:
        return manifest
    read, source = referenced(manifest["spec"]["template"]["spec"]), composed_secret(name)
    if (source, LIVEKIT_KEYS) in read:
        return _annotated(manifest, KEY_PAIRS, ",".join(livekit.accepted))
    return _annotated(manifest, KEY_PAIRS, livekit.signing if (source, LIVEKIT_API_SECRET) in read else "")


def _annotated(manifest: Manifest, name: str, value: str) -> Manifest:
    if not value:
        return manifest
    spec = manifest["spec"]
    meta = spec["template"]["metadata"]
    annotations = {**meta.get("annotations", {}), name: value}
    template = {**spec["template"], "metadata": {**meta, "annotations": annotations}}
    return {**manifest, "spec": {**spec, "template": template}}
