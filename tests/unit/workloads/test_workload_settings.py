"""What a user sets reaches the program that reads it, under its name and in its form, as its release wants it."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import Any

import pytest
import yaml
from rendered import container, files_of_secrets, templates, variables

from builders import DeploymentBuilder, a_deployment, healthy_plan
from visio_operator.workloads.render import render
from visio_operator.workloads.secret_files import NOT_BY_FILE

BACKEND_PARTS = ("backend", "celery-backend", "migrate", "superuser", "clean-pending-files", "purge-deleted-files")


def backend(**fields: Any) -> dict[str, Any]:
    return variables(container(a_deployment().having(**fields).manifests(), "backend"))


def of_release(built: DeploymentBuilder, name: str, **settings: str) -> dict[str, Any]:
    """A container's variables in a release whose ladder entry has these settings."""
    plan = healthy_plan(built.site())
    assert plan.release is not None
    release = replace(plan.release, settings={**plan.release.settings, **settings})
    return variables(container(render(built.site(), replace(plan, release=release)), name))


def source(secret: str, key: str) -> dict[str, dict[str, str]]:
    return {"secretKeyRef": {"name": secret, "key": key}}


def test_sign_in_by_default_is_plain_openid_connect() -> None:
    found = backend()
    assert found["OIDC_RP_SIGN_ALGO"] == "RS256"
    assert found["FRONTEND_USE_PROCONNECT_BUTTON"] == "False"
    assert found["FRONTEND_IS_SILENT_LOGIN_ENABLED"] == "True"
    assert not {"OIDC_USE_PKCE", "OIDC_AUTH_REQUEST_EXTRA_PARAMS", "OIDC_USERINFO_FULLNAME_FIELDS"} & found.keys()


def test_proconnect_has_its_button_and_an_assurance_level() -> None:
    found = backend(oidc={"proConnect": True, "silentLogin": False})
    assert found["FRONTEND_USE_PROCONNECT_BUTTON"] == "True"
    assert found["FRONTEND_IS_SILENT_LOGIN_ENABLED"] == "False"
    assert ast.literal_eval(found["OIDC_AUTH_REQUEST_EXTRA_PARAMS"]) == {"acr_values": "eidas1"}
    higher = backend(oidc={"proConnect": True, "acrValues": "eidas2"})
    assert ast.literal_eval(higher["OIDC_AUTH_REQUEST_EXTRA_PARAMS"]) == {"acr_values": "eidas2"}


def test_a_provider_of_ones_own_can_be_described() -> None:
    found = backend(
        oidc={
            "signAlgorithm": "ES256", "pkce": True, "nameClaims": ["given_name", "family_name"],
            "shortNameClaim": "nickname", "identifyByEmail": True, "logoutEndpoint": "https://auth.example.fr/out",
        }
    )  # fmt: skip
    assert found["OIDC_RP_SIGN_ALGO"] == "ES256"
    assert found["OIDC_USE_PKCE"] == "True"
    assert found["OIDC_USERINFO_FULLNAME_FIELDS"] == "given_name,family_name"
    assert found["OIDC_USERINFO_SHORTNAME_FIELD"] == "nickname"
    assert found["OIDC_FALLBACK_TO_EMAIL_FOR_IDENTIFICATION"] == "True"
    assert found["OIDC_OP_LOGOUT_ENDPOINT"] == "https://auth.example.fr/out"


def own_database(**database: Any) -> DeploymentBuilder:
    return a_deployment().without("database").having(database={"host": "db.example.gouv.fr", **database})


def test_a_database_url_wins_over_fields_and_stays_a_variable() -> None:
    found = variables(container(own_database(urlSecretRef={"name": "pg-app"}).manifests(), "migrate"))
    assert found["DATABASE_URL"] == source("pg-app", "uri")
    assert not any(name.startswith("DB_") for name in found)


def test_a_database_with_tls_must_show_a_trusted_certificate_of_its_name() -> None:
    found = variables(container(own_database(secretRef={"name": "db"}, tls=True).manifests(), "backend"))
    assert found["PGSSLMODE"] == "verify-full"
    assert found["PGSSLROOTCERT"] == "/etc/ssl/certs/ca-certificates.crt"
    private = own_database(secretRef={"name": "db"}, tls=True).having(caBundle={"configMap": "ca"})
    assert variables(container(private.manifests(), "backend"))["PGSSLROOTCERT"] == "/etc/visio-ca/ca.crt"
    assert found["DB_PASSWORD"] == source("db", "password")
    assert "PGSSLMODE" not in backend()


