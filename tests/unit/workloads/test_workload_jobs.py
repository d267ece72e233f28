"""Jobs cannot be changed: their names follow from what they do."""

from __future__ import annotations

from dataclasses import replace

from builders import DeploymentBuilder, a_deployment, healthy_plan
from visio_operator.workloads.render import render


def _job(built: DeploymentBuilder, part: str = "migrate") -> tuple[str, object]:
    [job] = [
        one
        for one in built.manifests()
        if one["kind"] == "Job" and one["metadata"]["labels"]["app.kubernetes.io/component"] == part
    ]
    return job["metadata"]["name"], job["spec"]["template"]


def test_migration_is_named_for_its_release() -> None:
    assert _job(a_deployment())[0].startswith("visio-migrate-1-27-0-")


def test_a_setting_that_migrations_do_not_read_does_not_run_them_again() -> None:
    changed = a_deployment().with_captions().with_mail().having(oidc={"scopes": "openid"}, api={"min": 5})
    assert _job(a_deployment()) == _job(changed)


def test_another_template_is_another_job() -> None:
    bigger = a_deployment().overriding("backend", extraEnv=[{"name": "DB_HOST", "value": "elsewhere"}])
    assert _job(a_deployment())[0] != _job(bigger)[0]
    own = a_deployment().with_own_services()
    assert _job(a_deployment())[0] != _job(own)[0]


def test_during_an_upgrade_the_newer_release_migrates_while_the_older_one_serves() -> None:
    older = a_deployment().having(version="1.26.0").site()
    newer = healthy_plan(a_deployment().site()).release
    manifests = render(older, replace(healthy_plan(older), part_releases={"migrate": newer}))
    images = {
        one["metadata"]["labels"]["app.kubernetes.io/component"]: one["spec"]["template"]["spec"]["containers"][0][
            "image"
        ]
        for one in manifests
        if one["kind"] in ("Job", "Deployment")
    }
    assert images["migrate"].endswith("meet-backend:v1.27.0")
    assert images["backend"].endswith("meet-backend:v1.26.0")


def test_administrators_password_is_not_on_the_command_line() -> None:
    _, template = _job(a_deployment().with_superuser(), "superuser")
    assert "os.environ['DJANGO_SUPERUSER_PASSWORD']" in str(template)
    assert "$(" not in str(template["spec"]["containers"][0]["args"])  # type: ignore[index]


def test_finished_jobs_stay_so_that_they_are_not_run_again() -> None:
    jobs = [one for one in a_deployment().with_superuser().manifests() if one["kind"] == "Job"]
    assert len(jobs) == 3
    assert all("ttlSecondsAfterFinished" not in job["spec"] for job in jobs)


def test_a_changed_configuration_replaces_the_pods_that_read_it() -> None:
    def relay(built: DeploymentBuilder) -> dict[str, str]:
        [found] = [
            one
            for one in built.manifests()
            if one["metadata"]["name"] == "visio-turn" and "template" in one.get("spec", {})
        ]
        annotations: dict[str, str] = found["spec"]["template"]["metadata"]["annotations"]
        return annotations

    built = a_deployment().with_network("turnTLS")
    assert relay(built) == relay(built.having(api={"min": 5}))
    assert relay(built) != relay(built.having(host="meet.example.gouv.fr"))
