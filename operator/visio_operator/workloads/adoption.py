"""A new version of the operator replaces no pod by itself: where it renders one differently, that waits for its time.

Every object whose change replaces pods says which version of the operator rendered it, and a digest of what it
rendered. Where another version renders the same, it only writes down its own name. Where it renders something else for
an unchanged spec and release, the object goes on saying what it said, and notes the other rendering. From then on the
new version knows itself: what it renders later differs from its own note only when the spec, the release or the keys
have changed, and such a change is followed at once, with all of the part's new rendering, since its pods are replaced
anyway. All of it is derived from the objects, so it does not matter which process looks, and when.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from visio_operator.api.spec import GROUP, VisioDeploymentSpec
from visio_operator.plan.order import CHECKS
from visio_operator.plan.plan import Plan
from visio_operator.plan.windows import is_open

from .common import DEPLOYMENT_LABEL, RELEASE, Manifest, Site, digest
from .owned import applied_by
from .restarts import KEY_PAIRS, SECRETS_DIGEST

RENDERED_BY = f"{GROUP}/rendered-by"
"""Annotation of what replaces pods: the version of the operator whose rendering it is."""
RENDERING = f"{GROUP}/rendering"
"""Annotation: the digest of that rendering."""
WAITING = f"{GROUP}/waiting-rendering"
"""Annotation: another version of the operator, and the digest of what it would have rendered here."""
HELD = f"{GROUP}/held-rendering"
"""Annotation: what is kept while another rendering waits, as JSON, so that drift is still repaired."""

Key = tuple[str, str]
Live = Mapping[Key, Mapping[str, Any]]

_PART = "app.kubernetes.io/component"
_FOLLOWED = frozenset({SECRETS_DIGEST, KEY_PAIRS})
"""Annotations of pods that are kept current whatever waits: pods restart for new keys."""
_HELD_FIELDS: Mapping[str, tuple[str, ...]] = {
    "Deployment": ("spec", "template"),
    "StatefulSet": ("spec", "template"),
    "ConfigMap": ("data",),
    "Job": ("spec",),
}
"""What replaces pods, or what they read, by kind. A CronJob is not in it: a change of it replaces nothing."""
_WITH_TEMPLATE = frozenset({"Deployment", "StatefulSet"})
_NEEDED = frozenset({"ConfigMap", "ServiceAccount"})
"""What pods of an older rendering still need, although the newer one may not."""


@dataclass(frozen=True)
class Waiting:
    """A rendering that waits."""

    version: str = ""
    """The version of the operator whose rendering it is."""
    objects: tuple[Key, ...] = ()
    pods: Mapping[str, int] = field(default_factory=dict)
    """Pods that it would replace, by part."""
    digest: str = ""
    """Names exactly this rendering; approval is given to it."""

    def __bool__(self) -> bool:
        return bool(self.objects)


NOTHING_WAITS = Waiting()


@dataclass(frozen=True)
class Settled:
    """What is applied, and what waits."""

    manifests: tuple[Manifest, ...]
    waiting: Waiting = NOTHING_WAITS
    kept: frozenset[Key] = frozenset()
    """Live objects that no manifest asks for and that pods of the older rendering still need."""


@dataclass(frozen=True)
class _Seen:
    """One manifest beside what is live in its place."""

    manifest: Manifest
    live: Mapping[str, Any] | None
    digest: str
    verdict: str
    """`own`: written as it is; `waits`: only the rendering differs; `changed`: so does what it is rendered from."""

    @property
    def part(self) -> str:
        return str(self.manifest["metadata"]["labels"].get(_PART, ""))


def settle(
    site: Site,
    manifests: Sequence[Manifest],
    live: Live,
    version: str,
    manager: str,
    *,
    same_spec: bool,
    adopt: bool,
    approved: str = "",
) -> Settled:
    """The manifests as they are to be applied by this version of the operator.

    Args:
        site: the deployment.
        manifests: what this version renders.
        live: managed objects of the namespace by kind and name, whole.
        version: the version of this operator.
        manager: the field manager under which objects are applied.
        same_spec: the spec is still that of the last full pass, whoever made it.
        adopt: a rendering that differs may be taken over now.
        approved: the digest of the waiting rendering that a user approved.
    """
    seen = [_seen(site, manifest, live, version, same_spec=same_spec) for manifest in manifests]
    changed = {one.part for one in seen if one.verdict == "changed"}
    waits = [one for one in seen if one.verdict == "waits" and one.part not in changed]
    counted = [one for one in waits if one.manifest["kind"] != "Job"]
    waiting = _waiting(counted, version)
    going = bool(counted) and (adopt or approved == waiting.digest)
    # A Job that has run is never run again for the way it is written.
    held = {id(one) for one in waits if not going or one.manifest["kind"] == "Job"}
    settled = [_held(one, version, manager) if id(one) in held else _noted(one, version) for one in seen]
    if going or not counted:
        return Settled(tuple(settled))
    wanted = {(one["kind"], one["metadata"]["name"]) for one in settled}
    parts = {one.part for one in counted}
    kept = {key for key, body in live.items() if key[0] in _NEEDED and _part_of(site, body) in parts} - wanted
    return Settled(tuple(settled), waiting, frozenset(kept))


def is_time(spec: VisioDeploymentSpec, plan: Plan, now: float) -> bool:
    """Whether a rendering that differs may be taken over by itself at `now` (unix seconds).

    Without windows it may not: nobody who uses the deployment has asked for a new version of the operator. While a rung
    is under way it waits too: the parts that follow the new release take it along, one step after the other.
    """
    upgrade = spec.upgrade
    if plan.upgrade is not None and plan.upgrade.rung:
        return False
    if upgrade.adopt_rendering == "Now":
        return True
    return upgrade.mode == "Auto" and bool(upgrade.windows) and is_open(upgrade.windows, now)


def rendering_of(manifest: Mapping[str, Any]) -> Any:
    """The part of a manifest whose change replaces pods, without what is followed whatever waits; None for none."""
    if manifest["kind"] not in _HELD_FIELDS:
        return None
    return _inner(manifest["kind"], manifest)


def _inner(kind: str, body: Mapping[str, Any]) -> Any:
    value: Any = body
    for step in _HELD_FIELDS[kind]:
        value = value.get(step) or {}
    return _without_followed(value) if kind in _WITH_TEMPLATE and value else value


def labels_of(body: Mapping[str, Any]) -> Mapping[str, str]:
    """The labels of an object."""
    return body["metadata"].get("labels") or {}


def _notes(body: Mapping[str, Any]) -> Mapping[str, str]:
    return body["metadata"].get("annotations") or {}


def _part_of(site: Site, body: Mapping[str, Any]) -> str:
    labels = labels_of(body)
    return labels.get(_PART, "") if labels.get(DEPLOYMENT_LABEL) == site.name else ""


def _without_followed(template: Mapping[str, Any]) -> dict[str, Any]:
    meta = dict(template.get("metadata") or {})
    if kept := {key: value for key, value in (meta.pop("annotations", None) or {}).items() if key not in _FOLLOWED}:
        meta["annotations"] = kept
    return {**template, "metadata": meta}


def _seen(site: Site, manifest: Manifest, live: Live, version: str, *, same_spec: bool) -> _Seen:
    rendering = rendering_of(manifest)
    if rendering is None:
        return _Seen(manifest, None, "", "own")
    own = digest(rendering, 16)
    found = _in_its_place(site, manifest, live)
    return _Seen(manifest, found, own, _verdict(manifest, found, own, version, same_spec=same_spec))


def _in_its_place(site: Site, manifest: Manifest, live: Live) -> Mapping[str, Any] | None:
    """The live object of the manifest. The name of a Job follows from what it runs, so it is found by its part; that of
    a check follows from what it checks, and another check is another Job.
    """
    body = live.get((manifest["kind"], manifest["metadata"]["name"]))
    part = labels_of(manifest).get(_PART)
    if body is None and manifest["kind"] == "Job" and part not in CHECKS:
        jobs = [body for (kind, _), body in live.items() if kind == "Job" and _part_of(site, body) == part]
        body = max(jobs, key=lambda job: str(job["metadata"].get("creationTimestamp") or ""), default=None)
    if body is None or body["metadata"].get("deletionTimestamp"):
        return None
    if manifest["kind"] == "Job" and (_has(body, "Failed") or (part in CHECKS and not _has(body, "Complete"))):
        # Perhaps it fails for the way it was written; a check tries for ever.
        return None
    return body


def _has(body: Mapping[str, Any], kind: str) -> bool:
    conditions = (body.get("status") or {}).get("conditions") or ()
    return any(one.get("type") == kind and one.get("status") == "True" for one in conditions)


def _verdict(manifest: Manifest, live: Mapping[str, Any] | None, own: str, version: str, *, same_spec: bool) -> str:
    notes = {} if live is None else _notes(live)
    if RENDERED_BY not in notes or notes[RENDERED_BY] == version or notes.get(RENDERING) == own:
        return "own"
    noted_by, _, noted = notes.get(WAITING, "").partition(" ")
    if noted_by == version:
        return "waits" if noted == own else "changed"
    return "waits" if same_spec and _same_release(manifest, notes) else "changed"


def _same_release(manifest: Manifest, notes: Mapping[str, str]) -> bool:
    return _notes(manifest).get(RELEASE) == notes.get(RELEASE)


def _waiting(seen: Sequence[_Seen], version: str) -> Waiting:
    if not seen:
        return NOTHING_WAITS
    objects = tuple((one.manifest["kind"], one.manifest["metadata"]["name"]) for one in seen)
    pods: dict[str, int] = {}
    for one in seen:
        spec = (one.live or {}).get("spec") or {}
        if one.manifest["kind"] in _WITH_TEMPLATE:
            pods[one.part] = pods.get(one.part, 0) + int(spec.get("replicas", 1))
    named = sorted(f"{kind}/{name} {one.digest}" for (kind, name), one in zip(objects, seen, strict=True))
    return Waiting(version, objects, pods, digest([version, *named]))


def _noted(one: _Seen, version: str) -> Manifest:
    """The manifest as it is, with this version's name on what replaces pods."""
    if not one.digest:
        return one.manifest
    return _annotated(one.manifest, {RENDERED_BY: version, RENDERING: one.digest})


