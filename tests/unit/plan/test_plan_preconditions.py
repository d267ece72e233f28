"""What an object has to say, or must not say, before a release is climbed; and what a release cannot do at all."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from plan_world import NOW, a_healthy_world, a_spec, an_empty_world

from visio_operator.api.releases import PRECONDITIONS, ReleaseEntry, VisioRelease, find_release, load_releases
from visio_operator.plan.decide import decide
from visio_operator.plan.preconditions import CHECKED_BY_JOB, unmet
from visio_operator.plan.reasons import Reason

TRANSCRIBING: dict[str, Any] = {
    "recording": {"enabled": True},
    "transcription": {"enabled": True, "pool": "l40"},
    "gpuPools": [{"name": "l40", "provider": "oks", "max": 4}],
}


def rung(version: str) -> ReleaseEntry:
    found = find_release(load_releases(), version)
    assert found is not None
    return found


def overriding(part: str, name: str, value: str) -> dict[str, Any]:
    return {"overrides": [{"part": part, "extraEnv": [{"name": "TZ", "value": "UTC"}, {"name": name, "value": value}]}]}


@pytest.mark.parametrize("entry", load_releases(), ids=lambda entry: entry.version)
def test_what_the_operator_renders_meets_every_precondition(entry: ReleaseEntry) -> None:
    assert unmet(a_spec(version=entry.version, **TRANSCRIBING), entry) == ()


def test_every_precondition_is_somebodys_to_check() -> None:
    ladder = load_releases()
    assert {name for entry in ladder for name in entry.preconditions} == set(PRECONDITIONS)
    assert rung("1.18.0").preconditions == ("duplicateUsers",)
    assert {"duplicateUsers"} == CHECKED_BY_JOB


@pytest.mark.parametrize(
    "version, part, variable, value, because",
    [
        ("1.23.0", "backend", "SUMMARY_SERVICE_VERSION", "1", "no other interface"),
        ("1.30.0", "backend", "RECORDING_STORAGE_EVENT_ENABLE", "True", "LiveKit's webhook alone"),
        ("1.33.0", "transcription", "AWS_S3_REGION_NAME", "", "without a region"),
    ],
)
def test_a_variable_of_the_users_against_a_precondition_is_named(
    version: str, part: str, variable: str, value: str, because: str
) -> None:
    spec = a_spec(version=version, **TRANSCRIBING, **overriding(part, variable, value))

    [found] = unmet(spec, rung(version))

    assert found.reason == Reason.PRECONDITION_NOT_MET
    assert found.field == "spec.overrides[0].extraEnv[1]"
    assert variable in found.problem
    assert version in found.problem
    assert because in found.problem
    assert found.next_step == "remove it"


@pytest.mark.parametrize(
    "version, part, variable, value",
    [
        ("1.23.0", "backend", "SUMMARY_SERVICE_VERSION", "2"),
        ("1.30.0", "backend", "RECORDING_STORAGE_EVENT_ENABLE", "False"),
        ("1.30.0", "frontend", "RECORDING_STORAGE_EVENT_ENABLE", "True"),
        ("1.33.0", "transcription", "AWS_S3_REGION_NAME", "fr-par"),
        ("1.32.0", "transcription", "AWS_S3_REGION_NAME", ""),
    ],
    ids=["same-value", "hook-off", "another-part", "a-region", "not-yet"],
)
def test_a_variable_that_does_no_harm_is_nobodys_business(version: str, part: str, variable: str, value: str) -> None:
    assert unmet(a_spec(version=version, **TRANSCRIBING, **overriding(part, variable, value)), rung(version)) == ()


def test_what_is_not_used_has_no_preconditions() -> None:
    spec = a_spec(version="1.23.0", **overriding("backend", "SUMMARY_SERVICE_VERSION", "1"))
    assert unmet(spec, rung("1.23.0")) == ()


def test_a_release_that_is_described_wrongly_is_named() -> None:
    wrong = replace(rung("1.33.0"), settings={**rung("1.33.0").settings, "summaryRegion": "false"})

    [found] = unmet(a_spec(version="1.33.0", **TRANSCRIBING), wrong)

    assert found.field == "VisioRelease/1.33.0 spec.settings.summaryRegion"
    assert found.next_step == "remove it or set it to true"


def test_the_region_of_the_store_is_always_there() -> None:
    """So that 1.33's condition can only be broken by what stands above."""
    assert a_spec().object_storage.region


CANNOT = [
    ("1.21.0", {"recording": {"enabled": True}}, "spec.recording.enabled: release 1.21.0 saves a recording only"),
    ("1.22.0", TRANSCRIBING, "spec.transcription.enabled: release 1.22.0 hands transcripts over in a form"),
    (
        "1.16.0",
        {"externalApi": {"defaultAccess": "restricted"}},
        "spec.externalApi.defaultAccess: release 1.16.0 makes",
    ),
    ("1.15.0", {"recording": {"encoding": {}}}, "spec.recording.encoding: release 1.15.0 does not know it"),
    ("1.24.0", {"branding": {"documentationUrl": "https://d.example.fr"}}, "spec.branding.documentationUrl: release"),
]


@pytest.mark.parametrize("version, asked, problem", CANNOT, ids=[case[2].split(":")[0] for case in CANNOT])
def test_what_a_release_cannot_do_is_refused_and_the_next_one_that_can_does_it(
    version: str, asked: dict[str, Any], problem: str
) -> None:
    ladder = load_releases()
    spec = a_spec(version=version, **asked)
    refused = decide(spec, an_empty_world(spec), NOW, ladder)
    assert [line for line in refused.invalid if line.startswith(problem)], refused.invalid
    later = a_spec(version="1.27.0", **asked)
    assert [line for line in decide(later, an_empty_world(later), NOW, ladder).invalid if "release" in line] == []


@pytest.mark.parametrize("version, cleans", [("1.21.0", False), ("1.22.0", True)])
def test_cleaning_begins_with_the_release_that_has_its_commands(version: str, cleans: bool) -> None:
    spec = a_spec(version=version, recording={"enabled": False})
    parts = decide(spec, a_healthy_world(spec), NOW, load_releases()).parts
    assert ({"clean-pending-files", "purge-deleted-files"} <= set(parts)) == cleans
    assert "backend" in parts


def test_a_release_object_states_preconditions_by_name() -> None:
    with pytest.raises(ValueError, match="preconditions"):
        VisioRelease.model_validate(
            {"metadata": {"name": "1.27.0"}, "spec": {"version": "1.27.0", "preconditions": ["moonPhase"]}}
        )
