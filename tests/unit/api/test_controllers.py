"""What a controller cannot do is refused by `check` and by the planner alike, with the field and the next step."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from builders import DeploymentBuilder, a_deployment, release
from visio_operator.api.check import Problem, check_document
from visio_operator.api.controllers import unroutable
from visio_operator.api.releases import ReleaseEntry, load_releases
from visio_operator.plan.observed import Observed
from visio_operator.plan.policy import refusals
from visio_operator.plan.reasons import Reason

RANGES = ["192.0.2.0/24"]
TRAEFIK = {"controller": "traefik", "ingressClassName": "traefik"}
TRAEFIK_GATEWAY = {"controller": "traefik", "className": "traefik"}


def found(built: DeploymentBuilder, **settings: str) -> list[tuple[str, str]]:
    return [(one.field, one.next_step) for one in unroutable(built.spec(), settings)]


def by(fields: dict[str, Any]) -> DeploymentBuilder:
    return a_deployment().routed_by(**fields)


def ladder(**settings: str) -> tuple[ReleaseEntry, ...]:
    return tuple(replace(entry, settings={**entry.settings, **settings}) for entry in load_releases())


def test_downloads_need_a_controller_that_knows_subrequests() -> None:
    ((field, next_step),) = found(by({"controller": "other", "className": "cilium"}))
    assert field == "gateway.controller"
    assert "envoyGateway" in next_step
    assert "recordingDownloads" in next_step
    ((_, next_step),) = found(by({"controller": "other", "ingressClassName": "haproxy"}))
    assert "ingressNginx or traefik" in next_step


@pytest.mark.parametrize(
    "fields", [{"gateway": {"recordingDownloads": False}}, {"recording": {"enabled": False}}], ids=["refused", "none"]
)
def test_without_downloads_any_controller_serves(fields: dict[str, Any]) -> None:
    for gateway in ({"controller": "other", "className": "cilium"}, TRAEFIK, TRAEFIK_GATEWAY):
        assert not found(by(gateway).having(**fields))


def test_filters_need_a_known_controller() -> None:
    built = by({"controller": "other", "className": "cilium", "adminAllow": RANGES, "webhookAllow": RANGES})
    assert [field for field, _ in found(built.having(recording={"enabled": False}))] == [
        "gateway.adminAllow",
        "gateway.webhookAllow",
    ]


def test_traefik_serves_downloads_where_the_release_reads_its_header() -> None:
    ((field, next_step),) = found(by(TRAEFIK), mediaAuthHeader="fixed")
    assert field == "gateway.controller"
    assert "1.31.0" in next_step
    assert not found(by(TRAEFIK), mediaAuthHeader="configurable")
    assert not found(by(TRAEFIK_GATEWAY), mediaAuthHeader="configurable")


def test_a_traefik_gateway_reaches_no_store_outside() -> None:
    outside = {"mediaAuthHeader": "configurable"}
    assert [field for field, _ in found(by(TRAEFIK_GATEWAY).with_own_services(), **outside)] == ["gateway.className"]
    assert not found(by(TRAEFIK).with_own_services(), **outside)


@pytest.mark.parametrize("gateway", [TRAEFIK, {"controller": "envoyGateway", "className": "envoy"}])
def test_a_stores_authorities_are_read_from_one_key(gateway: dict[str, Any]) -> None:
    outside = {"mediaAuthHeader": "configurable"}
    built = by(gateway).with_own_services()
    other = built.having(caBundle={"configMap": "authorities", "key": "bundle.pem"})
    assert [field for field, _ in found(other, **outside)] == ["caBundle.key"]
    assert not found(built.having(caBundle={"configMap": "authorities"}), **outside)


def test_check_and_planner_say_the_same() -> None:
    built = by(TRAEFIK)
    (problem,) = check_document(json.dumps(built.cr()))
    observed = Observed(uid="u", namespace="visio", name="visio")
    refused = [
        one
        for one in refusals(built.spec(), observed, release(built.spec()))
        if one.reason is Reason.ROUTE_NOT_POSSIBLE
    ]
    assert [str(one) for one in refused] == [str(Problem(problem.field, problem.problem, problem.next_step))]
    assert problem.field == "spec.gateway.controller"
    assert not check_document(json.dumps(built.cr()), ladder(mediaAuthHeader="configurable"))


@pytest.mark.parametrize(
    "gateway",
    [
        {"controller": "ingressNginx", "className": "nginx"},
        {"controller": "envoyGateway", "ingressClassName": "envoy"},
    ],
)
def test_a_controller_that_does_not_serve_the_class_is_refused(gateway: dict[str, Any]) -> None:
    assert [one.field for one in check_document(json.dumps(by(gateway).cr()))] == ["spec.gateway.controller"]


def test_ranges_are_ranges() -> None:
    built = by({"controller": "ingressNginx", "ingressClassName": "nginx", "adminAllow": ["192.0.2.0/99"]})
    assert [one.field for one in check_document(json.dumps(built.cr()))] == ["spec.gateway.adminAllow"]


def test_a_bundle_that_is_not_there_is_refused_before_anything_waits_for_it() -> None:
    spec = a_deployment().having(caBundle={"configMap": "authorities", "key": "bundle.pem"}).spec()

    def said(keys: frozenset[str] | None) -> list[str]:
        observed = Observed(uid="u", namespace="visio", name="visio", bundle_keys=keys)
        found = refusals(spec, observed, release(spec))
        return [f"{one.field}: {one.problem}" for one in found if one.reason is Reason.CONFIG_MAP_MISSING]

    assert said(None) == ["spec.caBundle.configMap: ConfigMap authorities does not exist in namespace visio"]
    assert said(frozenset({"ca.crt"})) == ["spec.caBundle.key: ConfigMap authorities lacks the key bundle.pem"]
    assert said(frozenset({"bundle.pem"})) == []