def _held(one: _Seen, version: str, manager: str) -> Manifest:
    """The manifest with the rendering that is there, and a note of its own."""
    live: Mapping[str, Any] = one.live or {}
    notes = _notes(live)
    kind = one.manifest["kind"]
    # Whatever the server has added is better than nothing, where it does not say who applied what.
    kept = _parsed(notes.get(HELD)) or _inner(kind, applied_by(manager, live)) or _inner(kind, live)
    manifest = {**one.manifest, "metadata": {**one.manifest["metadata"], "name": live["metadata"]["name"]}}
    text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
    manifest = _with(manifest, _HELD_FIELDS[kind], _with_followed(kept, one.manifest))
    noted = {WAITING: f"{version} {one.digest}", HELD: text}
    return _annotated(manifest, {RENDERED_BY: notes[RENDERED_BY], RENDERING: notes.get(RENDERING, ""), **noted})


def _parsed(text: str | None) -> Any:
    """What was kept; None when there is nothing, or when somebody has written something else there."""
    try:
        found = json.loads(text or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) and found else None


def _with_followed(kept: Any, manifest: Manifest) -> Any:
    """The kept pod template with the key pairs that pods shall know now; the digest of Secrets is added later."""
    if manifest["kind"] not in _WITH_TEMPLATE:
        return kept
    said = (manifest["spec"]["template"]["metadata"].get("annotations") or {}).get(KEY_PAIRS)
    if said is None:
        return kept
    meta = kept.get("metadata") or {}
    return {**kept, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), KEY_PAIRS: said}}}


def _with(value: Mapping[str, Any], path: Sequence[str], inner: Any) -> dict[str, Any]:
    if not path:
        return dict(inner)
    return {**value, path[0]: _with(value.get(path[0]) or {}, path[1:], inner)}


def _annotated(manifest: Manifest, notes: Mapping[str, str]) -> Manifest:
    meta = manifest["metadata"]
    return {**manifest, "metadata": {**meta, "annotations": {**(meta.get("annotations") or {}), **notes}}}
