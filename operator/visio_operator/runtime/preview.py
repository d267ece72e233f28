"""What a plan would change in the cluster, asked of the API server by dry runs: nothing is written.

A dry run tells the truth about defaults and about fields that are no longer applied, which a comparison here could not.
It needs the right to patch these objects. What the operator would not even send is not asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from visio_operator.plan.impact import Change, FieldChange
from visio_operator.plan.plan import Plan, SecretNeed
from visio_operator.workloads.adoption import NOTHING_WAITS, RENDERED_BY, Waiting, is_time, settle
from visio_operator.workloads.changes import CHANGED, change
from visio_operator.workloads.common import DEPLOYMENT_LABEL, Manifest, Site
from visio_operator.workloads.restarts import with_secrets_digest

from . import marks
from .apply import superfluous, with_digest
from .compare import differences
from .generated import secret_values
from .kube import FIELD_MANAGER, Kube, KubeError
from .memory import Memory
from .observe import Snapshot
from .projections import annotations_of, labels_of, terminating
from .replicas import kept_replicas
from .secret_values import encode
from .version import OPERATOR_VERSION

Body = Mapping[str, Any]

CONCURRENCY = 12


@dataclass(frozen=True)
class Preview:
    """The changes, and what the API server or the names in the namespace refuse."""

    changes: tuple[Change, ...]
    refused: tuple[str, ...] = ()
    waiting: Waiting = NOTHING_WAITS
    """What this version renders differently and would leave as it is."""
    other_version: str = ""
    """The version of the operator that rendered what is live, where it is not this one."""


async def preview(
    kube: Kube,
    site: Site,
    plan: Plan,
    manifests: Sequence[Manifest],
    seen: Snapshot,
    memory: Memory,
    *,
    same_spec: bool,
    now: float,
) -> Preview:
    """What applying these manifests would change. Raises KubeError when the user may not ask or nobody answers."""
    secrets, held = secret_changes(site, plan, seen, memory)
    marked = marks.marks(marks.marks_key(site, seen.live, memory), held)
    settled = settle(
        site,
        manifests,
        seen.live,
        OPERATOR_VERSION,
        FIELD_MANAGER,
        same_spec=same_spec,
        adopt=is_time(site.spec, plan, now),
        approved=seen.observed.approved_upgrade,
    )
    slots = asyncio.Semaphore(CONCURRENCY)

    async def one(manifest: Manifest) -> Change | str | None:
        live = seen.live.get((manifest["kind"], manifest["metadata"]["name"]))
        wanted = with_digest(with_secrets_digest(manifest, marked, live))
        async with slots:
            return await _ask(kube, site, wanted, live)

    answers = await asyncio.gather(*(one(manifest) for manifest in settled.manifests))
    gone = (
        change({**body, "metadata": body["metadata"]}, None)
        for body in superfluous(site, plan, settled.manifests, seen)
        if (body["kind"], body["metadata"]["name"]) not in settled.kept
    )
    found = [*secrets, *(one for one in answers if isinstance(one, Change)), *(one for one in gone if one is not None)]
    refused = tuple(one for one in answers if isinstance(one, str))
    return Preview(tuple(found), refused, settled.waiting, _other_version(site, seen))


def _other_version(site: Site, seen: Snapshot) -> str:
    mine = (body for body in seen.live.values() if labels_of(body).get(DEPLOYMENT_LABEL) == site.name)
    found = {annotations_of(body).get(RENDERED_BY, "") for body in mine}
    return max(found - {"", OPERATOR_VERSION}, default="")


async def _ask(kube: Kube, site: Site, wanted: Manifest, live: Body | None) -> Change | str | None:
    """The change of one object, or why it is refused."""
    kind, name = wanted["kind"], wanted["metadata"]["name"]
    if live is None or terminating(live):
        if not await kube.serves(kind):
            return f"{kind} {name}: its CRD is not installed; install it first"
        return change(None, wanted)
    if labels_of(live).get(DEPLOYMENT_LABEL, site.name) != site.name:
        return (
            f"{kind} {name}: belongs to {labels_of(live)[DEPLOYMENT_LABEL]}; rename it, or rename this VisioDeployment"
        )
    if not differences(wanted, live):
        return None
    before = {**live, "kind": kind}
    if (kept := kept_replicas(wanted, live, FIELD_MANAGER)) is not None:
        # Handed over to whoever holds the number from then on: it does not change.
        wanted = {**wanted, "spec": {**wanted["spec"], **kept["spec"]}}
    try:
        return change(before, {**await kube.preview(wanted), "kind": kind})
    except KubeError as error:
        if error.status == 422 and kind == "Job":
            # A Job's template cannot change: the new one takes the old one's place.
            return change(before, wanted, "replace")
        if error.status in (400, 422):
            return f"{kind} {name}: {error.message}"
        raise


def secret_changes(
    site: Site, plan: Plan, seen: Snapshot, memory: Memory
) -> tuple[list[Change], dict[str, Mapping[str, str]]]:
    """The generated Secrets that would be made or changed, by key and without values; and what all would hold then, in
    base64, for the marks of those who read them.
    """
    held: dict[str, Mapping[str, str]] = {name: body.get("data") or {} for name, body in seen.secrets.items()}
    held |= {name: body.get("data") or {} for (kind, name), body in seen.live.items() if kind == "Secret"}
    there = {need.name: body for need in plan.secrets if (body := seen.live.get(("Secret", need.name))) is not None}
    drawn = {(marks.own_secret(site), marks.MARKS_KEY): memory.marks_key}
    values, _ = secret_values(plan.secrets, {**seen.secrets, **there}, drawn)
    found = []
    for need in plan.secrets:
        before = (there.get(need.name) or {}).get("data") or {}
        said = {key: value for key, value in values[need.name].items() if key not in need.kept & before.keys()}
        held[need.name] = {**before, **encode(said)}
        fields = tuple(_secret_fields(need, before, said))
        if need.name not in there:
            found.append(Change("Secret", need.name, need.part, fields, restarts=False, action="create"))
        elif fields:
            found.append(Change("Secret", need.name, need.part, fields, restarts=False))
    return found, held


def _secret_fields(need: SecretNeed, before: Mapping[str, str], said: Iterable[str]) -> Iterable[FieldChange]:
    for key in said:
        yield FieldChange(f"data.{key}", CHANGED if key in before else "", CHANGED)
    if need.derived:
        for key in sorted(before.keys() - set(need.composed) - need.kept):
            yield FieldChange(f"data.{key}", CHANGED, "")
