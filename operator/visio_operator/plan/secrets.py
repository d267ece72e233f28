"""The Secrets that the operator generates: their keys, and Kyutai's configuration, which contains one of them.

Only shapes are decided here. The runtime fills random values once and never overwrites them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from visio_operator.api.spec import VisioDeploymentSpec

from .plan import Ref, SecretNeed

TomlValue: TypeAlias = "str | int | float | bool | Ref | tuple[TomlValue, ...] | Mapping[str, TomlValue]"
"""What Kyutai's configuration is made of; a Ref stands for a string that is filled in later."""

CAPTIONS_PATH = "/api/asr-streaming"
"""The websocket path of the speech-to-text module."""
CAPTIONS_CONFIG_KEY = "config.toml"
"""The key of the captions Secret that holds the configuration file."""

_MODEL = "hf://kyutai/stt-1b-en_fr-candle"
_NETWORK: dict[str, TomlValue] = {
    "audio_vocab_size": 2049,
    "text_in_vocab_size": 8001,
    "text_out_vocab_size": 8000,
    "audio_codebooks": 32,
    "transformer": {
        "d_model": 2048,
        "num_heads": 16,
        "num_layers": 16,
        "dim_feedforward": 8192,
        "causal": True,
        "norm_first": True,
        "bias_ff": False,
        "bias_attn": False,
        "context": 750,
        "max_period": 100000,
        "use_conv_block": False,
        "use_conv_bias": True,
        "gating": "silu",
        "norm": "RmsNorm",
        "positional_embedding": "Rope",
        "conv_layout": False,
        "conv_kernel_size": 3,
        "kv_repeat": 1,
        "max_seq_len": 40960,
    },
    "extra_heads": {"num_heads": 4, "dim": 6},
}
"""The shape of the 1B English and French model; it has to match the weights (facts/visio.md 5)."""


def secret_needs(name: str, spec: VisioDeploymentSpec) -> tuple[SecretNeed, ...]:
    """The generated Secrets of the deployment called `name`."""
    return tuple(_needs(name, spec))


def _needs(name: str, spec: VisioDeploymentSpec) -> Iterator[SecretNeed]:
    # All keys exist from the start: a Secret is written once, so a part that is enabled later finds its key here.
    yield SecretNeed(
        name=f"{name}-keys",
        part="backend",
        random={
            "djangoSecretKey": 50,
            "livekitApiKey": 16,
            "livekitApiSecret": 48,
            "summaryApiToken": 32,
            "summaryWebhookToken": 32,
            "whisperxApiKey": 32,
            "kyutaiApiKey": 32,
            "turnSecret": 48,
        },
    )
    if spec.database.embedded is not None:
        yield SecretNeed(name=f"{name}-postgres", part="postgres", random={"password": 32})
    if spec.redis.embedded is not None:
        yield SecretNeed(name=f"{name}-redis", part="redis", random={"password": 32})
    if spec.object_storage.embedded is not None:
        # Garage accepts key identifiers of the form GK and 24 hexadecimal digits only.
        yield SecretNeed(
            name=f"{name}-garage",
            part="garage",
            random={"accessKeyDigits": 24, "secretAccessKey": 64, "rpcSecret": 64, "adminToken": 32},
            composed={"accessKeyId": ("GK", Ref("accessKeyDigits"))},
        )
    if spec.captions.enabled:
        yield SecretNeed(
            name=captions_config_secret(name, spec),
            part="captions",
            composed={CAPTIONS_CONFIG_KEY: captions_config(name, spec)},
        )


def captions_config_secret(name: str, spec: VisioDeploymentSpec) -> str:
    """The name of the Secret with Kyutai's configuration.

    A Secret is written once, so a changed configuration needs another one: the name carries a digest of the text
    (without the key, which is not known here).
    """
    text = "".join(part if isinstance(part, str) else f"<{part.key}>" for part in captions_config(name, spec))
    return f"{name}-captions-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def captions_config(name: str, spec: VisioDeploymentSpec) -> tuple[str | Ref, ...]:
    """Kyutai's `config.toml` for `moshi-server` 0.6.4, in pieces around the key that clients must show.

    The batch size is the number of slots of one GPU. Field names and values: facts/visio.md 5.
    """
    document: dict[str, TomlValue] = {
        "static_dir": "/tmp/static",  # noqa: S108 - a path inside the container, on its own volume
        "log_dir": "/tmp/logs",  # noqa: S108
        "instance_name": f"{name}-captions",
        "authorized_ids": (Ref("kyutaiApiKey", secret=f"{name}-keys"),),
        "modules": {
            "asr": {
                "path": CAPTIONS_PATH,
                "type": "BatchedAsr",
                "lm_model_file": f"{_MODEL}/model.safetensors",
                "text_tokenizer_file": f"{_MODEL}/tokenizer_en_fr_audio_8000.model",
                "audio_tokenizer_file": f"{_MODEL}/mimi-pytorch-e351c8d8@125.safetensors",
                "asr_delay_in_tokens": 6,
                "batch_size": spec.captions.slots_per_gpu,
                "conditioning_learnt_padding": True,
                "temperature": 0.0,
                "model": _NETWORK,
            }
        },
    }
    return _merge(_table(document, ()))


def _table(table: Mapping[str, TomlValue], path: tuple[str, ...]) -> Iterator[str | Ref]:
    """One TOML table: its values first, its sub-tables after them, as TOML wants it."""
    plain = {key: value for key, value in table.items() if not isinstance(value, Mapping)}
    if path and plain:
        yield f"\n[{'.'.join(path)}]\n"
    for key, value in plain.items():
        yield f"{key} = "
        yield from _value(value)
        yield "\n"
    for key, inner in table.items():
        if isinstance(inner, Mapping):
            yield from _table(inner, (*path, key))


def _value(value: TomlValue) -> Iterator[str | Ref]:
    if isinstance(value, Ref):
        # Generated values are hexadecimal, so they need no escape between the quotes.
        yield from ('"', value, '"')
    elif isinstance(value, tuple):
        yield "["
        for index, item in enumerate(value):
            yield ", " if index else ""
            yield from _value(item)
        yield "]"
    else:
        # JSON and TOML write basic strings, booleans, integers and floats alike.
        yield json.dumps(value)


def _merge(parts: Iterator[str | Ref]) -> tuple[str | Ref, ...]:
    """Join neighbouring literals, so that only the references separate them."""
    merged: list[str | Ref] = []
    for part in parts:
        if isinstance(part, str) and merged and isinstance(merged[-1], str):
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)
