"""What users are told about the pools of each provider."""

from __future__ import annotations

import pytest

from visio_operator.api.parts import GpuPool
from visio_operator.plan.observed import Pool
from visio_operator.plan.providers import PROVIDERS, two_writers, where_to_look, why_missing

WITH_OBJECT = [name for name, provider in PROVIDERS.items() if provider.kind]


def a_pool(provider: str) -> GpuPool:
    return GpuPool.model_validate({"name": "l40", "provider": provider})


@pytest.mark.parametrize("provider", WITH_OBJECT)
def test_a_missing_pool_is_named_with_what_to_create(provider: str) -> None:
    problem, next_step = why_missing(a_pool(provider), None)
    assert problem == f"there is no {PROVIDERS[provider].kind} l40 in {PROVIDERS[provider].resource}"
    assert next_step.startswith("create it with ")
    assert "NAME" not in next_step
    assert why_missing(a_pool(provider), Pool("l40", False, error="no CRD"))[0] == "no CRD"


@pytest.mark.parametrize("provider", [name for name in WITH_OBJECT if PROVIDERS[name].one_writer])
def test_a_second_writer_is_named_with_how_to_end_it(provider: str) -> None:
    said = two_writers(1, a_pool(provider))
    assert said.startswith(f"{PROVIDERS[provider].kind} l40 is sized by an autoscaler too")
    assert said.endswith("or spec.gpuPools[1].provider to none")


@pytest.mark.parametrize("provider", PROVIDERS)
def test_where_nobody_tells_an_error_there_is_a_place_to_look(provider: str) -> None:
    assert where_to_look(a_pool(provider)).startswith("look at ")
