"""A morning as the laboratory plays it: streams by a schedule, what became of them, and what the nodes cost."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import live
import morning
from visio_operator.runtime.signals import PROXY_METRICS_PORT, parse_gauge
from visio_operator.simulation.world import Figures

SPEED = 60.0
"""Seconds of the planners' clock in one second: a node takes five seconds in place of five minutes."""
BEFORE, AFTER = 10 * 60, 40 * 60
"""Seconds of the planners' clock before and after the meetings."""
SUBTITLES = "app.kubernetes.io/component=subtitles"
MOVES = "visio_captions_moves_total"


@dataclass(frozen=True)
class Bill:
    """What nodes cost between two times: seconds from order to return, how many there were, seconds to each GPU."""

    seconds: float
    nodes: int
    leads: list[float]


def play(lab: Any, namespace: str, found: list[tuple[float, float]]) -> subprocess.Popen[bytes]:
    """Begin to play a day's streams on the agents of a namespace."""
    pods = live.items(lab, "pods", namespace, SUBTITLES)
    agents = [f"--agent-service=http://{pod['status']['podIP']}:8081" for pod in pods]
    schedule = [((at - morning.OPENS + BEFORE) / SPEED, 1, stay / SPEED) for at, stay in found]
    file = lab.directory / f"schedule-{namespace}.json"
    file.write_text(json.dumps(schedule))
    with file.open("rb") as source:
        return lab.enter(
            [sys.executable, "-m", "visio_lab.load", "play", *agents],
            stdin=source, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip


def counters(lab: Any, namespace: str) -> dict[str, float]:
    """What became of all streams, and how many moves there were between servers."""
    total: dict[str, float] = {"moved": 0}
    for pod in live.items(lab, "pods", namespace, SUBTITLES):
        path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}"
        for name, value in json.loads(lab.kubectl("get", "--raw", f"{path}:8081/proxy/lab/streams")).items():
            total[name] = max(total.get(name, 0), value) if name.startswith("longest") else total.get(name, 0) + value
        told = lab.kubectl("get", "--raw", f"{path}:{PROXY_METRICS_PORT}/proxy/metrics")
        total["moved"] += parse_gauge(told, MOVES) or 0
    return total


def bill(lab: Any, pools: str, begins: float, ends: float) -> Bill:
    """What the nodes of all pools whose names begin with `pools` cost between two unix times."""
    ordered: dict[str, float] = {}
    paid, nodes, leads = 0.0, 0, []
    for line in (lab.directory / "cloud.jsonl").read_text().splitlines():
        event = json.loads(line)
        if not event["pool"].startswith(pools) or event["t"] > ends:
            continue
        if event["event"] == "ordered":
            ordered[event["node"]] = event["t"]
        elif event["event"] == "gpu":
            leads.append(event["t"] - ordered[event["node"]])
        elif event["event"] == "returned" and (at := ordered.pop(event["node"])) is not None and event["t"] > begins:
            paid += event["t"] - max(at, begins)
            nodes += 1
    return Bill(paid + sum(ends - max(at, begins) for at in ordered.values()), nodes + len(ordered), leads)


@dataclass(frozen=True)
class Row:
    """One way to run the morning; None is what it does not know."""

    name: str
    hours: float
    """Of GPU nodes on the planners' clock, from order to return."""
    nodes: int
    streams: int
    served: int
    waited: int
    """Played: over one second, which is a minute of the planners' clock. Simulated: no slot in the step of 30 s."""
    longest: float | None
    """Seconds of the planners' clock that a stream waited."""
    lost: int
    """Refused, cut, or given up. Who is neither served nor lost still talked at the end."""
    ended: int | None
    """Of those, had begun and were cut; simulated: were on a server that was taken away."""
    moved: int | None = None
    missed: int | None = None
    repeated: int | None = None
    """Words of the streams that never came, and that came twice."""


def played(name: str, bill: Bill, found: dict[str, float], streams: int) -> Row:
    """The row of a morning in the laboratory."""
    return Row(
        name,
        SPEED * bill.seconds / 3600,
        bill.nodes,
        streams,
        int(found["done"]),
        int(found["waited"]),
        SPEED * found["longest_wait_s"],
        int(found["cut"] + found["refused"]),
        int(found["cut"]),
        int(found["moved"]),
        int(found["missed"]),
        int(found["repeated"]),
    )


def simulated(name: str, figures: Figures) -> Row:
    """The row of a morning in `simulate`."""
    served = figures.streams - figures.lost - figures.ended
    lost = figures.lost + figures.ended
    hours = figures.server_seconds / 3600
    return Row(name, hours, figures.orders, figures.streams, served, figures.waited, None, lost, figures.ended)


COLUMNS = (
    "", "GPU h", "nodes", "streams", "served", "waited", "longest wait", "lost", "cut", "moves", "words missed", "twice"
)  # fmt: skip


def table(rows: list[Row]) -> str:
    """All rows as text."""

    def known(value: float | None) -> str:
        return "-" if value is None else f"{value:.0f}"

    lines = [COLUMNS]
    for row in rows:
        waited = "-" if row.longest is None else f"{row.longest:.0f} s"
        counted = (row.nodes, row.streams, row.served, row.waited)
        ends = (row.lost, row.ended, row.moved, row.missed, row.repeated)
        lines.append((row.name, f"{row.hours:.2f}", *map(known, counted), waited, *map(known, ends)))
    widths = [max(len(line[column]) for line in lines) for column in range(len(COLUMNS))]
    return "\n".join(
        "  ".join(text.rjust(width) if place else text.ljust(width) for place, (text, width) in enumerate(cells))
        for cells in (list(zip(line, widths, strict=True)) for line in lines)
    )
