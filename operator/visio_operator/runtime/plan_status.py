"""What waits, as status says it: the proposal of pools, the upgrade, the rendering of a new version of the operator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Any

from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.api.status import MESSAGE_LENGTH
from visio_operator.plan.impact import UpgradeImpact
from visio_operator.plan.plan import Condition, Proposal, RestorePlan, euros_text
from visio_operator.plan.reasons import RENDERING_PENDING, Reason
from visio_operator.workloads.adoption import NOTHING_WAITS, Waiting

from .projections import instant

_NAMED = 6
"""Parts that a message names before it only counts them."""


@dataclass(frozen=True)
class Undone:
    """What a pass has left for later, beside the proposal of its plan."""

    rendering: Waiting = NOTHING_WAITS
    upgrade: UpgradeImpact | None = None


NOTHING_UNDONE = Undone()


def planned(proposal: Proposal | None, undone: Undone, restore: RestorePlan | None = None) -> dict[str, Any]:
    """`status.plan`; empty when nothing waits."""
    status = _proposal(proposal) if proposal is not None else {}
    if undone.upgrade is not None:
        status["upgrade"] = _upgrade(undone.upgrade)
    if waiting := undone.rendering:
        status["rendering"] = {
            "operator": waiting.version,
            "digest": waiting.digest,
            "objects": len(waiting.objects),
            "restarts": _restarts(waiting.pods),
        }
    if restore is not None:
        status["restore"] = {
            "digest": restore.digest,
            "backup": restore.backup,
            "savedAt": instant(restore.saved_at),
            "by": restore.by,
            "stops": list(restore.stops),
            "minutes": ceil(restore.seconds / 60),
        }
    return status


def rendering_pending(waiting: Waiting, spec: VisioDeploymentSpec) -> Condition:
    """Whether a new version of the operator would render pods differently, and what it waits for."""
    if not waiting:
        message = "all pods are as this version of the operator renders them"
        return Condition(RENDERING_PENDING, "False", Reason.RENDERING_CURRENT.value, message)
    reason, awaited = _awaited(spec)
    parts = [f"{part} {count}" for part, count in waiting.pods.items()]
    more = f" and {len(parts) - _NAMED} more parts" if len(parts) > _NAMED else ""
    message = (
        f"operator {waiting.version} renders {len(waiting.objects)} objects differently, which would restart "
        f"{sum(waiting.pods.values())} pods ({', '.join(parts[:_NAMED])}{more}); nothing is restarted: it waits for "
        f"{awaited}"
    )
    return Condition(RENDERING_PENDING, "True", reason.value, message[:MESSAGE_LENGTH])


def _awaited(spec: VisioDeploymentSpec) -> tuple[Reason, str]:
    if spec.upgrade.mode == "Approve":
        return (
            Reason.APPROVAL_NEEDED,
            "approval of the digest in status.plan.rendering, or spec.upgrade.adoptRendering: Now",
        )
    if spec.upgrade.windows:
        return Reason.OUTSIDE_WINDOW, "the next of spec.upgrade.windows"
    return (
        Reason.APPROVAL_NEEDED,
        "approval of the digest in status.plan.rendering, a window in spec.upgrade.windows, or "
        "spec.upgrade.adoptRendering: Now",
    )


def _upgrade(impact: UpgradeImpact) -> dict[str, Any]:
    calls = impact.calls
    known = {"rooms": calls.rooms, "participants": calls.participants, "streams": calls.streams}
    return {
        "digest": impact.digest,
        "rungs": [
            {"version": rung.version, "minutes": ceil(rung.seconds / 60), "restarts": _restarts(rung.restarts)}
            for rung in impact.rungs
        ],
        **{key: value for key, value in known.items() if value is not None},
        "recordings": calls.recordings,
        "transcriptions": calls.transcriptions,
        "minutes": ceil(impact.seconds / 60),
        "nodes": sum(change.after - change.before for change in impact.pools),
        "eurosPerDay": euros_text(impact.euros_per_day),
    }


def _restarts(pods: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"name": part, "pods": count} for part, count in pods.items()]


def _proposal(proposal: Proposal) -> dict[str, Any]:
    pools = [
        {
            "name": change.pool,
            "fromNodes": change.before,
            "toNodes": change.after,
            "eurosPerDay": change.euros_text,
            "reason": change.reason[:MESSAGE_LENGTH],
        }
        for change in proposal.changes
    ]
    return {
        "digest": proposal.digest,
        "approvable": proposal.approvable,
        "pools": pools,
        "eurosPerDay": proposal.euros_text,
    }