def test_secrets_of_the_api_are_files_where_its_settings_take_files() -> None:
    manifests = a_deployment().complete().having(sentry={"secretRef": {"name": "sentry"}}).manifests()
    for part, template in templates(manifests):
        if part not in BACKEND_PARTS:
            continue
        [main] = template["spec"]["containers"]
        left = {one["name"] for one in main["env"] if "secretKeyRef" in one.get("valueFrom", {})}
        assert left <= NOT_BY_FILE
        files = {one["name"]: one["value"] for one in main["env"] if one["name"].endswith("_FILE")}
        folder = next(one["mountPath"] for one in main["volumeMounts"] if one["name"] == "secrets")
        assert {f"{folder}/{name}" for name in files_of_secrets(template)} == set(files.values())


def test_redis_by_sentinel_for_livekit_and_by_host_for_visio() -> None:
    redis = {
        "host": "redis.example.gouv.fr", "user": "visio", "secretRef": {"name": "redis"},
        "sentinel": {"masterName": "visio", "addresses": ["s1.example.fr:26379"], "secretRef": {"name": "sentinel"}},
    }  # fmt: skip
    manifests = a_deployment().without("redis").having(redis=redis).manifests()
    for name, variable in (("sfu", "LIVEKIT_CONFIG"), ("egress", "EGRESS_CONFIG_BODY")):
        found = variables(container(manifests, name))
        section = yaml.safe_load(found[variable])["redis"]
        assert section["sentinel_master_name"] == "visio"
        assert section["sentinel_addresses"] == ["s1.example.fr:26379"]
        assert section["username"] == "visio"
        assert section["sentinel_password"] == "$(REDIS_SENTINEL_PASSWORD)"
        assert "address" not in section
        assert found["REDIS_SENTINEL_PASSWORD"] == source("sentinel", "password")


def own_storage(**storage: Any) -> DeploymentBuilder:
    given = {"endpoint": "https://s3.example.gouv.fr", "region": "fr-1", "secretRef": {"name": "s3"}, **storage}
    return a_deployment().with_captions().with_transcription().without("objectStorage").having(objectStorage=given)


@pytest.mark.parametrize(
    ("name", "setting"), [("summary", "summaryRegion"), ("transcribe", "summaryRegion"), ("metadata", "metadataRegion")]
)
def test_a_region_is_given_to_the_programs_whose_release_reads_one(name: str, setting: str) -> None:
    assert "AWS_S3_REGION_NAME" not in of_release(own_storage(), name)
    assert of_release(own_storage(), name, **{setting: "true"})["AWS_S3_REGION_NAME"] == "fr-1"
    assert of_release(own_storage(), "backend")["AWS_S3_REGION_NAME"] == "fr-1"


@pytest.mark.parametrize(
    ("form", "endpoint"), [("hostPort", "s3.example.gouv.fr"), ("url", "https://s3.example.gouv.fr")]
)
def test_the_metadata_collector_gets_the_endpoint_in_the_form_of_its_release(form: str, endpoint: str) -> None:
    assert of_release(own_storage(), "metadata", metadataEndpoint=form)["AWS_S3_ENDPOINT_URL"] == endpoint


def test_uploads_are_signed_for_the_host_that_browsers_reach() -> None:
    assert backend()["FILE_UPLOAD_ENABLED"] == "False"
    found = of_release(own_storage(fileUploads=True, publicHost="files.example.gouv.fr"), "backend")
    assert found["FILE_UPLOAD_ENABLED"] == "True"
    assert found["AWS_S3_DOMAIN_REPLACE"] == "https://files.example.gouv.fr"
    assert found["AWS_S3_ENDPOINT_URL"] == "https://s3.example.gouv.fr"


def test_a_longest_recording_is_known_to_everybody_in_its_own_unit() -> None:
    built = a_deployment().with_transcription().having(recording={"maxDuration": "2h", "expirationDays": 180})
    manifests = built.manifests()
    api = variables(container(manifests, "backend"))
    assert api["RECORDING_MAX_DURATION"] == "7200000"
    assert api["RECORDING_EXPIRATION_DAYS"] == "180"
    egress = yaml.safe_load(variables(container(manifests, "egress"))["EGRESS_CONFIG_BODY"])
    assert egress["session_limits"] == {"file_output_max_duration": "7200s"}
    assert int(variables(container(manifests, "summary"))["RECORDING_MAX_DURATION"]) > 7200
    unset = variables(container(a_deployment().manifests(), "egress"))["EGRESS_CONFIG_BODY"]
    assert "session_limits" not in yaml.safe_load(unset)


def test_recordings_are_encoded_as_asked() -> None:
    assert "RECORDING_ENCODING_ENABLED" not in backend()
    found = backend(recording={"encoding": {"framerate": 15, "videoKbps": 600}})
    encoding = {name.removeprefix("RECORDING_ENCODING_"): v for name, v in found.items() if "_ENCODING_" in name}
    assert encoding == {
        "ENABLED": "True", "WIDTH": "1280", "HEIGHT": "720", "FRAMERATE": "15",
        "VIDEO_BITRATE_KBPS": "600", "AUDIO_BITRATE_KBPS": "128",
    }  # fmt: skip


