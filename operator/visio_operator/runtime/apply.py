"""Make the cluster say what the plan says: Secrets, what workloads refer to, workloads, marks, pools; then prune.

Full intent by server-side apply under one field manager, skipped when nothing owned differs, so that a steady
deployment causes no writes. One object that is refused does not keep the others from being written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from visio_operator.plan.order import CHECKS
from visio_operator.plan.plan import Plan
from visio_operator.plan.steps import BACKUP_JOB, CHECK_JOB
from visio_operator.workloads.common import DEPLOYMENT_LABEL, FAILED, PLATFORM, RESTORED_BY, Manifest, Site
from visio_operator.workloads.restarts import with_secrets_digest

from . import marks, pools
from .attempts import Key
from .compare import DIGEST, differences, digest
from .generated import correct_secret, secret_values
from .kinds import BY_NAME
from .kube import FIELD_MANAGER, Kube, KubeError
from .memory import Memory
from .nodepools import node_patch, owner_of, pod_patch
from .observe import Snapshot
from .projections import PART_LABEL, annotations_of, labels_of, terminating
from .replicas import KEEPER, kept_replicas, with_initial_replicas
from .secret_values import encode

Body = dict[str, Any]
Work = tuple[Key, str, Callable[[], Awaitable[None]]]
"""What is written, a mark that changes with it, and how."""

CONCURRENCY = 12
WAVES = 3
WORKLOADS = frozenset({"Deployment", "StatefulSet", "Job", "CronJob"})


@dataclass
class Outcome:
    """What one pass changed."""

    written: int = 0
    pruned: int = 0
    pending: int = 0
    """Objects that wait for the end of a deletion."""
    errors: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether the cluster was written to."""
        return bool(self.written or self.pruned)


@dataclass(frozen=True)
class _Pass:
    """What every write of one pass needs."""

    kube: Kube
    site: Site
    plan: Plan
    seen: Snapshot
    memory: Memory
    outcome: Outcome

    async def do(self, works: Iterable[Work]) -> None:
        """Do all of it, a few at a time; what is refused is noted and keeps nothing else back."""
        slots = asyncio.Semaphore(CONCURRENCY)

        async def one(key: Key, mark: str, work: Callable[[], Awaitable[None]]) -> None:
            async with slots:
                if problem := await self.memory.attempts.run(key, mark, work):
                    self.outcome.errors.append(problem)

        await asyncio.gather(*(one(*work) for work in works))


async def apply(
    kube: Kube,
    site: Site,
    plan: Plan,
    manifests: Sequence[Manifest],
    seen: Snapshot,
    memory: Memory,
    kept: Collection[Key] = (),
) -> Outcome:
    """Write what differs and delete what no manifest asks for any more, but not what is in `kept`. Raises nothing but
    cancellation.

    A plan with refusals, or of an emergency stop, writes nothing: what runs stays as it is.
    """
    outcome = Outcome()
    if plan.invalid or plan.stopped or plan.release is None:
        return outcome
    this = _Pass(kube, site, plan, seen, memory, outcome)
    await this.do([*_taken_back(this), *_restored(this)])
    if outcome.errors:
        # Whoever comes next would not know that the rung failed, and climb it again.
        return outcome
    held = await _secrets(this)
    marked = marks.marks(marks.marks_key(site, seen.live, memory), held)
    wanted = [
        with_digest(with_secrets_digest(one, marked, seen.live.get((one["kind"], one["metadata"]["name"]))))
        for one in manifests
    ]
    for wave in range(WAVES):
        await this.do(_manifests(this, [manifest for manifest in wanted if _wave(manifest) == wave]))
    await this.do(_marks(this))
    await this.do(_pools(this))
    await this.do(
        (("deletion of " + body["kind"], body["metadata"]["name"]), "", _later(_prune, this, body))
        for body in superfluous(site, plan, manifests, seen)
        if (body["kind"], body["metadata"]["name"]) not in kept
    )
    for key in memory.settled.keys() - seen.live.keys():
        del memory.settled[key]
    return outcome


def _taken_back(this: _Pass) -> Iterable[Work]:
    """Say on the first Job of a rung that it is taken back, before anything of it is."""
    upgrade, job = this.plan.upgrade, this.seen.observed.workloads.get(CHECK_JOB)
    if upgrade is not None and upgrade.taken_back and job is not None and not job.note:
        patch = {"metadata": {"annotations": {FAILED: upgrade.taken_back}}}
        yield ("Job", job.name), digest(patch), _later(_merge, this, "Job", job.name, this.site.namespace, patch)


