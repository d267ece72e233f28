"""The page of `simulate`: whole without anything else, safe against what users name, and equal to the JSON."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from live import ROOT
from visio_operator.cli import main
from visio_operator.simulation.charts import frontier_charts, nice_top
from visio_operator.simulation.report import page
from visio_operator.simulation.study import (
    Announced,
    Line,
    Point,
    Recordings,
    RecordingsLine,
    Setting,
    Span,
    Study,
    Track,
)

HOSTILE = '"><script src=//evil.example/x.js></script>&{{ 7*7 }}'
VOID = {"meta", "link", "br", "hr", "img", "input"}
START = 1_767_571_200.0
SETTING = Setting(
    None, ("Lead times.",), 64, None, None, 300.0, 480.0, 10.0, True, 1, (), "trace.csv", START, 1.0, 0
)  # fmt: skip
SPAN = Span(START, 43_200, (3, 130), (Track("ours", (64, 192), (1.0, 3.5), (0, 2)),))
STUDY = Study(300.0, SETTING, (Line("ours", 54.0, None, 0.25, 1.5, 1, 0, 4, 12.5, None),), SPAN, SPAN)
FRONTIER = tuple(
    Point(lead, policy, f"setting {number}", hours, 1.5, waited, 0, 0, None)
    for lead in (120.0, 900.0)
    for policy in ("visio-operator", "HPA")
    for number, (hours, waited) in enumerate([(100.0, 2.5), (150.0, 0.04), (200.0, 0.0)])
)
RECORDINGS = Recordings(
    9, 5.0, 0.4, 600.0, 14.0, 60.0, (RecordingsLine("ours", 1, 11.1111, 76.54, 0.5, 0, 3, 2, 1.25),), SPAN, SPAN
)
FULL = replace(STUDY, frontier=FRONTIER, recordings=RECORDINGS, setting=replace(SETTING, recordings_from="jobs.csv"))


class Page(HTMLParser):
    """What a page is made of; complains about elements that are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self.rows: list[list[str]] = []
        self.values: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag == "data":
            self.values.append(dict(attrs)["value"] or "")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if self.open and {"td", "th"} & set(self.open) and self.rows:
            self.rows[-1][-1] += data


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    """A night of a few streams, each an hour long."""
    path = tmp_path / "trace.csv"
    rows = [f"{1_767_571_200 + 60 * each},3600" for each in range(40)]
    path.write_text("\n".join(["time,duration", *rows]))
    return path


@pytest.mark.parametrize("study", [STUDY, FULL, Study(300.0, SETTING, recordings=RECORDINGS)])
def test_the_page_needs_nothing_else(study):
    text = page(study)
    read = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert not {"script", "link", "img", "iframe", "object"} & read.tags
    assert not [pair for pair in read.attributes if pair[0] in ("src", "href", "xlink:href") or "://" in pair[1]]
    assert not re.search(r"@import|url\(", text)
    assert "default-src 'none'" in text


def test_every_chart_says_what_it_shows():
    text = page(FULL)
    charts = re.findall(r"<svg [^>]*>", text)
    assert len([each for each in charts if 'role="img"' in each]) == 3 + 2 + 3
    assert all('aria-label="' in each or 'aria-hidden="true"' in each for each in charts)


def test_what_users_name_stays_text():
    entry = Announced(HOSTILE, 1_767_571_200.0, 1_767_574_800.0, 5)
    text = page(
        replace(FULL, setting=replace(FULL.setting, streams_from=HOSTILE, recordings_from=HOSTILE, calendar=(entry,)))
    )
    read = Page(text)
    assert "script" not in read.tags
    assert text.count("&lt;script src=//evil.example/x.js&gt;") == 3
    assert "{{ 7*7 }}" in text


def test_a_price_that_nobody_knows_is_unknown_and_never_nothing():
    text = page(replace(STUDY, frontier=FRONTIER))
    read = Page(text)
    row = next(row for row in read.rows if row[0] == "ours")
    assert [row[1], row[3], row[-2], row[-1]] == ["54.0", "", "12.5 %", "unknown"]
    assert text.count("unknown") == 2 + len(FRONTIER)


def test_frontiers_are_charts_and_a_table():
    text = page(FULL)
    read = Page(text)
    assert "lead 2 min" in text and "lead 15 min" in text
    found = [row for row in read.rows if row[0].startswith(("visio-operator, setting", "HPA, setting"))]
    assert [[row[2], row[4]] for row in found] == [
        ["100.0", "2.5000 %"],
        ["150.0", "0.0400 %"],
        ["200.0", "0.0000 %"],
    ] * 4
    for chart in frontier_charts(FRONTIER):
        assert [tick.label for tick in chart.y] == ["0", "0.01 %", "0.1 %", "1 %", "10 %"]
        for curve in chart.curves:
            across, down = zip(*curve.points, strict=True)
            assert list(across) == sorted(across), "more hours are further right"
            assert list(down) == sorted(down), "less waiting is further down"


