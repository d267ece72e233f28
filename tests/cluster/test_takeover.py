"""A second operator waits behind the lease of the first and goes on with its work when that one dies."""

from __future__ import annotations

import live
from visio_lab.operator_process import free_lease, start_operator

LEASE_SECONDS = 6


def test_the_one_that_waits_goes_on_where_the_killed_one_stopped(lab, operator, namespace, restart_operator):
    operator.kill()
    free_lease(lab)
    env = {"VISIO_OPERATOR_LEASE_SECONDS": str(LEASE_SECONDS), "VISIO_OPERATOR_METRICS_PORT": "0"}
    first = start_operator(lab, name="first", env=env)
    second = None
    try:
        live.eventually("the first one has the lease", lambda: "holds the lease" in first.log.read_text(), 30)
        second = start_operator(lab, name="second", env=env)
        live.eventually("the second one waits", lambda: "waits for the lease" in second.log.read_text(), 30)
        live.apply(lab, live.deployment("minimal.yaml", namespace))
        live.eventually("the first one has begun", lambda: live.owned(lab, namespace), 30)
        first.kill()
        live.wait_ready(lab, namespace)
        assert "holds the lease" in second.log.read_text()
    finally:
        first.kill()
        if second is not None:
            second.stop()
        restart_operator()
