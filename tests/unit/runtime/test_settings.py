"""Settings from the environment, and the table of kinds."""

import pytest

from visio_operator.runtime.kinds import KINDS
from visio_operator.runtime.settings import SettingError, read_settings


def test_nothing_has_to_be_set() -> None:
    settings = read_settings({})
    assert settings.port == 8080
    assert settings.pace.hold == 300
    assert settings.namespaces == ()


@pytest.mark.parametrize("value", ["soon", "-1", "1e9", "nan"])
def test_a_value_that_cannot_be_is_refused_by_name(value: str) -> None:
    with pytest.raises(SettingError, match=f"VISIO_OPERATOR_HOLD_SECONDS={value}"):
        read_settings({"VISIO_OPERATOR_HOLD_SECONDS": value})


def test_a_namespace_named_twice_is_watched_once() -> None:
    assert read_settings({}, namespaces=("a", "b", "a")).namespaces == ("a", "b")


def test_no_kind_asks_for_a_wildcard_and_each_says_why() -> None:
    assert len({kind.name for kind in KINDS}) == len(KINDS)
    for kind in KINDS:
        assert kind.verbs
        assert kind.reason
        assert "*" not in (*kind.verbs, kind.plural, kind.group)
        assert all("*" not in verbs for _, verbs in kind.subresources)


def test_data_volumes_are_out_of_the_operators_reach() -> None:
    assert not [kind for kind in KINDS if kind.name == "PersistentVolumeClaim"]
