"""The key of the marks: drawn once, kept in the generated Secret, the same before and after that is written."""

from __future__ import annotations

from builders import a_deployment
from visio_operator.plan.secrets import secret_needs
from visio_operator.runtime.generated import secret_values
from visio_operator.runtime.marks import MARKS_KEY, marks_key, own_secret
from visio_operator.runtime.memory import Memory
from visio_operator.runtime.secret_values import encode


def test_the_key_that_the_first_pass_draws_is_the_one_that_is_written() -> None:
    site, memory = a_deployment().site(), Memory()
    drawn = marks_key(site, {}, memory)
    assert len(drawn) == 64
    assert marks_key(site, {}, memory) == drawn
    given = {(own_secret(site), MARKS_KEY): memory.marks_key}
    values, problems = secret_values(secret_needs(site.name, site.spec), {}, given)
    assert problems == ()
    assert values["visio-keys"][MARKS_KEY] == drawn
    live = {("Secret", "visio-keys"): {"data": encode(values["visio-keys"])}}
    assert marks_key(site, live, Memory()) == drawn


def test_a_key_that_is_there_is_never_replaced_by_a_drawn_one() -> None:
    site = a_deployment().site()
    there = {"visio-keys": {"data": encode({MARKS_KEY: "kept"})}}
    values, _ = secret_values(secret_needs(site.name, site.spec), there, {("visio-keys", MARKS_KEY): "drawn"})
    assert MARKS_KEY not in values["visio-keys"]
