"""The spelling of quantities."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from visio_operator.workloads.quantities import canonical, parse


@pytest.mark.parametrize(
    ("written", "spelled"),
    [
        ("0.5", "500m"), ("1000m", "1"), ("1500m", "1500m"), ("1", "1"), ("2000", "2k"), ("1024Mi", "1Gi"),
        ("1500Mi", "1500Mi"), ("0.5Gi", "512Mi"), ("1.5Gi", "1536Mi"), ("1024", "1024"), ("1000M", "1G"), ("0", "0"),
        ("0Gi", "0"), ("0.0Mi", "0"), ("0.1Ki", "102400m"), ("1.3Ki", "1332"), ("1024Ti", "1Pi"),
        ("0.0000000001", "1n"), ("010Mi", "10Mi"),
    ],
)  # fmt: skip
def test_quantity_is_spelled_as_the_api_server_does(written: str, spelled: str) -> None:
    assert canonical(written) == spelled


@given(st.from_regex(r"[0-9]{1,6}(\.[0-9]{1,3})?(m|k|M|G|T|Ki|Mi|Gi|Ti)?", fullmatch=True))
def test_canonical_spelling_is_stable_and_never_smaller(quantity: str) -> None:
    spelled = canonical(quantity)
    assert canonical(spelled) == spelled
    assert 0 <= parse(spelled)[0] - parse(quantity)[0] < 1


def test_what_is_no_quantity_is_refused() -> None:
    with pytest.raises(ValueError, match="5Mib is no quantity"):
        parse("5Mib")
