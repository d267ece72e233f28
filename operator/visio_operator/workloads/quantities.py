"""Kubernetes quantities in the spelling of the API server, so that what is rendered equals what is stored."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from math import ceil

_BINARY = {"Ki": 1, "Mi": 2, "Gi": 3, "Ti": 4, "Pi": 5, "Ei": 6}
_DECIMAL = {"n": -3, "u": -2, "m": -1, "": 0, "k": 1, "M": 2, "G": 3, "T": 4, "P": 5, "E": 6}
_SMALLEST = Fraction(1, 10**9)


def parse(quantity: str) -> tuple[Fraction, bool]:
    """The value of a quantity, and whether it was written with a binary unit. ValueError when it is none."""
    suffix = quantity.lstrip("0123456789.")
    number = Fraction(quantity[: len(quantity) - len(suffix)])
    if suffix in _BINARY:
        return number * 1024 ** _BINARY[suffix], True
    if suffix in _DECIMAL:
        return number * Fraction(1000) ** _DECIMAL[suffix], False
    raise ValueError(f"{quantity} is no quantity")


def canonical(quantity: str) -> str:
    """The spelling that the API server answers with: no fraction, the largest unit that needs none.

    Source of the rule: the documentation of `Quantity` in k8s.io/apimachinery/pkg/api/resource.
    """
    value, binary = parse(quantity)
    if value == 0:
        return "0"
    if binary and value >= 1024:
        return _with_unit(Fraction(ceil(value)), 1024, sorted(_BINARY.items(), key=lambda unit: -unit[1]))
    value = Fraction(ceil(value / _SMALLEST)) * _SMALLEST
    return _with_unit(value, 1000, sorted(_DECIMAL.items(), key=lambda unit: -unit[1]))


def _with_unit(value: Fraction, base: int, units: list[tuple[str, int]]) -> str:
    for suffix, power in units:
        scaled = value / Fraction(base) ** power
        if scaled.denominator == 1:
            return f"{scaled.numerator}{suffix}"
    return str(value.numerator)


def canonical_amounts(amounts: Mapping[str, str]) -> dict[str, str]:
    """Requests or limits in canonical spelling."""
    return {resource: canonical(amount) for resource, amount in amounts.items()}