def test_looks_and_languages_reach_browsers_and_mails() -> None:
    branding = {
        "name": "Visio des préfectures", "language": "fr-fr", "customCssUrl": "/custom/style.css",
        "mailLogoUrl": "https://www.example.fr/logo.png", "frenchGovernmentFooter": True,
        "homeUrl": "https://www.example.fr/", "documentationUrl": "https://docs.example.fr/",
        "feedbackUrl": "https://www.example.fr/avis?a='b'", "supportEmail": "aide@example.fr",
    }  # fmt: skip
    found = variables(container(a_deployment().with_mail().having(branding=branding).manifests(), "backend"))
    assert found["DJANGO_LANGUAGE_CODE"] == "fr-fr"
    assert found["FRONTEND_CUSTOM_CSS_URL"] == "/custom/style.css"
    assert found["FRONTEND_USE_FRENCH_GOV_FOOTER"] == "True"
    assert found["FRONTEND_EXTERNAL_HOME_URL"] == "https://www.example.fr/"
    assert found["FRONTEND_DOCUMENTATION_URL"] == "https://docs.example.fr/"
    assert ast.literal_eval(found["FRONTEND_FEEDBACK"]) == {"url": "https://www.example.fr/avis?a='b'"}
    assert found["DJANGO_EMAIL_BRAND_NAME"] == "Visio des préfectures"
    assert found["DJANGO_EMAIL_LOGO_IMG"] == "https://www.example.fr/logo.png"
    assert found["DJANGO_EMAIL_SUPPORT_EMAIL"] == "aide@example.fr"


def test_rooms_can_be_kept_to_those_who_are_signed_in() -> None:
    assert backend()["ALLOW_UNREGISTERED_ROOMS"] == "True"
    found = backend(rooms={"allowUnregistered": False, "defaultAccess": "trusted"})
    assert (found["ALLOW_UNREGISTERED_ROOMS"], found["RESOURCE_DEFAULT_ACCESS_LEVEL"]) == ("False", "trusted")


def test_what_others_may_connect_is_off_unless_it_is_asked_for() -> None:
    found = backend()
    switches = ("ROOM_TELEPHONY_ENABLED", "ROOMKIT_ENABLED", "EXTERNAL_API_ENABLED", "APPLICATION_ENABLED")
    assert {found[name] for name in switches} == {"False"}
    tracing = ("SENTRY", "POSTHOG", "LANGFUSE", "ANALYTICS", "BREVO", "MARKETING")
    for _, template in templates(a_deployment().complete().manifests()):
        for one in template["spec"]["containers"]:
            assert not [name for name in variables(one) if any(word in name for word in tracing)]


def test_telephones_room_systems_and_applications_can_be_connected() -> None:
    found = backend(
        telephony={"phoneNumber": "+33123456789"},
        roomKits={"secretRef": {"name": "kits"}},
        externalApi={"createUsers": True},
    )
    assert found["ROOM_TELEPHONY_PHONE_NUMBER"] == "+33123456789"
    assert found["ROOM_TELEPHONY_DEFAULT_COUNTRY"] == "FR"
    assert found["ROOMKIT_SERVER_TO_SERVER_API_TOKEN"] == source("kits", "token")
    assert found["APPLICATION_JWT_SECRET_KEY"] == source("visio-keys", "applicationJwtKey")
    assert found["APPLICATION_JWT_AUDIENCE"] == found["APPLICATION_BASE_URL"] == "https://visio.example.gouv.fr"
    assert found["APPLICATION_ALLOW_USER_CREATION"] == "True"


def test_errors_are_reported_by_every_program_under_its_own_name() -> None:
    manifests = a_deployment().complete().having(sentry={"secretRef": {"name": "sentry"}}).manifests()
    assert variables(container(manifests, "backend"))["DJANGO_SENTRY_DSN"] == source("sentry", "dsn")
    summary = variables(container(manifests, "summary"))
    assert (summary["SENTRY_IS_ENABLED"], summary["SENTRY_DSN"]) == ("True", source("sentry", "dsn"))
    assert variables(container(manifests, "subtitles"))["SENTRY_DSN"] == source("sentry", "dsn")


def test_keys_of_the_users_own_replace_generated_ones_everywhere() -> None:
    built = a_deployment().complete().having(secrets={"keysSecretRef": {"name": "vault"}})
    used = set()
    for _, template in templates(built.manifests()):
        for one in (*template["spec"]["containers"], *template["spec"].get("initContainers", [])):
            used |= {v["secretKeyRef"]["name"] for v in variables(one).values() if "secretKeyRef" in v}
        used |= {one["name"] for one in files_of_secrets(template).values()}
    assert "vault" in used
    assert "visio-keys" not in used
