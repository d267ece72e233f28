"""`visio-operator replay` as a program: a line in, a line out at once, and one sentence for a line that is wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

T = 1_767_600_000
LINE = {"t": T, "kind": "captions", "slots": 64, "servers": [], "queued": 0, "rejected": 0, "rehome": True}


@contextmanager
def replay(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    argv = [sys.executable, "-m", "visio_operator", "replay", *arguments]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def answered(text: str, *arguments: str) -> tuple[int, list[dict], str]:
    with replay(*arguments) as process:
        out, err = process.communicate(text, timeout=30)
    return process.returncode, [json.loads(line) for line in out.splitlines()], err


def test_each_line_is_answered_before_the_next_one_comes():
    with replay() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for tick in range(3):
            process.stdin.write(json.dumps({**LINE, "t": T + 30 * tick, "queued": 10}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert set(answer) == {"order", "cordon", "uncordon", "release", "why"}
            assert answer["order"] >= 1
        process.stdin.close()
        assert process.wait(10) == 0


def test_both_kinds_have_planners_of_their_own():
    job = {"id": "x", "since": T, "audio": 1800}
    lines = [LINE, {"t": T, "kind": "transcription", "servers": [], "jobs": [job]}, {**LINE, "t": T + 30}]
    code, answers, _ = answered("\n".join(map(json.dumps, lines)))
    assert code == 0
    # One order in ten fails, two in a hundred both, and nothing else would start the job in time.
    assert answers[1]["order"] == 3
    assert "2 more are ordered, since 10% of the orders fail" in answers[1]["why"]


def test_a_reading_that_failed_closes_nothing():
    servers = [{"id": name, "ordered": T - 9000, "ready": True, "used": 1} for name in "abc"]
    lines = [{**LINE, "t": T + 30 * tick, "servers": servers, "queued": None} for tick in range(20)]
    code, answers, _ = answered("\n".join(map(json.dumps, lines)))
    assert code == 0
    assert all(answer["cordon"] == [] for answer in answers)
    assert "frozen" in answers[-1]["why"]


def test_the_limits_of_a_spec_are_kept(tmp_path):
    config = tmp_path / "config.yaml"
    config.write_text("captions: {slotsPerGpu: 32, max: 3, pool: gpu}\ngpuPools: [{name: gpu, max: 2}]\n")
    _, answers, _ = answered(json.dumps({**LINE, "slots": 32, "queued": 500}), "--config", str(config))
    assert answers[0]["order"] == 2


def test_a_whole_deployment_serves_as_configuration():
    code, answers, err = answered(json.dumps(LINE), "--config", "examples/evaluation-captions.yaml")
    assert (code, err, len(answers)) == (0, "", 1)


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("nonsense", "line 1: this is no JSON"),
        ("[]", "line 1: this is no object"),
        ('{"kind": "captions"}', "line 1: t is missing"),
        (json.dumps({**LINE, "kind": "mail"}), 'line 1: kind is "mail"; use captions or transcription'),
        (json.dumps({**LINE, "queued": -1}), "line 1: queued is -1; it has to be 0 or more"),
        (json.dumps({**LINE, "slots": 0}), "line 1: slots is 0; it has to be 1 or more"),
        (json.dumps({**LINE, "t": "noon"}), 'line 1: t is "noon", which is no number'),
        (json.dumps({"t": T, "kind": "captions"}), "line 1: servers is no list"),
        (json.dumps({**LINE, "servers": [{"id": "a", "used": "2"}]}), 'line 1: servers[0].used is "2"'),
        (json.dumps({**LINE, "servers": [{"id": "a"}, {"id": "a"}]}), "line 1: servers has an id twice"),
        (
            json.dumps({**LINE, "calendar": [{"start": 5, "end": 5, "streams": 1}]}),
            "line 1: calendar[0].end is not after",
        ),
        (json.dumps(LINE) + "\n" + json.dumps({**LINE, "t": T - 1}), "line 2: t 1767599999 is before that"),
        (json.dumps(LINE) + "\n" + json.dumps({**LINE, "slots": 32}), "line 2: slots is 32 and was 64"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line, complaint):
    code, _, err = answered(line)
    assert code == 2
    assert complaint in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("capacity: {blockedTarget: '2'}", "--config: capacity.blockedTarget"),
        ("captions: {min: 3, max: 2}", "--config: captions"),
        ("host: x", "host is no part that the planner reads"),
        ("- a", "give one document"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_named(tmp_path, text, complaint):
    config = tmp_path / "config.yaml"
    config.write_text(text)
    code, answers, err = answered(json.dumps(LINE), "--config", str(config))
    assert (code, answers) == (2, [])
    assert complaint in err
    assert err.count("\n") == 1
