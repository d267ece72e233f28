"""Nothing is rolled out against a server that does not answer; what runs stays as it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from plan_world import LADDER, NOW, a_healthy_world, a_spec, an_empty_world, condition

from visio_operator.plan.decide import decide
from visio_operator.plan.observed import Observed, Preflight
from visio_operator.plan.order import NEEDS
from visio_operator.plan.plan import Plan
from visio_operator.plan.preflight import EMBEDDED, READERS, connections_digest, outside

OWN_DATABASE = {"database": {"host": "db.example.fr", "secretRef": {"name": "db"}}}
WRONG = "spec.oidc.jwksEndpoint: answers 404 where signing keys are expected; correct the URL"


def decided(spec, observed: Observed) -> Plan:
    return decide(spec, observed, NOW, LADDER)


def faulty(spec, *faults: tuple[str, str]) -> Preflight:
    return Preflight(connections_digest(spec, {}), faults=faults)


def written(plan: Plan) -> set[str]:
    return {name for name, part in plan.parts.items() if part.write}


def test_a_new_deployment_starts_with_the_check_and_what_is_connected_to_nothing() -> None:
    spec = a_spec()
    plan = decided(spec, an_empty_world(spec, preflight=None))
    assert written(plan) == {"preflight", "postgres", "redis", "garage"}
    assert plan.parts["sfu"].waiting_for == "waits until the connections are checked"
    assert condition(plan, "Ready")[0] == "False"


def test_a_new_deployment_with_a_wrong_endpoint_names_part_field_and_fix_and_rolls_out_nothing() -> None:
    spec = a_spec()
    plan = decided(spec, an_empty_world(spec, preflight=faulty(spec, ("oidc", WRONG))))
    assert written(plan) == {"preflight"}
    assert condition(plan, "Ready") == ("False", "ConnectionFailed", f"backend, celery-backend are held: {WRONG}")


def test_what_runs_stays_ready_and_unchanged_while_changed_connections_are_checked() -> None:
    spec = a_spec()
    world = a_healthy_world(spec, preflight=Preflight("0" * 12, succeeded=True))
    plan = decided(spec, world)
    assert condition(plan, "Ready")[0] == "True"
    assert condition(plan, "Progressing")[:2] == ("True", "CheckingConnections")
    assert {"frontend", "preflight"} <= written(plan)
    assert not written(plan) & {"backend", "celery-backend", "migrate"}


def test_only_the_readers_of_a_broken_connection_are_held_back_in_a_running_deployment() -> None:
    spec = a_spec(mail={"host": "smtp.example.fr", "sender": "visio@example.fr"})
    broken = ("mail", "spec.mail.host: smtp.example.fr:587 refuses connections; correct host and port")
    plan = decided(spec, a_healthy_world(spec, preflight=faulty(spec, broken)))
    of_the_api = {"backend", "celery-backend", "migrate", "clean-pending-files", "purge-deleted-files"}
    assert set(plan.parts) - written(plan) == of_the_api
    status, reason, message = condition(plan, "Ready")
    assert (status, reason) == ("False", "ConnectionFailed")
    assert "backend, celery-backend are held: spec.mail.host" in message


def test_what_pods_that_start_again_read_changes_only_once_the_connections_are_checked() -> None:
    spec = a_spec()
    urls = frozenset({"redisUrl", "celeryUrl"})
    for seen, kept in (
        (Preflight("0" * 12, succeeded=True), urls),
        (faulty(spec, ("redis", "spec.redis.host: wrong")), urls),
        (Preflight(connections_digest(spec, {}), succeeded=True), frozenset()),
    ):
        needs = decided(spec, a_healthy_world(spec, preflight=seen)).secrets
        assert {need.name: need.kept for need in needs if need.kept} == ({"main-composed": kept} if kept else {})


def test_an_old_verdict_counts_nothing_for_changed_connections() -> None:
    old, new = a_spec(), a_spec(**OWN_DATABASE)
    plan = decided(new, an_empty_world(new, preflight=faulty(old, ("oidc", WRONG))))
    assert condition(plan, "Ready")[1] != "ConnectionFailed"


def test_a_changed_secret_is_checked_anew_and_another_one_is_not() -> None:
    spec = a_spec(**OWN_DATABASE)
    before = connections_digest(spec, {"db": {"password": "a"}, "tls": {"tls.key": "a"}})
    assert connections_digest(spec, {"db": {"password": "b"}, "tls": {"tls.key": "a"}}) != before
    assert connections_digest(spec, {"db": {"password": "a"}, "tls": {"tls.key": "b"}}) == before


@pytest.mark.parametrize("connection", sorted(READERS))
def test_every_reader_is_a_part_that_is_no_embedded_service(connection: str) -> None:
    assert READERS[connection] <= set(NEEDS) - EMBEDDED


def test_embedded_services_are_no_outside_connections() -> None:
    assert outside(a_spec()) == ("oidc",)
    assert outside(a_spec(**OWN_DATABASE)) == ("oidc", "database")


def test_gpu_nodes_go_on_following_load_while_sign_in_is_broken() -> None:
    spec = a_spec(
        captions={"enabled": True, "pool": "l40", "min": 1, "max": 4},
        gpuPools=[{"name": "l40", "provider": "oks", "max": 4}],
    )
    world = a_healthy_world(spec, preflight=faulty(spec, ("oidc", WRONG)))
    sound = decided(spec, replace(world, preflight=Preflight(connections_digest(spec, {}), succeeded=True)))
    assert decided(spec, world).parts["captions"] == sound.parts["captions"]
