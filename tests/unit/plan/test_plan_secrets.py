"""The generated Secrets and Kyutai's configuration."""

from __future__ import annotations

import tomllib

from plan_world import a_spec, with_captions

from visio_operator.plan.plan import Ref
from visio_operator.plan.secrets import captions_config, captions_config_secret, secret_needs


def test_each_generated_secret_has_the_keys_that_the_builders_use() -> None:
    needs = {need.name: need for need in secret_needs("main", a_spec(**with_captions()))}
    keys = {name: {*need.random, *need.composed, *need.fixed} for name, need in needs.items()}
    assert keys.pop(captions_config_secret("main", a_spec(**with_captions()))) == {"config.toml"}
    assert keys == {
        "main-keys": {
            "djangoSecretKey", "livekitApiKey", "livekitApiSecret", "summaryApiToken", "summaryWebhookToken",
            "whisperxApiKey", "kyutaiApiKey", "turnSecret",
        },
        "main-postgres": {"password"},
        "main-redis": {"password"},
        "main-garage": {"accessKeyId", "accessKeyDigits", "secretAccessKey", "rpcSecret", "adminToken"},
    }  # fmt: skip
    assert needs["main-keys"].random["livekitApiSecret"] >= 32, "LiveKit refuses shorter secrets"


def test_the_captions_configuration_is_valid_toml_around_the_key_of_the_clients() -> None:
    pieces = captions_config("main", a_spec(**with_captions(slotsPerGpu=24)))
    references = [piece for piece in pieces if isinstance(piece, Ref)]
    assert references == [Ref("kyutaiApiKey", secret="main-keys")]
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
