"""What was learned of the lead of each pool, kept in status: the status is the only store, so nothing is counted twice
whatever pass is lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from visio_operator.plan.observed import Observed
from visio_operator.plan.stages import learn_stages, restore_stages


def lead_status(
    previous: Mapping[str, Any], pool: str, observed: Observed, ordered: Mapping[str, float], now: float
) -> dict[str, Any]:
    """`lead` of an entry of `status.pools`; nothing before the first server has come. `ordered` is when each node was
    ordered, by name, as far as it is known.
    """
    old: Mapping[str, Any] = next((entry for entry in previous.get("pools") or () if entry["name"] == pool), {})
    learned = learn_stages(restore_stages(old.get("lead")), pool, observed, now, ordered)
    return {"lead": learned.state()} if learned.whole.count else {}
