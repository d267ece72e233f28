"""What status says of an upgrade. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visio_operator.api.status import MESSAGE_LENGTH
from visio_operator.plan.plan import Plan

from .projections import instant

_BLOCKERS = 20


def upgrade_status(
    previous: Mapping[str, Any], wanted: str, plan: Plan, now: float, *, all_ready: bool
) -> dict[str, Any]:
    """`status.upgrade`, with the times that stay as long as what they are about; empty before a release runs.

    Args:
        previous: the status before.
        wanted: `spec.version`.
        plan: the decision; a plan that refuses the spec leaves what was said before.
        now: the time of this pass in unix seconds.
        all_ready: whether all parts run the release of the plan and are ready.
    """
    before: Mapping[str, Any] = previous.get("upgrade") or {}
    if plan.release is None or plan.invalid:
        return {"upgrade": dict(before)} if before else {}
    upgrade = plan.upgrade
    running = upgrade.running if upgrade else plan.release.version
    said: dict[str, Any] = {"from": running, "to": wanted}
    if since := _running_since(before, running, instant(now), settled=all_ready and not (upgrade and upgrade.rung)):
        said["runningSince"] = since
    if approved := plan.approved_upgrade or before.get("approved"):
        said["approved"] = approved
    if restored := plan.approved_restore or before.get("approvedRestore"):
        said["approvedRestore"] = restored
    if upgrade is not None:
        reason, message = upgrade.held or ("", upgrade.waits_for)
        state = {"rung": upgrade.rung, "step": upgrade.step, "held": str(reason)}
        same = before.get("since") and all(before.get(key, "") == value for key, value in state.items())
        said |= {key: value for key, value in state.items() if value}
        said["since"] = before["since"] if same else instant(now)
        said["path"] = list(upgrade.path)
        said["message"] = message[:MESSAGE_LENGTH]
        if upgrade.next_start is not None:
            said["nextStart"] = instant(upgrade.next_start)
        if upgrade.approval:
            said["approvalDigest"] = upgrade.approval
        if upgrade.blockers:
            said["blockers"] = [blocker[:MESSAGE_LENGTH] for blocker in upgrade.blockers[:_BLOCKERS]]
    return {"upgrade": said}


def _running_since(before: Mapping[str, Any], running: str, now: str, *, settled: bool) -> str:
    """Since when a release runs; empty while an installation is not finished.

    A rung ends when its release was verified, so that a release that follows another one runs from then on.
    """
    known = str(before.get("runningSince") or "")
    if known and before.get("from") == running:
        return known
    return now if known or settled else ""