def _restored(this: _Pass) -> Iterable[Work]:
    """Say on the backup that it is restored, as was approved, before anything stops."""
    upgrade, saved = this.plan.upgrade, this.seen.observed.workloads.get(BACKUP_JOB)
    if upgrade is not None and upgrade.restores and saved is not None and not saved.restore:
        patch = {"metadata": {"annotations": {RESTORED_BY: upgrade.restores}}}
        yield (
            (saved.kind, saved.name),
            digest(patch),
            _later(_merge, this, saved.kind, saved.name, this.site.namespace, patch),
        )


def _wave(manifest: Manifest) -> int:
    """When it is written: what pods refer to before them, and the checks first, since all else waits for their end."""
    part = labels_of(manifest).get(PART_LABEL)
    if manifest["kind"] in WORKLOADS:
        return 1 if part in CHECKS else 2
    return 0 if part in CHECKS or (part == PLATFORM and manifest["kind"] == "NetworkPolicy") else 1


def with_digest(manifest: Manifest) -> Manifest:
    """The manifest with the annotation that carries its own digest."""
    meta = manifest["metadata"]
    annotations = {**(meta.get("annotations") or {}), DIGEST: digest(manifest)}
    return {**manifest, "metadata": {**meta, "annotations": annotations}}


def superfluous(site: Site, plan: Plan, manifests: Iterable[Manifest], seen: Snapshot) -> list[Body]:
    """Objects of this deployment that nothing asks for any more: their part is gone, or no longer has them.

    What belongs to a part whose gate is merely closed stays. Data volumes belong to their StatefulSets; generated
    Secrets stay unless deletionPolicy is Delete.
    """
    wanted = {(manifest["kind"], manifest["metadata"]["name"]) for manifest in manifests}
    wanted |= {("Secret", need.name) for need in plan.secrets}
    keeps_secrets = site.spec.deletion_policy == "Retain"
    found = []
    for (kind, name), body in seen.live.items():
        # A Secret without an owner is one that shall survive; those that only repeat others have one.
        kept = kind == "Secret" and keeps_secrets and not _owners(body)
        if kept or (kind, name) in wanted or terminating(body) or name in plan.kept_jobs:
            continue
        if labels_of(body).get(DEPLOYMENT_LABEL) != site.name or _owners(body) not in ([], [site.uid]):
            # Another deployment's, or made by another controller from our templates.
            continue
        part = plan.parts.get(labels_of(body).get(PART_LABEL, ""))
        if part is None or part.write:
            found.append({**body, "kind": kind})
    return found


def _owners(body: Body) -> list[str]:
    return [owner["uid"] for owner in body["metadata"].get("ownerReferences") or () if owner.get("controller")]


def _is_ours(site: Site, body: Body) -> bool:
    """Ours by owner, whatever was done to its labels; or by label, such as what an earlier object of our name left."""
    return site.uid in _owners(body) or labels_of(body).get(DEPLOYMENT_LABEL) == site.name


async def _secrets(this: _Pass) -> dict[str, Mapping[str, str]]:
    """Make, complete and correct the generated Secrets; what all known Secrets hold then, by name, in base64."""
    held: dict[str, Mapping[str, str]] = {name: body.get("data") or {} for name, body in this.seen.secrets.items()}
    held |= {name: body.get("data") or {} for (kind, name), body in this.seen.live.items() if kind == "Secret"}
    found = {need.name: this.seen.live.get(("Secret", need.name)) for need in this.plan.secrets}
    absent = [name for name, body in found.items() if body is None]
    # A label may have been taken off by hand; then the list does not show it.
    looked_up = await asyncio.gather(
        *(this.kube.get("Secret", name, this.site.namespace) for name in absent), return_exceptions=True
    )
    for name, body in zip(absent, looked_up, strict=True):
        if isinstance(body, BaseException):
            if not isinstance(body, KubeError):
                raise body
            this.outcome.errors.append(f"Secret {name}: {body.message}")
            return held
        found[name] = body
    there = {name: body for name, body in found.items() if body is not None}
    drawn = {(marks.own_secret(this.site), marks.MARKS_KEY): this.memory.marks_key}
    values, problems = secret_values(this.plan.secrets, {**this.seen.secrets, **there}, drawn)
    this.outcome.errors.extend(problems)

    async def one(index: int) -> None:
        need = this.plan.secrets[index]
        live = there.get(need.name)
        if live is not None and terminating(live):
            this.outcome.pending += 1
            return
        before = (live or {}).get("data") or {}
        said = {key: value for key, value in values[need.name].items() if key not in need.kept & before.keys()}
        if await correct_secret(this.kube, this.site, need, live, said):
            this.outcome.written += 1
        # Only what was written counts: pods must not restart for a value that they would not find.
        held[need.name] = {**before, **encode(said)}

    await this.do(
        (("Secret", need.name), str(need.name in there), _later(one, index))
        for index, need in enumerate(this.plan.secrets)
    )
    return held


