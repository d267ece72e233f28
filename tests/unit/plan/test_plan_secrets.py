"""The generated Secrets and Kyutai's configuration."""

from __future__ import annotations

import tomllib
from dataclasses import replace

from plan_world import LADDER, NOW, a_spec, an_empty_world, with_captions

from visio_operator.plan.decide import decide
from visio_operator.plan.plan import Ref
from visio_operator.plan.policy import secrets_wanted
from visio_operator.plan.secrets import (
    RANDOM_KEYS,
    captions_config,
    captions_config_secret,
    secret_needs,
    shared_keys,
)


def test_each_generated_secret_has_the_keys_that_the_builders_use() -> None:
    needs = {need.name: need for need in secret_needs("main", a_spec(**with_captions()))}
    keys = {name: {*need.random, *need.composed, *need.fixed} for name, need in needs.items()}
    assert keys.pop(captions_config_secret("main", a_spec(**with_captions()))) == {"config.toml"}
    assert keys == {
        "main-keys": {
            "djangoSecretKey", "livekitApiKey", "livekitApiSecret", "summaryApiToken", "summaryWebhookToken",
            "whisperxApiKey", "kyutaiApiKey", "turnSecret", "applicationJwtKey", "marksKey",
        },
        "main-composed": {
            "livekitKeys", "livekitWebhookKey", "livekitApiKey", "livekitApiSecret", "redisUrl", "celeryUrl",
        },
        "main-postgres": {"password"},
        "main-redis": {"password"},
        "main-garage": {"accessKeyId", "accessKeyDigits", "secretAccessKey", "rpcSecret", "adminToken"},
    }  # fmt: skip
    assert needs["main-keys"].random["livekitApiSecret"] >= 32, "LiveKit refuses shorter secrets"


def test_the_captions_configuration_is_valid_toml_around_the_key_of_the_clients() -> None:
    pieces = captions_config("main", a_spec(**with_captions(slotsPerGpu=24)))
    references = [piece for piece in pieces if isinstance(piece, Ref)]
    assert references == [Ref("kyutaiApiKey", "main-keys", "json")]
    config = tomllib.loads("".join(piece if isinstance(piece, str) else "0123abcd" for piece in pieces))
    assert config["authorized_ids"] == ["0123abcd"]
    asr = config["modules"]["asr"]
    assert (asr["path"], asr["type"], asr["batch_size"]) == ("/api/asr-streaming", "BatchedAsr", 24)
    assert asr["lm_model_file"] == "hf://kyutai/stt-1b-en_fr-candle/model.safetensors"
    assert (asr["asr_delay_in_tokens"], asr["model"]["transformer"]["num_layers"]) == (6, 16)
    assert asr["model"]["extra_heads"] == {"num_heads": 4, "dim": 6}
    assert config["static_dir"] != config["log_dir"], "the server would publish its logs"


def test_another_number_of_slots_is_another_secret_since_secrets_are_written_once() -> None:
    names = {captions_config_secret("main", a_spec(**with_captions(slotsPerGpu=n))) for n in (8, 16, 16)}
    assert len(names) == 2
    assert all(name.startswith("main-captions-") and len(name) == len("main-captions-") + 8 for name in names)


def wanted(**fields: object) -> dict[str, tuple[str, tuple[str, ...]]]:
    return {one.field: (one.name, one.keys) for one in secrets_wanted(a_spec(**fields))}


def test_each_secret_that_the_spec_names_is_looked_for_with_its_keys() -> None:
    found = wanted(
        database={"host": "db.example.fr", "urlSecretRef": {"name": "pg-app"}},
        redis={
            "host": "redis.example.fr",
            "sentinel": {"masterName": "m", "addresses": ["s.example.fr:26379"], "secretRef": {"name": "sentinel"}},
        },
        roomKits={"secretRef": {"name": "kits", "key": "sip"}},
        sentry={"secretRef": {"name": "sentry"}},
        secrets={"keysSecretRef": {"name": "vault"}},
        livekit={"keysSecretRef": {"name": "vault-livekit"}},
        externalApi={},
    )
    assert found["spec.database.urlSecretRef"] == ("pg-app", ("uri",))
    assert found["spec.redis.sentinel.secretRef"] == ("sentinel", ("password",))
    assert found["spec.roomKits.secretRef"] == ("kits", ("sip",))
    assert found["spec.sentry.secretRef"] == ("sentry", ("dsn",))
    assert found["spec.secrets.keysSecretRef"] == ("vault", ("djangoSecretKey", "applicationJwtKey"))
    assert found["spec.livekit.keysSecretRef"] == ("vault-livekit", ("apiKey", "apiSecret"))


def test_a_secret_of_the_users_needs_the_keys_of_the_parts_that_exist() -> None:
    spec = a_spec(**with_captions())
    assert shared_keys(spec) == ("djangoSecretKey", "kyutaiApiKey")
    assert set(shared_keys(spec)) <= RANDOM_KEYS.keys()


def test_every_generated_key_has_128_bits_or_is_no_secret() -> None:
    for need in secret_needs("main", a_spec(livekit={"keyGeneration": 2}, **with_captions())):
        for key, length in need.random.items():
            names = key in ("livekitApiKey", "apiKey", "accessKeyDigits")
            assert length >= (16 if names else 32), f"{need.name} {key}"


def test_only_what_repeats_other_secrets_ends_with_the_deployment() -> None:
    needs = secret_needs("main", a_spec(**with_captions()))
    assert {need.name for need in needs if need.derived} == {
        "main-composed",
        captions_config_secret("main", a_spec(**with_captions())),
    }
    assert not any(need.random for need in needs if need.derived)


def test_what_a_release_does_not_have_is_refused_by_name() -> None:
    spec = a_spec(
        version="1.24.0",
        roomKits={"secretRef": {"name": "kits"}},
        branding={"documentationUrl": "https://docs.example.fr/"},
    )
    plan = decide(spec, an_empty_world(spec), NOW, LADDER)
    assert plan.invalid == (
        "spec.roomKits: release 1.24.0 does not know it; remove it, or go to a newer release",
        "spec.branding.documentationUrl: release 1.24.0 does not know it; remove it, or go to a newer release",
    )
    newer = a_spec(roomKits={"secretRef": {"name": "kits"}}, branding={"documentationUrl": "https://docs.example.fr/"})
    assert decide(newer, an_empty_world(newer), NOW, LADDER).invalid == ()


def test_an_encoding_is_refused_where_its_form_is_not_known() -> None:
    spec = a_spec(recording={"encoding": {"framerate": 15}})
    ladder = tuple(replace(one, settings={**one.settings, "recordingEncoding": "profiles"}) for one in LADDER)
    [refusal] = decide(spec, an_empty_world(spec), NOW, ladder).invalid
    assert refusal.startswith("spec.recording.encoding: release 1.27.0 takes the encoding in a form")
    assert decide(spec, an_empty_world(spec), NOW, LADDER).invalid == ()
