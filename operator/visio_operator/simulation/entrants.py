"""Who is compared: the planner, and what others would do with the same trace."""

from __future__ import annotations

from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Limits

from .baselines import learn_office, office_hours, static_peak, steps, two_windows, utilization
from .cloud import Cloud
from .compare import Entrant
from .oracle import clairvoyant, usual_insight
from .trace import Streams

FORESEES = "knows the streams"


def entrants(limits: Limits, trace: Streams, cloud: Cloud, history: int, moving: bool) -> list[Entrant]:
    """The planner first. The others have least-connections routing and streams that stay, as they come; only who knows
    the streams to come has what the planner has, and the same orders that are late or fail.

    The static peak looks at the whole trace, too; the cron window is learned from the `history` steps.
    """
    offered = trace.offered()
    office = learn_office(offered[:history], trace.start, limits, 0.6)
    return [
        Entrant("visio-operator", Foresight(limits).step, moving, spread=False),
        Entrant("HPA at 60 %", utilization(limits, 0.6)),
        Entrant("HPA at 80 %", utilization(limits, 0.8)),
        Entrant("KEDA cron and 60 %", office_hours(limits, 0.6, office)),
        Entrant("Knative windows", two_windows(limits)),
        Entrant("Jitsi steps", steps(limits)),
        Entrant("static peak", static_peak(limits, max(offered))),
        Entrant(FORESEES, clairvoyant(trace, limits.slots, cloud, usual_insight(moving)), moving, spread=False),
    ]
