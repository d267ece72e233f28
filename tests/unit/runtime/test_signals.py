"""Readings of servers, as those servers write them."""

import pytest

from visio_operator.runtime.signals import parse_gauge, parse_slots


@pytest.mark.parametrize(
    ("text", "slots"),
    [
        ('[{"type":"BatchedAsr","path":"/api/asr-streaming","used_slots":"3","total_slots":"64"}]', (3, 64)),
        ('{"asr":{"used_slots":3,"total_slots":64},"tts":{"used_slots":"1","total_slots":"2"}}', (4, 66)),
        ('{"used_slots":"0","total_slots":"8"}', (0, 8)),
        ('[{"type":"Other"},{"used_slots":"1","total_slots":"8"}]', (1, 8)),
        ("[]", None),
        ("no JSON", None),
        ('[{"total_slots":"8"}]', None),
        ('[{"used_slots":"many","total_slots":"8"}]', None),
        ("3", None),
    ],
)
def test_slots_are_read_as_strings_or_numbers(text: str, slots: tuple[int, int] | None) -> None:
    assert parse_slots(text) == slots


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("# HELP x\nx 3\n", 3),
        ('x{server="a"} 1.0\nx{server="b"} 2.0\n', 3),
        ("x_total 4\n", None),
        ("x nonsense\n", None),
        ("", None),
    ],
)
def test_a_gauge_is_summed_over_its_labels(text: str, value: int | None) -> None:
    assert parse_gauge(text, "x") == value
