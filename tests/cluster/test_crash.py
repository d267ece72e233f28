"""The operator may die at any moment: started again, it ends in the same state."""

from __future__ import annotations

import re
import time

import pytest

import live
from visio_lab.operator_process import USER, make_namespace

MOMENTS = (1, 4, 11, 23, 37, 52)
"""Writes after which the operator is killed: the first ones, around the gates, and late."""
WRITES_OF_A_CREATION = 62


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "moment" in metafunc.fixturenames:
        every = metafunc.config.getoption("--every-write")
        metafunc.parametrize("moment", range(1, WRITES_OF_A_CREATION + 1) if every else MOMENTS)


@pytest.fixture(scope="module")
def undisturbed(lab, session_operator):
    """The state that an undisturbed creation ends in."""
    make_namespace(lab, "undisturbed")
    live.apply(lab, live.deployment("minimal.yaml", "undisturbed"))
    live.wait_ready(lab, "undisturbed")
    state = _state(lab, "undisturbed")
    lab.kubectl("delete", "vd", "visio", "--namespace", "undisturbed", "--timeout=60s")
    return state


def test_killed_during_creation_it_ends_in_the_same_state(
    lab, undisturbed, operator, namespace, restart_operator, moment
) -> None:
    since = time.time()
    live.apply(lab, live.deployment("minimal.yaml", namespace))
    end = time.monotonic() + 30
    while len(live.writes(lab, since, USER)) < moment and time.monotonic() < end:
        time.sleep(0.005)
    operator.kill()
    restart_operator()
    live.wait_ready(lab, namespace)
    after = _state(lab, namespace)
    assert set(after) == set(undisturbed)
    for key, item in after.items():
        assert _without_namespace(item, namespace) == _without_namespace(undisturbed[key], "undisturbed"), key


def _state(lab, namespace: str) -> dict[tuple[str, str], dict]:
    """The intent of every object; a check of connections is named after marks of Secrets, which nobody can foresee."""
    return {
        (kind, re.sub(r"^(visio-preflight)-[0-9a-f]{12}$", r"\1", name)): live.intent(item)
        for (kind, name), item in live.owned(lab, namespace).items()
    }


def _without_namespace(item: dict, namespace: str) -> str:
    """The object as text; media ports are derived from the namespace's name, so they differ too."""
    text = re.sub(r"visio-preflight-[0-9a-f]{12}", "PREFLIGHT", repr(item).replace(namespace, "NAMESPACE"))
    # Templates carry marks of the Secrets that they read, under a key of their own deployment.
    text = re.sub(r"(secrets-digest': )'[0-9a-f]+'", r"\1'MARK'", text)
    return re.sub(r"\b3[0-2][0-9]{3}\b", "PORT", text)
