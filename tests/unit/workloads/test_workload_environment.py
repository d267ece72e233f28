"""Environment: where values come from, that secrets stay secret, and what each program needs."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from rendered import ALL, container, containers, files_of_secrets, templates, variables

from builders import DeploymentBuilder, a_deployment
from visio_operator.plan.secrets import secret_needs
from visio_operator.runtime.secret_values import fill
from visio_operator.workloads.common import Expanded, config_text, env

USER_SECRETS = {
    "oidc": {"clientSecret"}, "db": {"password"}, "redis": {"password"}, "s3": {"accessKeyId", "secretAccessKey"},
    "mail": {"password"}, "docs": {"apiKey"}, "llm": {"apiKey"}, "admin": {"password"}, "hugging-face": {"token"},
}  # fmt: skip
"""Secrets that the builders' deployments refer to, with the default keys of the API's descriptions."""
TLS = {"public-tls", "tls"}
REFERENCE = re.compile(r"(?<!\$)\$\(([A-Z0-9_]+)\)")
every_case = pytest.mark.parametrize("case", ALL)


def _kubelet(pairs: dict[str, str], text: str) -> str:
    """What the kubelet makes of a value."""
    return REFERENCE.sub(lambda match: pairs[match.group(1)], text).replace("$$(", "$(")


@every_case
def test_every_secret_key_is_generated_or_named_in_the_spec(case: str) -> None:
    built = ALL[case]
    generated = {
        need.name: {*need.random, *need.composed, *need.fixed} for need in secret_needs(built.name, built.spec())
    }
    known = {**USER_SECRETS, **generated}
    for _, template in templates(built.manifests()):
        for one in containers(template):
            for source in variables(one).values():
                if isinstance(source, dict) and "secretKeyRef" in source:
                    assert source["secretKeyRef"]["key"] in known[source["secretKeyRef"]["name"]]
        for source in files_of_secrets(template).values():
            assert source["key"] in known[source["name"]]
        for volume in template["spec"].get("volumes", []):
            name = volume.get("secret", {}).get("secretName")
            assert name is None or name in generated or name.removeprefix(f"{built.name}-") in TLS


@every_case
def test_what_a_value_is_composed_of_stands_before_it(case: str) -> None:
    for _, template in templates(ALL[case].manifests()):
        for one in containers(template):
            seen: set[str] = set()
            for variable in one.get("env", []):
                assert set(REFERENCE.findall(variable.get("value", ""))) <= seen, variable["name"]
                seen.add(variable["name"])


@every_case
def test_variables_with_names_of_secrets_come_from_secrets(case: str) -> None:
    endings = ("PASSWORD", "SECRET", "SECRET_KEY", "API_KEY", "_TOKEN", "ACCESS_KEY", "ACCESS_KEY_ID")
    for _, template in templates(ALL[case].manifests()):
        for one in containers(template):
            for name, source in variables(one).items():
                if name.endswith(endings) and source != "unset":
                    assert "secretKeyRef" in source, name


@every_case
def test_no_command_line_refers_to_a_variable(case: str) -> None:
    for _, template in templates(ALL[case].manifests()):
        for one in containers(template):
            assert not REFERENCE.search(" ".join([*one.get("command", []), *one.get("args", [])]))


def test_text_of_a_user_is_never_expanded() -> None:
    written = env({"GREETING": "$(HOME) and $$(HOME) and 100$"})[0]["value"]
    assert _kubelet({"HOME": "/root"}, written) == "$(HOME) and $$(HOME) and 100$"


def test_an_empty_value_is_written_as_the_api_server_answers() -> None:
    assert env({"EMPTY": ""}) == [{"name": "EMPTY"}]


@pytest.mark.parametrize("password", ["a'b\"c: {d} #e", "0123456789", "1e5", "true", "back\\slash", "- list", "é€"])
def test_a_password_of_any_characters_stays_one_text_in_a_configuration(password: str) -> None:
    text = config_text({"redis": {"password": Expanded("$(REDIS_PASSWORD)"), "db": 0}})
    assert yaml.safe_load(_kubelet({"REDIS_PASSWORD": password}, text)) == {"redis": {"password": password, "db": 0}}


def test_extra_variables_replace_those_of_the_same_name_where_they_stand() -> None:
    manifests = ALL["overridden"].manifests()
    plain = [one["name"] for one in container(ALL["complete"].manifests(), "backend")["env"]]
    changed = [one["name"] for one in container(manifests, "backend")["env"]]
    assert changed == [*plain, "SESSION_COOKIE_AGE"]
    for part in ("backend", "celery-backend", "migrate"):
        assert variables(container(manifests, part))["DB_HOST"] == "$$(HOME)"


def test_backend_talks_to_the_public_livekit_host_and_the_summary_service_of_version_2() -> None:
    found = variables(container(ALL["complete"].manifests(), "backend"))
    assert found["DJANGO_CONFIGURATION"] == "Production"
    assert found["LIVEKIT_API_URL"] == "https://livekit.visio.example.gouv.fr"
    assert found["SUMMARY_SERVICE_ENDPOINT"] == "http://visio-summary/api/v2/async-jobs/transcribe"
    assert found["SUMMARY_SERVICE_VERSION"] == "2"
    assert found["ROOM_SUBTITLE_ENABLED"] == "True"
    assert found["DJANGO_EMAIL_HOST"] == "smtp.example.gouv.fr"
    assert found["DB_HOST"] == "db.databases.svc.cluster.local"


def test_the_api_its_worker_and_its_jobs_share_database_redis_and_storage() -> None:
    manifests = ALL["complete"].manifests()
    backend = variables(container(manifests, "backend"))
    for name in ("celery-backend", "migrate", "superuser", "clean-pending-files", "purge-deleted-files"):
        found = variables(container(manifests, name))
        for variable in ("DJANGO_SECRET_KEY", "DB_HOST", "DB_PASSWORD", "REDIS_URL", "AWS_S3_ENDPOINT_URL"):
            assert found[variable] == backend[variable]


def _composed(built: DeploymentBuilder, secrets: dict[str, dict[str, str]]) -> dict[str, str]:
    """What the Secret of composed texts holds, given the user's Secrets; generated values are a, aa, aaa..."""
    changes, problems = fill(secret_needs(built.name, built.spec()), secrets, draw=lambda length: "a" * length)
    assert problems == ()
    return changes[f"{built.name}-composed"]


