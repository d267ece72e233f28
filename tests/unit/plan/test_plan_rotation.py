"""LiveKit's key pair changes in three steps, each read off from what runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plan_world import LADDER, NOW, a_healthy_world, a_spec, a_workload, with_captions

from visio_operator.api.spec import VisioDeploymentSpec
from visio_operator.plan.decide import decide
from visio_operator.plan.observed import Observed
from visio_operator.plan.plan import LivekitKeys, Plan, Ref
from visio_operator.plan.rotation import MEDIA, MOVED_AT, SIGNERS, TOKEN_LIFETIME, rotate

FIRST, SECOND, THIRD = "main-keys", "main-livekit-2", "main-livekit-3"


def spec_of(**livekit: Any) -> VisioDeploymentSpec:
    return a_spec(livekit=livekit, **with_captions())


def world(spec: VisioDeploymentSpec, accepted: tuple[str, ...], signing: str, **changes: Any) -> Observed:
    """Everything is rolled out with these pairs, as the annotations of the pods say it."""
    seen = a_healthy_world(spec)
    parts = {part: replace(one, livekit_keys=(signing,)) for part, one in seen.workloads.items() if part in SIGNERS}
    parts[MEDIA] = replace(seen.workloads[MEDIA], livekit_keys=accepted)
    pods = (frozenset(accepted), frozenset(accepted))
    return replace(seen, workloads={**seen.workloads, **parts}, media_keys=pods, **changes)


def keys(spec: VisioDeploymentSpec, seen: Observed, now: float = NOW) -> LivekitKeys:
    return rotate(spec, seen, now).keys


def applied(spec: VisioDeploymentSpec, seen: Observed, now: float) -> Observed:
    """The world once everything has rolled out what was decided."""
    found = rotate(spec, seen, now)
    return world(spec, found.keys.accepted, found.keys.signing, memory=dict(found.memory))


def test_without_a_change_there_is_one_pair() -> None:
    assert keys(spec_of(), world(spec_of(), (FIRST,), FIRST)) == LivekitKeys((FIRST,), FIRST)
    empty = Observed(uid="u", namespace="visio", name="main")
    assert keys(spec_of(keyGeneration=2), empty) == LivekitKeys((SECOND,), SECOND)


def test_first_media_servers_accept_both_and_nobody_signs_with_the_new_one() -> None:
    found = keys(spec_of(keyGeneration=2), world(spec_of(), (FIRST,), FIRST))
    assert found == LivekitKeys((SECOND, FIRST), FIRST)
    assert found.overlap


@pytest.mark.parametrize(
    "late",
    [
        {"updated": 1},
        {"ready": 1},
        {"current": False},
        {"livekit_keys": (FIRST,)},
    ],
)
def test_nobody_signs_with_the_new_pair_while_media_servers_roll(late: dict[str, Any]) -> None:
    spec = spec_of(keyGeneration=2)
    seen = world(spec, (SECOND, FIRST), FIRST)
    rolling = replace(seen, workloads={**seen.workloads, MEDIA: replace(seen.workloads[MEDIA], **late)})
    assert keys(spec, rolling).signing == FIRST


def test_a_media_server_that_drains_with_the_old_pair_alone_is_waited_for() -> None:
    spec = spec_of(keyGeneration=2)
    seen = world(spec, (SECOND, FIRST), FIRST)
    draining = replace(seen, media_keys=(*seen.media_keys, frozenset({FIRST})))
    assert keys(spec, draining) == LivekitKeys((SECOND, FIRST), FIRST)
    assert keys(spec, seen) == LivekitKeys((SECOND, FIRST), SECOND)


@pytest.mark.parametrize("part", SIGNERS[:1] + SIGNERS[2:])
def test_the_old_pair_stays_until_the_last_part_has_moved(part: str) -> None:
    spec = spec_of(keyGeneration=2)
    moved = world(spec, (SECOND, FIRST), SECOND, memory={MOVED_AT: NOW - TOKEN_LIFETIME})
    if part not in moved.workloads:
        moved = replace(moved, workloads={**moved.workloads, part: a_workload(a_spec(), "backend")})
    one = replace(moved.workloads[part], livekit_keys=(FIRST,))
    late = replace(moved, workloads={**moved.workloads, part: one})
    assert keys(spec, late) == LivekitKeys((SECOND, FIRST), SECOND)
    rolling = replace(one, livekit_keys=(SECOND,), updated=0)
    assert keys(spec, replace(moved, workloads={**moved.workloads, part: rolling})).accepted == (SECOND, FIRST)


def test_the_old_pair_is_forgotten_when_its_tokens_have_ended() -> None:
    spec = spec_of(keyGeneration=2)
    seen = world(spec, (SECOND, FIRST), SECOND)
    begun = rotate(spec, seen, NOW)
    assert begun.keys.accepted == (SECOND, FIRST)
    assert begun.memory == {MOVED_AT: NOW}
    waiting = replace(seen, memory=dict(begun.memory))
    assert keys(spec, waiting, NOW + TOKEN_LIFETIME - 1).accepted == (SECOND, FIRST)
    assert keys(spec, waiting, NOW + TOKEN_LIFETIME) == LivekitKeys((SECOND,), SECOND)


def test_the_whole_way_needs_three_rollouts_and_then_nothing_changes() -> None:
    spec, now = spec_of(keyGeneration=2), NOW
    seen, steps = world(spec, (FIRST,), FIRST), []
    for _ in range(6):
        found = keys(spec, seen, now)
        if not steps or steps[-1] != found:
            steps.append(found)
        seen = applied(spec, seen, now)
        now += TOKEN_LIFETIME / 2
    assert steps == [
        LivekitKeys((SECOND, FIRST), FIRST),
        LivekitKeys((SECOND, FIRST), SECOND),
        LivekitKeys((SECOND,), SECOND),
    ]
    assert rotate(spec, seen, now).memory == {}


def test_a_signing_pair_is_always_one_that_every_media_server_accepts() -> None:
    """Whatever the user asks for in between, and however far each step has come."""
    asked = [spec_of(keyGeneration=n) for n in (1, 2, 3, 3, 4)]
    seen = world(asked[0], (FIRST,), FIRST)
    for step, spec in enumerate(asked * 3):
        found = keys(spec, seen, NOW + step)
        assert all(found.signing in accepted for accepted in seen.media_keys)
        assert found.signing in found.accepted
        if step % 2:
            seen = applied(spec, seen, NOW + step)


def test_a_pair_of_the_users_is_replaced_by_naming_another_secret() -> None:
    spec = spec_of(keysSecretRef={"name": "vault-b"})
    seen = world(spec, ("vault-a",), "vault-a")
    known = {**seen.secret_keys, "vault-a": frozenset({"apiKey", "apiSecret"})}
    assert keys(spec, replace(seen, secret_keys=known)) == LivekitKeys(("vault-b", "vault-a"), "vault-a")


def test_a_pair_whose_secret_is_gone_cannot_be_accepted_any_more() -> None:
    spec = spec_of(keysSecretRef={"name": "vault-b"})
    assert keys(spec, world(spec, ("vault-a",), "vault-a")) == LivekitKeys(("vault-b",), "vault-b")


def decided(spec: VisioDeploymentSpec, seen: Observed) -> Plan:
    return decide(spec, seen, NOW, LADDER)


def test_the_plan_names_both_pairs_and_what_is_composed_of_them() -> None:
    spec = a_spec(livekit={"keyGeneration": 2})
    plan = decided(spec, world(spec, (FIRST,), FIRST))
    needs = {need.name: need for need in plan.secrets}
    assert needs[SECOND].random == {"apiKey": 16, "apiSecret": 48}
    composed = needs["main-composed"].composed
    order = [(one.secret, one.key) for one in composed["livekitKeys"] if isinstance(one, Ref)]
    assert order == [
        (SECOND, "apiKey"), (SECOND, "apiSecret"), (FIRST, "livekitApiKey"), (FIRST, "livekitApiSecret"),
    ]  # fmt: skip
    assert composed["livekitApiSecret"] == (Ref("livekitApiSecret", FIRST),)
    assert composed["livekitWebhookKey"] == (Ref("apiKey", SECOND),)
    assert any("main-livekit-2 waits until every media server accepts it" in line for line in plan.trace)


def test_the_clock_of_the_old_pair_is_carried_in_the_plan() -> None:
    spec = a_spec(livekit={"keyGeneration": 2})
    plan = decided(spec, world(spec, (SECOND, FIRST), SECOND))
    assert plan.memory[MOVED_AT] == NOW


def test_a_second_change_before_the_first_is_done_keeps_all_pairs() -> None:
    spec = spec_of(keyGeneration=3)
    assert keys(spec, world(spec, (SECOND, FIRST), FIRST)) == LivekitKeys((THIRD, FIRST, SECOND), FIRST)
