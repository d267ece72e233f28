"""YAML is read as kubectl reads it, and whatever JSON cannot carry is refused with its place."""

from __future__ import annotations

import math

import pytest

from visio_operator.api.check import check_object
from visio_operator.api.documents import YamlError, read_documents
from visio_operator.api.spec import API_VERSION, KIND


def test_dates_and_times_of_day_stay_text_and_whole_numbers_are_whole() -> None:
    [document] = read_documents("day: 2026-03-31\nlate: 22:30\nearly: 08:00\nnumber: 2.0\nversion: 1.27.0\n1: 2\n")

    assert document.value == {
        "day": "2026-03-31", "late": "22:30", "early": "08:00", "number": 2, "version": "1.27.0", "1": 2,
    }  # fmt: skip


def test_a_key_that_is_there_twice_is_found_but_one_that_overrides_a_merged_key_is_not() -> None:
    [document] = read_documents("x: &x {a: 1}\ny: {<<: *x, a: 2}\nz:\n  b: 1\n  b: 2\n")

    assert document.value["y"] == {"a": 2}
    assert document.duplicates == ((5, "b"),)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!int x", "a: !!timestamp 2026-13-45", "a: !!timestamp 2026-03-31", "a: !!binary aGk=", "a: .inf",
        "a: .nan", "a: 1e999", 'a: "\\ud800"', "a: " + "9" * 5000, "{{a: 1}: 2}", "a: [", "a: *no", "a: !!x y",
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_what_cannot_be_read_is_named_with_its_line(text: str) -> None:
    with pytest.raises(YamlError, match=r"^line 1, column [0-9]+: "):
        read_documents(text)


@pytest.mark.parametrize("text", ["a: &a [*a]", "[" * 500, "x" * (4 * 1024 * 1024)], ids=["loop", "deep", "large"])
def test_a_text_without_measure_is_refused(text: str) -> None:
    with pytest.raises(YamlError):
        read_documents(text)


@pytest.mark.parametrize("value", [math.inf, math.nan, "\ud800"])
def test_check_answers_to_what_json_cannot_carry(value: object) -> None:
    for spec in (value, {"version": value}):
        assert check_object({"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": "a"}, "spec": spec})
