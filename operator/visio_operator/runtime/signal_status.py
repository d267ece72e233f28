"""The health of the signals in status and in the operator's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from visio_operator.api.status import MESSAGE_LENGTH
from visio_operator.plan.health import signal_health
from visio_operator.plan.observed import Observed
from visio_operator.plan.pace import Pace

from . import metrics


def signal_status(
    previous: Iterable[Mapping[str, Any]], observed: Observed, now: float, at: str, pace: Pace
) -> list[dict[str, Any]]:
    """The entries of `status.signals`; `at` is now in the form of the API.

    `since` moves only when a signal comes or goes, never with a reading.
    """
    before = {entry["name"]: entry for entry in previous}
    entries = []
    for signal in signal_health(observed, now, pace):
        state, old = "Missing" if signal.problem else "Fresh", before.get(signal.name)
        same = old is not None and old["state"] == state
        entries.append(
            {
                "name": signal.name,
                "source": signal.source,
                "state": state,
                "since": old["since"] if old is not None and same else at,
                "message": signal.problem[:MESSAGE_LENGTH],
                "sourceReason": signal.source_reason[:MESSAGE_LENGTH],
            }
        )
    return entries


def publish_ages(observed: Observed, now: float, pace: Pace) -> None:
    """Let the operator's metrics tell how old each reading is."""
    times = {signal.name: signal.read_at for signal in signal_health(observed, now, pace)}
    metrics.set_signals(f"{observed.namespace}/{observed.name}", times)