def test_redis_urls_carry_login_and_tls() -> None:
    given = {"redis": {"password": "p@ss/w%rd é"}, "db": {}}
    texts = _composed(ALL["complete"], given)
    assert texts["redisUrl"] == "rediss://:p%40ss%2Fw%25rd%20%C3%A9@redis.example.gouv.fr:6379/1"
    assert texts["celeryUrl"] == f"{texts['redisUrl']}?ssl_cert_reqs=required"
    named = a_deployment().with_own_services().having(redis={"user": "vi:sio"})
    assert _composed(named, given)["redisUrl"].startswith("rediss://vi%3Asio:p%40ss")
    assert _composed(ALL["minimal"], {})["redisUrl"] == f"redis://:{'a' * 32}@visio-redis:6379/1"
    found = variables(container(ALL["minimal"].manifests(), "backend"))
    assert found["REDIS_URL"] == {"secretKeyRef": {"name": "visio-composed", "key": "redisUrl"}}
    assert found["CELERY_BROKER_URL"] == {"secretKeyRef": {"name": "visio-composed", "key": "celeryUrl"}}
    open_one = a_deployment().without("redis").having(redis={"host": "redis.example.gouv.fr"})
    found = variables(container(open_one.manifests(), "backend"))
    assert found["REDIS_URL"] == "redis://redis.example.gouv.fr:6379/1"
    assert "REDIS_PASSWORD" not in found


