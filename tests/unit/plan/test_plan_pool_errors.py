"""What providers' errors mean."""

from __future__ import annotations

import pytest

from visio_operator.plan.pool_errors import is_failure, read_error
from visio_operator.plan.reasons import Reason


@pytest.mark.parametrize(
    ("text", "reason", "next_step"),
    [
        ("10046 TooManyResources (QuotaExceded)", Reason.QUOTA_EXCEEDED, "ask the provider for a higher quota"),
        ("HTTP 412: InsufficientVCPUsQuota", Reason.QUOTA_EXCEEDED, "ask the provider for a higher quota"),
        ("all available instance types exceed limits for nodepool", Reason.QUOTA_EXCEEDED, "raise spec.limits"),
        ("10001 InsufficientCapacity", Reason.OUT_OF_STOCK, "another zone"),
        ("InsufficientInstanceCapacity: try later", Reason.OUT_OF_STOCK, "another zone"),
        ("No valid host was found", Reason.OUT_OF_STOCK, "another zone"),
        ("6003 InvalidState", Reason.PROVIDER_ERROR, "GPU left attached"),
        ("cannot create vm: 401 Unauthorized", Reason.PROVIDER_ERROR, "renew the credentials"),
        ("MachineDeployment l40 is paused", Reason.PROVIDER_ERROR, "resume it"),
        ("node did not register within 15m", Reason.PROVIDER_ERROR, "boot log"),
        ("volume vol-10046ab is gone", Reason.PROVIDER_ERROR, "look at the status"),
        ("", Reason.PROVIDER_ERROR, "look at the status"),
    ],
)
def test_an_error_has_a_reason_and_a_next_step(text: str, reason: Reason, next_step: str) -> None:
    found, step = read_error(text)
    assert found == reason
    assert next_step in step


@pytest.mark.parametrize(
    ("text", "failure"),
    [
        ("VM vm-1 is pending", False),
        ("OscMachine status.initialization.provisioned is false", False),
        ("waiting for the flexible GPU to be attached", False),
        ("cannot create VM", True),
        ("10001 InsufficientCapacity", True),
        ("Error: no route", True),
    ],
)
def test_being_on_the_way_is_no_failure(text: str, failure: bool) -> None:
    assert is_failure(text) == failure
