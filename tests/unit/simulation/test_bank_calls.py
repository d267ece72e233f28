"""The planner over calls that real people made: a load that no generator of ours has shaped."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from live import ROOT, limit
from visio_operator.plan.foresight import Foresight
from visio_operator.plan.servers import Limits
from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.oracle import oracle_seconds
from visio_operator.simulation.read_trace import read_streams
from visio_operator.simulation.trace import STEP
from visio_operator.simulation.world import World

MEAN_MINUTES = 30.0
"""How long a stream lasts; the series only has when calls came."""
DAY = 86_400
HISTORY, COUNTED = 28 * DAY, 14 * DAY
UV = ("run", "--isolated", "--quiet", "--frozen", "--only-group", "series")


@pytest.fixture(scope="module")
def calls() -> list[str]:
    """The rows of the first six weeks; downloaded, as the series may not be shipped."""
    program = Path(__file__).with_name("bank_calls.py")
    argv = [os.environ.get("UV", "uv"), *UV, "python", str(program)]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the series could not be had: {done.stderr}"
    header, *rows = done.stdout.splitlines()
    first = float(rows[0].partition(",")[0])
    return [header, *(row for row in rows if float(row.partition(",")[0]) < first + HISTORY + COUNTED)]


@pytest.mark.parametrize(("seed", "part"), [(1, 1.0), (3, 1.0), (2, 0.44)])
def test_calls_to_a_bank_after_four_weeks_of_history(calls: list[str], seed: int, part: float) -> None:
    """Up to 2,300 streams at once, and 1,000 with 0.44 of the calls. The seed is of their lengths and of the orders."""
    rows = [calls[0], *(f"{at},{round(int(came) * part)}" for at, _, came in (row.partition(",") for row in calls[1:]))]
    trace = read_streams(rows, MEAN_MINUTES, seed)
    figures = World(trace, 64, Cloud(), seed, rehome=True).run(Foresight(Limits()).step, HISTORY // STEP)
    ratio = figures.server_seconds / oracle_seconds(trace.offered(), 64, 300, HISTORY // STEP)
    print(f"waited {figures.waited_share:.4%} of {figures.streams}, lost {figures.lost}, {ratio:.3f} of the oracle")
    assert figures.streams > 100_000
    assert (figures.lost, figures.ended) == (0, 0)
    assert figures.waited_share <= limit("captionsWaited")
    assert ratio <= limit("captionsHoursOfOracle")