def test_summary_knows_its_one_tenant() -> None:
    found = variables(container(ALL["complete"].manifests(), "summary"))
    assert found["AUTHORIZED_TENANTS"] == {"secretKeyRef": {"name": "visio-composed", "key": "authorizedTenants"}}
    built = ALL["complete"].having(secrets={"keysSecretRef": {"name": "vault"}})
    tokens = {"summaryApiToken": 'a"\\, }]', "summaryWebhookToken": "b" * 32, "kyutaiApiKey": "k"}
    [tenant] = json.loads(_composed(built, {"redis": {"password": "x"}, "vault": tokens})["authorizedTenants"])
    assert tenant == {
        "id": "meet",
        "api_key": 'a"\\, }]',
        "webhook_url": "https://visio.example.gouv.fr/api/v1.0/recordings/external-process-hook/",
        "webhook_api_key": "b" * 32,
        "allowed_push_to_docs": True,
    }


@pytest.mark.parametrize("name", ["summary", "summarize", "call-webhook", "transcribe"])
def test_all_four_summary_workloads_have_what_the_program_demands(name: str) -> None:
    found = variables(container(ALL["complete"].manifests(), name))
    demanded = (
        "AUTHORIZED_TENANTS", "AWS_STORAGE_BUCKET_NAME", "AWS_S3_ENDPOINT_URL", "AWS_S3_ACCESS_KEY_ID",
        "AWS_S3_SECRET_ACCESS_KEY", "WHISPERX_API_KEY", "LLM_API_KEY", "LLM_BASE_URL", "LLM_MODEL",
        "CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "TASK_TRACKER_REDIS_URL",
    )  # fmt: skip
    assert set(demanded) <= found.keys()


def test_summary_reads_its_languages_as_json() -> None:
    found = variables(container(ALL["complete"].manifests(), "summary"))
    assert json.loads(found["WHISPERX_ALLOWED_LANGUAGES"]) == ["en", "fr", "de", "nl"]


def test_a_transcript_is_taken_on_without_docs_too() -> None:
    found = variables(container(ALL["embedded"].manifests(), "summary"))
    assert found["IS_LASUITE_DOCS_INTEGRATION_ENABLED"] == "False"
    assert json.loads(_composed(ALL["embedded"], {})["authorizedTenants"])[0]["allowed_push_to_docs"] is True


def test_the_embedded_store_has_the_region_for_which_every_client_signs() -> None:
    manifests = ALL["embedded"].manifests()
    [config] = [one["data"]["garage.toml"] for one in manifests if "garage.toml" in one.get("data", {})]
    assert 's3_region = "us-east-1"' in config
    assert variables(container(manifests, "backend"))["AWS_S3_REGION_NAME"] == "us-east-1"
    assert variables(container(ALL["complete"].manifests(), "backend"))["AWS_S3_REGION_NAME"] == "eu-west-2"


def test_mails_name_the_product_the_support_address_and_a_logo() -> None:
    found = variables(container(ALL["complete"].manifests(), "backend"))
    assert found["DJANGO_EMAIL_BRAND_NAME"] == "Visio"
    assert found["DJANGO_EMAIL_SUPPORT_EMAIL"] == found["DJANGO_EMAIL_FROM"]
    assert found["DJANGO_EMAIL_LOGO_IMG"].startswith("https://visio.example.gouv.fr/assets/")


def test_without_a_language_model_summaries_are_off_but_the_program_starts() -> None:
    found = variables(container(ALL["embedded"].manifests(), "summary"))
    assert found["IS_SUMMARY_ENABLED"] == "False"
    assert {"LLM_API_KEY", "LLM_BASE_URL", "LLM_MODEL"} <= found.keys()


def _livekit_config(case: str) -> dict[str, Any]:
    found = variables(container(ALL[case].manifests(), "sfu"))
    keys = {"WEBHOOK_KEY": "0123456789012345", "TURN_SECRET": "7" * 48}
    assert found["LIVEKIT_KEYS"] == {"secretKeyRef": {"name": f"{ALL[case].name}-composed", "key": "livekitKeys"}}
    config = yaml.safe_load(_kubelet(keys, found["LIVEKIT_CONFIG"]))
    assert isinstance(config, dict)
    return config


