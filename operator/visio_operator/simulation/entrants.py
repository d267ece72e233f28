"""Who is compared: the planner, and what others would do with the same trace."""

from __future__ import annotations

from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Limits

from .baselines import static_peak, utilization
from .study import Entrant
from .trace import Streams


def entrants(limits: Limits, trace: Streams, moving: bool) -> list[Entrant]:
    """The planner first. The others have least-connections routing and streams that stay, as they come."""
    return [
        Entrant("visio-operator", Foresight(limits).step, moving, spread=False),
        Entrant("HPA at 60 %", utilization(limits, 0.6), moves=False, spread=True),
        Entrant("HPA at 80 %", utilization(limits, 0.8), moves=False, spread=True),
        Entrant("static peak", static_peak(limits, max(trace.offered())), moves=False, spread=True),
    ]
