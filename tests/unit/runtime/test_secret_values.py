"""Values of generated Secrets: drawn once, composed from each other, never overwritten."""

from hypothesis import given
from hypothesis import strategies as st

from visio_operator.plan.plan import Ref, SecretNeed
from visio_operator.runtime.secret_values import decode, encode, fill, hexadecimal

KEYS = SecretNeed(name="visio-keys", part="backend", random={"apiKey": 16, "token": 32})
CONFIG = SecretNeed(
    name="visio-config",
    part="captions",
    composed={"config.toml": ('key = "', Ref("apiKey", secret="visio-keys"), '"\n')},
    fixed={"user": "meet"},
)
GARAGE = SecretNeed(name="g", part="garage", random={"digits": 24}, composed={"id": ("GK", Ref("digits"))})


@given(st.integers(1, 200))
def test_hexadecimal_text_has_the_length_asked_for(length: int) -> None:
    text = hexadecimal(length)
    assert len(text) == length
    assert set(text) <= set("0123456789abcdef")


def test_values_are_different_each_time() -> None:
    assert len({hexadecimal(32) for _ in range(100)}) == 100


def test_everything_is_drawn_when_nothing_exists() -> None:
    changes, problems = fill((KEYS, CONFIG), {}, draw=lambda length: "x" * length)
    assert not problems
    assert changes == {
        "visio-keys": {"apiKey": "x" * 16, "token": "x" * 32},
        "visio-config": {"config.toml": f'key = "{"x" * 16}"\n', "user": "meet"},
    }


def test_the_order_of_needs_does_not_matter() -> None:
    changes, problems = fill((CONFIG, KEYS), {}, draw=lambda length: "x" * length)
    assert not problems
    assert changes["visio-config"]["config.toml"] == f'key = "{"x" * 16}"\n'


def test_nothing_changes_when_everything_is_there() -> None:
    first, _ = fill((KEYS, CONFIG, GARAGE), {})
    again, problems = fill((KEYS, CONFIG, GARAGE), first)
    assert not problems
    assert again == {"visio-keys": {}, "visio-config": {}, "g": {}}


def test_a_random_value_is_never_overwritten() -> None:
    existing = {"visio-keys": {"apiKey": "rotated by hand"}}
    changes, _ = fill((KEYS, CONFIG), existing)
    assert set(changes["visio-keys"]) == {"token"}
    assert changes["visio-config"]["config.toml"] == 'key = "rotated by hand"\n'


def test_a_composed_value_follows_its_sources() -> None:
    existing = {"g": {"digits": "12", "id": "GK34"}}
    changes, _ = fill((GARAGE,), existing)
    assert changes == {"g": {"id": "GK12"}}


def test_a_missing_source_is_told_and_nothing_is_invented() -> None:
    need = SecretNeed(name="a", part="p", composed={"k": (Ref("x", secret="theirs"),)})
    changes, problems = fill((need,), {})
    assert changes == {"a": {}}
    assert problems == ("Secret a key k waits for key x of Secret theirs",)


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_values_survive_encoding(values: dict[str, str]) -> None:
    assert decode(encode(values)) == values


def test_bytes_that_are_no_text_are_left_out() -> None:
    assert decode({"a": "/w==", "b": "Yg=="}) == {"b": "b"}