def test_a_key_of_digits_alone_stays_text_or_livekit_would_drop_it() -> None:
    needs = secret_needs("visio", ALL["minimal"].spec())
    changes, _ = fill(needs, {}, draw=lambda length: "1" * length)
    assert yaml.safe_load(changes["visio-composed"]["livekitKeys"]) == {"1" * 16: "1" * 48}


def test_livekit_signs_its_webhooks_with_the_api_key() -> None:
    assert _livekit_config("minimal")["webhook"] == {
        "api_key": "0123456789012345",
        "urls": ["https://visio.example.gouv.fr/api/v1.0/rooms/webhooks-livekit/"],
    }


@every_case
def test_livekit_sends_browsers_to_no_foreign_stun_server(case: str) -> None:
    [server] = _livekit_config(case)["rtc"]["stun_servers"]
    assert server.startswith("livekit.visio.example.gouv.fr:")


def test_livekit_hands_out_turn_servers_where_only_443_is_open() -> None:
    assert _livekit_config("turn")["rtc"]["turn_servers"] == [
        {"host": "turn.visio.example.gouv.fr", "port": 443, "protocol": "tls", "secret": "7" * 48}
    ]
    assert "turn_servers" not in _livekit_config("minimal")["rtc"]


@pytest.mark.parametrize(("case", "field"), [("minimal", "hostIP"), ("nodePorts", "hostIP"), ("turn", "podIP")])
def test_media_servers_announce_the_address_under_which_they_are_reached(case: str, field: str) -> None:
    found = variables(container(ALL[case].manifests(), "sfu"))
    assert found["NODE_IP"] == {"fieldRef": {"fieldPath": f"status.{field}"}}


def test_subtitles_agent_talks_to_the_proxy_beside_it_and_the_proxy_to_the_headless_service() -> None:
    manifests = ALL["complete"].manifests()
    proxy = container(manifests, "captions-proxy")
    listen = proxy["args"][proxy["args"].index("--listen") + 1]
    found = variables(container(manifests, "subtitles"))
    assert found["KYUTAI_STT_BASE_URL"] == f"ws://{listen}/api/asr-streaming"
    assert found["KYUTAI_API_KEY"] == variables(proxy)["KYUTAI_API_KEY"]
    assert proxy["args"][proxy["args"].index("--servers") + 1] == "visio-captions.visio.svc.cluster.local:8080"


def test_agents_and_api_agree_on_names_and_folders() -> None:
    manifests = ALL["complete"].manifests()
    backend = variables(container(manifests, "backend"))
    subtitles = variables(container(manifests, "subtitles"))
    collector = variables(container(manifests, "metadata"))
    assert subtitles["TRANSCRIBER_AGENT_NAME"] == backend["ROOM_SUBTITLE_AGENT_NAME"]
    assert collector["METADATA_COLLECTOR_AGENT_NAME"] == backend["METADATA_COLLECTOR_AGENT_NAME"]
    assert collector["AWS_S3_OUTPUT_FOLDER"] == backend["METADATA_COLLECTOR_OUTPUT_FOLDER"]
    assert collector["AWS_S3_ENDPOINT_URL"] == "s3.example.gouv.fr"
    assert container(manifests, "metadata")["args"] == ["python", "metadata_collector.py", "start"]


def test_transcription_worker_uses_the_server_beside_it_under_the_same_model_name() -> None:
    manifests = ALL["complete"].manifests()
    whisper, worker = container(manifests, "whisperx"), variables(container(manifests, "transcribe"))
    assert worker["WHISPERX_BASE_URL"] == "http://127.0.0.1:8000/v1/"
    assert whisper["command"][-2:] == ["--model", worker["WHISPERX_ASR_MODEL"]]
    assert variables(whisper)["API_KEY"] == worker["WHISPERX_API_KEY"]
    assert "transcribe-queue-v2" in container(manifests, "transcribe")["args"]
