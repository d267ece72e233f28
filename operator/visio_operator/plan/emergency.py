"""Emergency stop: the plan of an operator that must not write anything but status."""

from __future__ import annotations

from dataclasses import replace

from visio_operator.api.spec import VisioDeploymentSpec

from .conditions import Findings, conditions
from .observed import Observed
from .order import part_set
from .pace import Pace
from .plan import PartPlan, Plan
from .reasons import Reason
from .upgrade import Course

STOPPED = "spec.emergencyStop is true: nothing is written but status; set it to false to go on"


def stopped_plan(spec: VisioDeploymentSpec, observed: Observed, course: Course, pace: Pace) -> Plan:
    """What is there stays as it is, at any step of anything. Nothing is remembered that was not done.

    Whether the deployment is Ready is a question of its parts, as always.
    """
    parts = {}
    for part in part_set(spec):
        there = observed.workloads.get(part)
        parts[part] = PartPlan(part, there.desired if there else 0, write=False, waiting_for="waits: " + STOPPED)
    upgrade = course.upgrade
    if upgrade is not None:
        held = (Reason.EMERGENCY_STOP, STOPPED)
        upgrade = replace(upgrade, held=held, next_start=None, job=None, taken_back="", restores="")
    found = Findings(
        observed=observed,
        parts=parts,
        release=course.release,
        part_releases=course.parts,
        upgrade=upgrade,
        stopped=STOPPED,
    )
    stated = conditions(found)
    return Plan(
        release=course.release,
        part_releases=course.parts,
        upgrade=upgrade,
        kept_jobs=course.kept_jobs,
        parts=parts,
        conditions=stated,
        recheck_after=pace.idle,
        trace=(f"1 {STOPPED}", f"2 {course.trace}", *(f"8 {item.type}={item.status} {item.reason}" for item in stated)),
        planners=observed.planners,
        memory=observed.memory,
        stopped=True,
    )