def test_the_page_has_the_figures_of_the_json(trace, tmp_path, capsys):
    config, jobs, out = tmp_path / "config.yaml", tmp_path / "jobs.csv", tmp_path / "report.html"
    pool = {"name": "gpu", "provider": "none", "max": 9, "pricePerHour": "2.5"}
    at = {"start": "2026-01-05T00:30:00Z", "end": "2026-01-05T01:00:00Z", "streams": 40, "name": "<b>town & hall"}
    config.write_text(
        yaml.safe_dump({"gpuPools": [pool], "captions": {"slotsPerGpu": 8}, "capacity": {"calendar": [at]}})
    )
    jobs.write_text("time,audio\n2026-01-05T09:00:00Z,1800\n2026-01-05T09:00:00Z,2400\n")
    arguments = ["simulate", "--trace", str(trace), "--history", "0", "--config", str(config), "--frontier"]
    arguments += ["--jobs", str(jobs), "--report", str(out), "-o", "json"]
    assert main(arguments) == 0
    said = capsys.readouterr()
    study, text = json.loads(said.out), out.read_text()
    read = Page(text)
    wanted = ["40"]
    wanted += [str(each) for line in study["policies"] for each in list(line.values())[1:] if each is not None]
    wanted += [str(each) for point in study["frontier"] for each in list(point.values())[3:]]
    wanted += [str(each) for line in study["recordings"]["policies"] for each in list(line.values())[1:]]
    assert read.values == wanted
    assert len(study["frontier"]) in range(3 * 2 * 5, 3 * (2 * 5 + 2) + 1), "and the targets that were looked for"
    # So few streams come at once that no autoscaler is ready for them.
    assert [each["target_percent"] for each in study["tuned"] if each["may_wait_percent"] == 0.05] == [None] * 3
    for lead in (2, 5, 15):
        assert (
            f"Median lead {lead} min: no target of an autoscaler down to 20 % lets at most 0.05 % of the streams wait."
            in text
        )
    assert all(line["euros"] == pytest.approx(line["server_hours"] * 2.5, abs=0.131) for line in study["policies"])
    for span in (study["week"], study["whole"], study["recordings"]["week"], study["recordings"]["whole"]):
        for index, demand in enumerate(span["demand"]):
            cells = [str(track[key][index]) for track in span["tracks"] for key in ("slots", "servers", "waiting")]
            assert [str(demand), *cells] in [row[1:] for row in read.rows]
    assert study["setting"]["calendar"][0]["name"] == "<b>town & hall"
    assert "&lt;b&gt;town &amp; hall" in text
    assert study["recordings"]["jobs"] == 2
    assert any(line["waited_percent"] > 0 and line["waiting_minutes"] > 0 for line in study["policies"])
    again = [sys.executable, "-m", "visio_operator", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "operator"), "PYTHONHASHSEED": "7"}
    printed = subprocess.run(again, env=environment, capture_output=True, text=True, check=True).stdout
    assert (printed, out.read_text()) == (said.out, text), "the same arguments give the same bytes"


def test_a_trace_with_a_hostile_name_is_named_as_text(trace, tmp_path, capsys):
    renamed = trace.rename(tmp_path / '<img src=x onerror="a">\n.csv')
    out = tmp_path / "report.html"
    assert main(["simulate", "--trace", str(renamed), "--history", "0", "--report", str(out)]) == 0
    assert "img" not in Page(out.read_text()).tags
    assert r"onerror=&#34;a&#34;&gt;\x0a.csv" in out.read_text()


@pytest.mark.parametrize("place", [".", "none/report.html"])
def test_a_report_without_a_place_is_bad_input_before_the_work(place, trace, tmp_path, capsys):
    assert main(["simulate", "--trace", str(trace), "--report", str(tmp_path / place)]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interrupted_run_leaves_the_old_report(trace, tmp_path, capsys, monkeypatch):
    out = tmp_path / "report.html"
    out.write_text("old")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", interrupted)
    assert main(["simulate", "--trace", str(trace), "--history", "0", "--report", str(out)]) == 130
    assert out.read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "trace.csv"]


@pytest.mark.parametrize(
    ("highest", "top"), [(0, 1), (1, 1), (7, 8), (24, 30), (555, 600), (601, 800), (1000, 1000), (0.31, 0.4)]
)
def test_axes_end_at_a_round_figure(highest, top):
    assert nice_top(highest) == pytest.approx(top)
