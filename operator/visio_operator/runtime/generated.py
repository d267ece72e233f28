"""Write generated Secrets: created once, completed when a key is missing, never overwritten where a value is random."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from visio_operator.plan.plan import SecretNeed
from visio_operator.workloads.common import DEPLOYMENT_LABEL, MANAGED_BY, Site, metadata

from .kube import Kube, KubeError
from .projections import labels_of
from .secret_values import decode, encode, fill

Body = dict[str, Any]


def secret_values(
    needs: Iterable[SecretNeed], live: Mapping[str, Body], drawn: Mapping[tuple[str, str], str]
) -> tuple[dict[str, dict[str, str]], tuple[str, ...]]:
    """What each needed Secret must additionally say, given the live ones by name; and what cannot be composed."""
    return fill(needs, {name: decode(body.get("data")) for name, body in live.items()}, drawn=drawn)


async def correct_secret(
    kube: Kube, site: Site, need: SecretNeed, live: Body | None, values: Mapping[str, str]
) -> bool:
    """Create a Secret, or add what it lacks; True when something was written."""
    # What only repeats other Secrets, the user's among them, must not outlive the deployment.
    meta = metadata(site, need.part, need.name, owned=need.derived or site.spec.deletion_policy == "Delete")
    if live is None:
        await kube.create(
            {"apiVersion": "v1", "kind": "Secret", "type": "Opaque", "metadata": meta, "data": encode(values)}
        )
        return True
    labels = labels_of(live)
    if labels.get(DEPLOYMENT_LABEL, site.name) != site.name:
        raise KubeError(409, "NameTaken", "belongs to another VisioDeployment; rename one of the two")
    if DEPLOYMENT_LABEL not in labels and labels.get("app.kubernetes.io/managed-by") != MANAGED_BY:
        raise KubeError(409, "NameTaken", "exists and is not ours; rename or delete it, or rename the VisioDeployment")
    patch: Body = {}
    left_over = set(live.get("data") or ()) - set(need.composed) - need.kept if need.derived else set()
    if values or left_over:
        patch["data"] = {**encode(values), **dict.fromkeys(left_over)}
    if correction := _metadata_patch(meta, live["metadata"]):
        patch["metadata"] = correction
    if patch:
        await kube.merge("Secret", need.name, site.namespace, patch)
    return bool(patch)


def _metadata_patch(wanted: Body, live: Body) -> Body:
    """What metadata must say: our labels, and our owner reference exactly under deletionPolicy Delete."""
    patch: Body = {}
    labels = live.get("labels") or {}
    if missing := {key: value for key, value in wanted["labels"].items() if labels.get(key) != value}:
        patch["labels"] = missing
    owners = wanted.get("ownerReferences") or []
    if [owner.get("uid") for owner in live.get("ownerReferences") or ()] != [owner["uid"] for owner in owners]:
        patch["ownerReferences"] = owners
    return patch
