"""The Job of `visio-operator smoke`: the variables of the parts, no secret in arguments, left alone by the operator."""

from __future__ import annotations

import pytest
from rendered import ADMITTED, templates, variables

from builders import DeploymentBuilder, a_deployment, release
from visio_checks.settings import read_settings
from visio_operator.workloads.backend_env import backend_env
from visio_operator.workloads.common import Manifest
from visio_operator.workloads.restarts import referenced
from visio_operator.workloads.smoke import smoke

every_case = pytest.mark.parametrize("case", ADMITTED)


def _job(built: DeploymentBuilder, **options: object) -> Manifest:
    chosen = {"seconds": 600, "sfu_addresses": ("10.1.0.1", "10.1.0.2"), **options}
    return smoke(built.site(), release(built.spec()), "abc123", **chosen)  # type: ignore[arg-type]


def _container(job: Manifest) -> Manifest:
    return dict(job["spec"]["template"]["spec"]["containers"][0])


def _variables(job: Manifest) -> dict[str, object]:
    return variables(_container(job))


@every_case
def test_variables_are_those_of_the_parts(case: str) -> None:
    built = ADMITTED[case]
    api = {one["name"]: one for one in backend_env(built.site(), release(built.spec()))}
    ours = {one["name"]: one for one in _container(_job(built))["env"]}
    assert {"LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "LIVEKIT_API_URL", "OIDC_RP_CLIENT_SECRET"} <= set(ours)
    # The API's overrides come along, and lie over its own variables there as well.
    assert all(ours[name] == api[name] for name in ours if name in api and name != "DB_HOST")


@every_case
def test_every_secret_is_one_that_a_part_has(case: str) -> None:
    built = ADMITTED[case]
    pods = [template["spec"] for _, template in templates(built.manifests())]
    theirs = frozenset(one for pod in pods for one in referenced(pod))
    assert referenced(_job(built)["spec"]["template"]["spec"]) <= theirs


@every_case
def test_the_checks_read_what_the_job_sets(case: str) -> None:
    built = ADMITTED[case]
    ours = {name: value if isinstance(value, str) else "secret" for name, value in _variables(_job(built)).items()}
    settings, spec = read_settings(ours), built.spec()
    assert settings.host == spec.host
    assert settings.livekit.metrics == ("10.1.0.1:6789", "10.1.0.2:6789")
    assert settings.livekit.relay_only == (spec.sfu.network == "turnTLS")
    assert bool(settings.captions_agent) == spec.captions.enabled
    assert (settings.summary is not None) == spec.transcription.enabled
    assert (settings.mail is not None) == (spec.mail is not None)
    for part, service in ((spec.docs, settings.docs), (spec.llm, settings.llm)):
        assert (service is not None) == (part is not None and spec.transcription.enabled)


def test_arguments_hold_names_of_checks_only() -> None:
    job = _job(a_deployment().complete(), only=("web", "media"))
    assert _container(job)["args"] == ["checks", "call", "--only", "web", "media"]


def test_it_ends_by_itself_and_belongs_to_the_deployment() -> None:
    built = a_deployment()
    job = _job(built)
    spec = job["spec"]
    assert (spec["backoffLimit"], spec["activeDeadlineSeconds"], spec["ttlSecondsAfterFinished"]) == (0, 610, 600)
    assert job["metadata"]["name"] == "visio-smoke-abc123"
    assert job["metadata"]["ownerReferences"][0]["uid"] == built.site().uid


def test_the_operator_does_not_take_it_for_its_own() -> None:
    job = _job(a_deployment())
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels["app.kubernetes.io/managed-by"] == "visio-operator-smoke"
        assert labels["app.kubernetes.io/component"] == "smoke"
        assert labels["visio-operator.dev/deployment"] == "visio"


@every_case
def test_its_policy_selects_its_pods(case: str) -> None:
    built = ADMITTED[case]
    policies = [one for one in built.manifests() if one["metadata"]["name"] == f"{built.name}-smoke"]
    assert len(policies) == 1
    selected = policies[0]["spec"]["podSelector"]["matchLabels"]
    assert selected.items() <= _job(built)["spec"]["template"]["metadata"]["labels"].items()
