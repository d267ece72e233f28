"""Recordings in `simulate`: a CSV that cannot be used is named by its row, and both policies are told apart."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from visio_operator.cli import main
from visio_operator.plan.batch import Batch
from visio_operator.plan.servers import Job, Limits, Reading, Server
from visio_operator.simulation.cloud import Cloud
from visio_operator.simulation.frontier import AUTOSCALER, PLANNER, frontier, tuned_target
from visio_operator.simulation.read_trace import TraceError, read_jobs
from visio_operator.simulation.recordings import run_recordings
from visio_operator.simulation.study import in_words
from visio_operator.simulation.synthetic import MONDAY, Shape, generate
from visio_operator.simulation.trace import Streams


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "row 1: the header is empty; use time,audio"),
        ("time,duration\n1,2", "row 1: the header is time,duration; use time,audio"),
        ("time,audio\n", "there are no recordings"),
        ("time,audio\n100,60\n90,60", "row 3: its time is before"),
        ("time,audio\n100,60\n\n90,60", "row 4: its time is before"),
        ("time,audio\n100,-1", "row 2: audio is -1; it cannot be negative"),
        ("time,audio\n100,0", "row 2: audio is 0; give seconds above 0"),
        ("time,audio\n100,1e7", "row 2: audio is 1e+07; give seconds above 0, and a week at most"),
        ("time,audio\n100,nan", "row 2: audio is nan"),
        ("time,audio\n100", "row 2: it has to have time and audio, and has 1"),
        ("time,audio\n,60", "row 2: it has to have time and audio"),
        ("time,audio\n-5,60", "row 2: time -5 is negative"),
        ("time,audio\n1,5\n99999999999,5", "days long"),
    ],
)
def test_recordings_that_cannot_be_used_are_one_line_with_the_row(text, complaint, tmp_path, capsys):
    path = tmp_path / "jobs.csv"
    path.write_text(text)
    assert main(["simulate", "--jobs", str(path)]) == 2
    said = capsys.readouterr().err
    assert complaint in said
    assert said.count("\n") == 1


@given(st.lists(st.tuples(st.integers(0, 10**9), st.floats(0.01, 600_000.0)), min_size=1, max_size=30))
@settings(max_examples=60)
def test_recordings_are_read_as_they_are_written(rows):
    rows.sort(key=lambda row: row[0])
    first = rows[0][0]
    lines = ["time,audio", *(f"{time},{audio!r}" for time, audio in rows)]
    jobs = read_jobs(lines)
    assert [(job.since, job.audio) for job in jobs] == [(float(time), audio) for time, audio in rows]
    assert len({job.id for job in jobs}) == len(jobs)
    assert jobs[0].since == first


ROWS = st.text(max_size=20) | st.builds(lambda *each: ",".join(map(str, each)), st.floats(), st.floats())


@given(st.lists(ROWS, max_size=5))
@settings(max_examples=60)
def test_whatever_stands_in_the_file_is_read_or_named(lines):
    for head in ([], ["time,audio"]):
        try:
            jobs = read_jobs([*head, *lines])
        except TraceError as error:
            assert "\n" not in str(error)
        else:
            assert jobs == sorted(jobs, key=lambda job: job.since)


def test_recordings_alone_are_reported(tmp_path, capsys):
    path = tmp_path / "jobs.csv"
    rows = [f"{MONDAY + 30_000 + 120 * number},{600 + 60 * number}" for number in range(40)]
    path.write_text("\n".join(["time,audio", *rows]))
    assert main(["simulate", "--jobs", str(path), "-o", "json"]) == 0
    study = json.loads(capsys.readouterr().out)
    assert (study["policies"], study["week"], study["frontier"]) == ([], None, [])
    found = study["recordings"]
    assert (found["jobs"], found["audio_hours"]) == (40, 19.7)
    ours, theirs = found["policies"]
    assert (ours["late"], ours["jobs_ended"], theirs["jobs_ended"]) == (0, 0, 0)
    assert ours["busy_percent"] > theirs["busy_percent"]
    assert found["work_hours"] < ours["server_hours"] < theirs["server_hours"]
    assert ours["euros"] is None
    assert found["whole"]["start"] == MONDAY
    assert main(["simulate", "--jobs", str(path)]) == 0
    assert "unknown" in capsys.readouterr().out


@pytest.mark.parametrize("given_back", [0, 1, 2, 9])
def test_what_captions_give_back_is_not_bought(given_back):
    jobs = [Job("j", MONDAY + 36_000.0, 1800.0)]
    returned = [MONDAY + 36_000.0] * given_back
    alone, shared = (
        run_recordings(Batch(Limits()).step, jobs, Cloud(), 14.0, 600.0, 1, spare) for spare in ((), returned)
    )
    assert (alone.orders, alone.handed_over) == (3, 0)
    assert (shared.orders, shared.handed_over) == (3 - min(3, given_back), min(3, given_back))
    assert (shared.late, shared.ended) == (0, 0)
    if not shared.orders:
        assert shared.server_seconds < alone.server_seconds


@given(st.integers(0, 60), st.integers(0, 40), st.sampled_from([0, 1, 40, 5000]))
def test_however_many_orders_failed_what_is_ordered_stays_in_proportion(waiting, coming, failed):
    planner, now = Batch(Limits()), MONDAY + 36_000.0
    for _ in range(failed):
        planner.leads.failed()
    servers = [Server(f"s{number}", now - 60.0) for number in range(coming)]
    jobs = [Job(f"j{number}", now - number % 60, 1800.0) for number in range(waiting)]
    order = planner.step(Reading(now, servers, jobs=jobs)).order
    assert 0 <= order <= waiting + (waiting + coming) // 2 + 3
    assert waiting or not order


def test_a_pool_shared_with_captions_is_told_at_its_own_price(tmp_path, capsys):
    """The recordings of a meeting end with it, and so do its captions."""
    jobs, config = tmp_path / "jobs.csv", tmp_path / "config.yaml"
    trace = generate(Shape(weeks=1, peak=300), seed=1)
    ends = [trace.start + (step + length) * 30 for step, joins in enumerate(trace.joins) for length in joins[:1]]
    rows = [f"{end:.0f},1800" for end in sorted(ends) if end > trace.start + 2 * 86_400]
    jobs.write_text("\n".join(["time,audio", *rows]))
    config.write_text(
        "captions: {enabled: true, pool: large}\n"
        "transcription: {enabled: true, pool: small, huggingFaceSecret: hf}\n"
        "gpuPools:\n"
        "- {name: large, provider: oks, max: 99, pricePerHour: '3'}\n"
        "- {name: small, provider: oks, max: 99, pricePerHour: '2'}\n"
    )
    both = ["simulate", "--synthetic", "1", "--history", "2", "--jobs", str(jobs), "--config", str(config)]
    assert main([*both, "-o", "json"]) == 0
    own, shared, _ = json.loads(capsys.readouterr().out)["recordings"]["policies"]
    assert own["handed_over"] == 0 < shared["handed_over"]
    assert (shared["jobs_ended"], shared["late_percent"] <= 0.5) == (0, True)
    assert own["euros"] == pytest.approx(2 * own["server_hours"], rel=0.01)
    assert shared["euros"] == pytest.approx(3 * shared["server_hours"], rel=0.01)


@pytest.mark.parametrize("arguments", [[], ["--jobs", "none.csv", "--frontier"]])
def test_nothing_to_run_is_bad_input(arguments, capsys):
    assert main(["simulate", *arguments]) == 2
    assert "give --trace" in capsys.readouterr().err


@given(st.integers(0, 100))
def test_a_tuned_target_is_the_highest_that_is_enough(highest):
    tried = []

    def enough(percent):
        tried.append(percent)
        return percent <= highest

    assert tuned_target(enough) == (min(highest, 99) if highest >= 20 else None)
    assert len(set(tried)) <= 14


def test_an_autoscaler_that_keeps_more_free_pays_more():
    whole = generate(Shape(weeks=1, peak=300), seed=4)
    trace = Streams(whole.start, whole.joins[6 * 120 : 13 * 120])
    points, tuned = frontier(trace, Limits(blocked_target=0.02), 4, 0, True, lambda *_: None, leads=(120.0, 900.0))
    assert [each.lead_seconds for each in tuned] == [120.0, 120.0, 900.0, 900.0]
    for found, fixed in zip(tuned, (2.0, None) * 2, strict=True):
        settings = {point.setting: point for point in points if point.lead_seconds == found.lead_seconds}
        ours, theirs = settings["blockedTarget 2 %"], settings[f"target {found.target_percent} %"]
        assert found.may_wait_percent == (ours.waited_percent if fixed is None else fixed)
        assert theirs.waited_percent <= found.may_wait_percent
        assert found.of_autoscaler == pytest.approx(ours.server_hours / theirs.server_hours, abs=0.001)
        assert f" {found.of_autoscaler:.3f} of an autoscaler" in in_words(found)
    for lead in (120.0, 900.0):
        theirs = [point for point in points if (point.lead_seconds, point.policy) == (lead, AUTOSCALER)]
        hours = [point.server_hours for point in theirs]
        assert hours == sorted(hours) and hours[0] < hours[-1]
        assert theirs[-1].waited_percent < theirs[0].waited_percent
        ours = [point for point in points if (point.lead_seconds, point.policy) == (lead, PLANNER)]
        assert ours[0].server_hours < ours[-1].server_hours
    assert all(point.sessions_ended == 0 and point.euros is None for point in points)
