"""Plays Prometheus' HTTP API, with as much of the query language as the operator uses, and its flaws on demand.

As a process: `python prometheus_stand_in.py PORT FILE`, where FILE holds `[[labels, value], ...]` and is read at every
question; each value is then a sample of this moment.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

_SELECTOR = re.compile(r"\{(?P<matchers>.*)\}\[(?P<window>[0-9]+)(?P<unit>[sm])\]")
_MATCHER = re.compile(r'(?P<label>\w+)(?P<how>=~|=)(?P<value>"(?:[^"\\]|\\.)*")')

Series = tuple[dict[str, str], list[tuple[float, str]]]


def scraped(pod: str, at: float, values: dict[str, Any], **target: str) -> list[Series]:
    """What one scrape of a pod brings: `up`, and each metric; a key may bear labels, as `name{type="a"}`."""
    common = {"namespace": "visio", "pod": pod, "job": "visio", "instance": f"{pod}:1", **target}
    found: list[Series] = [({"__name__": "up", **common}, [(at, "1")])]
    for key, value in values.items():
        name, _, labels = key.partition("{")
        own = dict(re.findall(r'(\w+)="([^"]*)"', labels))
        found.append(({"__name__": name, **common, **own}, [(at, str(value))]))
    return found


@dataclass
class PrometheusStandIn:
    """The state of one server."""

    series: list[Series] = field(default_factory=list)
    load: Callable[[float], float | None] = lambda _: None
    """What a range query gives at a time; None for no sample."""
    fault: Callable[[web.Request], web.StreamResponse] | None = None
    """Answers instead, with whatever is wrong."""
    delay: float = 0.0
    file: Path | None = None
    asked: list[web.Request] = field(default_factory=list)

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/api/v1/query", self.query)
        application.router.add_get("/api/v1/query_range", self.query_range)
        return application

    async def query(self, request: web.Request) -> web.StreamResponse:
        if (wrong := await self._wrong(request)) is not None:
            return wrong
        found = _SELECTOR.fullmatch(request.query["query"])
        if found is None:
            return error(400, "bad_data", 'invalid parameter "query": parse error')
        matchers = [(m["label"], m["how"], json.loads(m["value"])) for m in _MATCHER.finditer(found["matchers"])]
        now = time.time()
        since = now - int(found["window"]) * (60 if found["unit"] == "m" else 1)
        if self.file is not None:
            self.series = [(labels, [(now, str(value))]) for labels, value in json.loads(self.file.read_text())]
        result = [
            {"metric": labels, "values": [[at, value] for at, value in samples if at > since]}
            for labels, samples in self.series
            if all(_matches(labels.get(label, ""), how, value) for label, how, value in matchers)
        ]
        return matrix([one for one in result if one["values"]])

    async def query_range(self, request: web.Request) -> web.StreamResponse:
        if (wrong := await self._wrong(request)) is not None:
            return wrong
        start, end, step = (float(request.query[name]) for name in ("start", "end", "step"))
        times = [start + number * step for number in range(int((end - start) / step + 1e-6) + 1)]
        if len(times) > 11_000:
            return error(400, "bad_data", "exceeded maximum resolution of 11,000 points per timeseries")
        values = [[at, str(load)] for at in times if (load := self.load(at)) is not None]
        return matrix([{"metric": {}, "values": values}] if values else [])

    async def _wrong(self, request: web.Request) -> web.StreamResponse | None:
        self.asked.append(request)
        await asyncio.sleep(self.delay)
        return self.fault(request) if self.fault is not None else None


def _matches(value: str, how: str, wanted: str) -> bool:
    return value == wanted if how == "=" else re.fullmatch(wanted, value) is not None


def matrix(result: list[dict[str, Any]]) -> web.Response:
    return web.json_response({"status": "success", "data": {"resultType": "matrix", "result": result}})


def error(status: int, kind: str, text: str) -> web.Response:
    """As Prometheus words an error."""
    return web.json_response({"status": "error", "errorType": kind, "error": text}, status=status)


if __name__ == "__main__":
    web.run_app(
        PrometheusStandIn(file=Path(sys.argv[2])).application(), host="127.0.0.1", port=int(sys.argv[1]), print=None
    )
