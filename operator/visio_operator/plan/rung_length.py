"""How long a rung is expected to take: as long as its steps took the last time, else as long as steps usually take."""

from __future__ import annotations

from collections.abc import Mapping

from visio_operator.api.fields import seconds
from visio_operator.api.spec import VisioDeploymentSpec

STEP_SECONDS: Mapping[str, float] = {
    "check": 60,
    "backup": 300,
    "migrate": 120,
    "api": 120,
    "summary": 60,
    "agents": 60,
    "captions": 60,
    "frontend": 60,
    "canary": 60,
    "media": 60,
    "services": 30,
    "verify": 120,
}
"""How long each step is expected to take before this deployment has climbed a rung, in seconds. They are guesses on the
long side: a Job or a rollout of small pods is a minute or two, a base backup of a small database five. That of the
canary comes on top of `spec.upgrade.canaryFor`. The media step counts with its start alone, since a drain may outlast
the window."""
MOST = 10.0
"""How many times the usual length is believed of a step. One that took longer waited for people or for an operator that
was away; without a bound the next rung would then fit into no window, and nothing would ever be learned again."""
TOOK = "upgrade.took."
"""How long a step took in the last rung, by its name."""
_BEGAN = "upgrade.began."
"""When the step that is under way began."""
ENDLESS = frozenset({"media"})
"""Steps whose length is that of the calls that run."""


def expected_seconds(spec: VisioDeploymentSpec, memory: Mapping[str, float]) -> float:
    """How long a rung is expected to take, drains left out.

    The last rung may have had no canary, where media servers stayed as they were, so that one counts in any case.
    """
    upgrade = spec.upgrade
    steps = [step for step in STEP_SECONDS if step != "canary"]
    known = {step: memory[TOOK + step] for step in steps if step not in ENDLESS and TOOK + step in memory}
    canary = seconds(upgrade.canary_for) + STEP_SECONDS["canary"] if upgrade.canary else 0.0
    return canary + sum(known.get(step, STEP_SECONDS[step]) for step in steps)


def length_memory(memory: Mapping[str, float], step: str, now: float, *, held: bool = False) -> dict[str, float]:
    """What is known of the length of steps, in a pass that finds `step` under way; empty text for none.

    A step that was held teaches nothing: it waited for somebody.
    """
    known = {key: value for key, value in memory.items() if key.startswith(TOOK)}
    for key, since in memory.items():
        ended = key.removeprefix(_BEGAN)
        if key.startswith(_BEGAN) and ended != step and ended in STEP_SECONDS:
            known[TOOK + ended] = round(min(now - since, MOST * STEP_SECONDS[ended]), 1)
    if step and not held:
        known[_BEGAN + step] = memory.get(_BEGAN + step, now)
    return known