def _manifests(this: _Pass, wanted: Iterable[Manifest]) -> Iterable[Work]:
    for manifest in wanted:
        meta = manifest["metadata"]
        yield (manifest["kind"], meta["name"]), meta["annotations"][DIGEST], _later(_apply_one, this, manifest)


async def _apply_one(this: _Pass, wanted: Manifest) -> None:
    key = (wanted["kind"], wanted["metadata"]["name"])
    live = this.seen.live.get(key)
    if live is None:
        await _create(this.kube, this.site, wanted)
        this.outcome.written += 1
        return
    if not _is_ours(this.site, live):
        other = labels_of(live).get(DEPLOYMENT_LABEL) or "somebody else"
        raise KubeError(409, "NameTaken", f"belongs to {other}; rename it, or rename this VisioDeployment")
    if terminating(live):
        this.outcome.pending += 1
        return
    found = differences(wanted, live)
    settled = (live["metadata"]["uid"], annotations_of(wanted)[DIGEST], found)
    if not found or this.memory.settled.get(key) == settled:
        return
    written = await _write(this.kube, wanted, live)
    if written["metadata"].get("resourceVersion") == live["metadata"].get("resourceVersion"):
        # The server sees no difference where we do, such as a value in its own spelling: do not send it again.
        this.memory.settled[key] = settled
        return
    this.outcome.written += 1


async def _create(kube: Kube, site: Site, wanted: Manifest) -> None:
    """Create by apply without force, so that an object of the same name which is not ours is never taken over."""
    if "patch" not in BY_NAME[wanted["kind"]].verbs:
        # Such as a database that recovers: it is made once, and never ours to change.
        await kube.create(wanted)
        return
    try:
        await kube.apply(with_initial_replicas(wanted), force=False)
        return
    except KubeError as error:
        if not error.conflict:
            raise
    kind, meta = wanted["kind"], wanted["metadata"]
    there = await kube.get(kind, meta["name"], meta.get("namespace"))
    if there is not None and not _is_ours(site, there):
        raise KubeError(409, "NameTaken", "exists and is not ours; rename or delete it, or rename the VisioDeployment")
    await (kube.apply(with_initial_replicas(wanted)) if there is None else _write(kube, wanted, there))


async def _write(kube: Kube, wanted: Manifest, live: Body) -> Body:
    if (kept := kept_replicas(wanted, live, FIELD_MANAGER)) is not None:
        await kube.apply(kept, manager=KEEPER)
    if wanted["kind"] == "Deployment" and (live.get("spec") or {}).get("replicas") == 0:
        # An autoscaler leaves it alone until it has a pod again, which comes with the template that is wanted now.
        wanted = with_initial_replicas(wanted)
    try:
        return await kube.apply(wanted)
    except KubeError as error:
        # A Job's template cannot change: the new one takes the old one's place.
        if wanted["kind"] != "Job" or error.status != 422:
            raise
    await kube.delete("Job", live)
    return await kube.apply(wanted)


def _marks(this: _Pass) -> Iterable[Work]:
    """Pods in or out of service, deletion costs, cordons."""
    for pod in this.plan.pods:
        if patch := pod_patch(pod, this.seen.pods.get(pod.pod)):
            yield ("Pod", pod.pod), digest(patch), _later(_merge, this, "Pod", pod.pod, this.site.namespace, patch)
    for node in this.plan.nodes:
        if patch := node_patch(owner_of(this.site), node, this.seen.nodes.get(node.node)):
            yield ("Node", node.node), digest(patch), _later(_merge, this, "Node", node.node, None, patch)


def _pools(this: _Pass) -> Iterable[Work]:
    """Sizes of pools, and marks on the machines that shall go."""
    owner, seen = owner_of(this.site), this.seen
    for plan in this.plan.pools:
        found = seen.observed.pools.get(plan.name)
        for one in pools.writes(owner, this.site, plan, found, seen.pools.get(plan.name)):
            write = _later(_merge, this, one.kind, one.name, one.namespace, one.patch)
            yield (one.kind, one.name), digest(one.patch), write


async def _merge(this: _Pass, kind: str, name: str, namespace: str | None, patch: Body) -> None:
    try:
        await this.kube.merge(kind, name, namespace, patch)
        this.outcome.written += 1
    except KubeError as error:
        # A pod or node that went meanwhile needs no mark; a pool that went is seen by the next pass.
        if not error.missing:
            raise


async def _prune(this: _Pass, body: Body) -> None:
    try:
        await this.kube.delete(body["kind"], body)
        this.outcome.pruned += 1
    except KubeError as error:
        # Gone already, or changed since it was seen: the next pass looks again.
        if not (error.missing or error.conflict):
            raise
        this.outcome.pending += error.conflict


def _later(function: Callable[..., Awaitable[None]], *arguments: Any) -> Callable[[], Awaitable[None]]:
    return lambda: function(*arguments)
