"""The Secrets that the operator makes: keys of its own, and texts that have to contain one, ours or the user's.

Only shapes are decided here. The runtime fills random values once and never overwrites them. URLs and configurations
with a password in them are put together by it too: a kubelet would paste a password as it is, and one with an `@` or a
quote would end the value.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import TypeAlias
from urllib.parse import quote

from visio_operator.api.spec import VisioDeploymentSpec

from .plan import LivekitKeys, Ref, SecretNeed
from .rotation import first_pair, is_generated, pair_fields, settled_keys

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


RANDOM_KEYS = {
    "djangoSecretKey": 50,
    "livekitApiKey": 16,
    "livekitApiSecret": 48,
    "summaryApiToken": 32,
    "summaryWebhookToken": 32,
    "whisperxApiKey": 32,
    "kyutaiApiKey": 32,
    "turnSecret": 48,
    "applicationJwtKey": 64,
    "marksKey": 64,
}
"""Hexadecimal characters of each generated key, four bits each. `marksKey` is read by the operator alone: digests of
Secrets that are shown to others are keyed with it."""
REDIS_URL, CELERY_URL = "redisUrl", "celeryUrl"
TENANTS = "authorizedTenants"
LIVEKIT_KEYS, LIVEKIT_WEBHOOK_KEY = "livekitKeys", "livekitWebhookKey"
LIVEKIT_API_KEY, LIVEKIT_API_SECRET = "livekitApiKey", "livekitApiSecret"
REDIS_DB = 1
"""Cache, sessions, queues and task tracker, as in all of Visio's samples; the operator reads the queues there."""
EXTERNAL_PROCESS_PATH = "/api/v1.0/recordings/external-process-hook/"


def keys_secret(name: str, spec: VisioDeploymentSpec) -> str:
    """The Secret with the keys that the parts share: generated, or the user's."""
    given = spec.secrets.keys_secret_ref
    return given.name if given is not None else f"{name}-keys"


def shared_keys(spec: VisioDeploymentSpec) -> tuple[str, ...]:
    """The keys that a Secret of the user's has to hold for the parts that the spec asks for."""
    needed = {
        "djangoSecretKey": True,
        "summaryApiToken": spec.transcription.enabled,
        "summaryWebhookToken": spec.transcription.enabled,
        "whisperxApiKey": spec.transcription.enabled,
        "kyutaiApiKey": spec.captions.enabled,
        "turnSecret": spec.sfu.network == "turnTLS",
        "applicationJwtKey": spec.external_api is not None,
    }
    return tuple(key for key, is_needed in needed.items() if is_needed)


def composed_secret(name: str) -> str:
    """The Secret with the texts that contain other Secrets' values."""
    return f"{name}-composed"


def secret_needs(
    name: str, spec: VisioDeploymentSpec, livekit: LivekitKeys | None = None, *, settled: bool = True
) -> tuple[SecretNeed, ...]:
    """The Secrets of the deployment called `name`.

    `livekit` are the key pairs in use while one replaces another; `settled` is whether the servers outside have
    answered under this spec, before which a pod that is started again must find what the others have.
    """
    return tuple(_needs(name, spec, livekit or settled_keys(name, spec), settled))


def _needs(name: str, spec: VisioDeploymentSpec, livekit: LivekitKeys, settled: bool) -> Iterator[SecretNeed]:
    # All keys exist from the start: a Secret is written once, so a part that is enabled later finds its key here.
    yield SecretNeed(
        name=f"{name}-keys",
        part="backend",
        random=RANDOM_KEYS,
    )
    for pair in livekit.accepted:
        if is_generated(name, pair) and pair != first_pair(name):
            yield SecretNeed(name=pair, part="sfu", random={"apiKey": 16, "apiSecret": 48})
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
        config = captions_config(name, spec)
        yield SecretNeed(
            name=_config_secret(name, config),
            part="captions",
            composed={CAPTIONS_CONFIG_KEY: config},
            derived=True,
        )
    # Last, since it refers to the others.
    yield SecretNeed(
        name=composed_secret(name),
        part="backend",
        composed=dict(_composed(name, spec, livekit)),
        derived=True,
        kept=frozenset() if settled else frozenset({REDIS_URL, CELERY_URL}),
    )


def _composed(
    name: str, spec: VisioDeploymentSpec, livekit: LivekitKeys
) -> Iterator[tuple[str, tuple[str | Ref, ...]]]:
    yield LIVEKIT_KEYS, _merge(_key_map(name, livekit))
    accepted, signing = livekit.accepted[0], livekit.signing
    yield LIVEKIT_WEBHOOK_KEY, (Ref(pair_fields(name, accepted)[0], accepted),)
    key, secret = pair_fields(name, signing)
    yield LIVEKIT_API_KEY, (Ref(key, signing),)
    yield LIVEKIT_API_SECRET, (Ref(secret, signing),)
    login = _redis_login(name, spec)
    if login:
        yield REDIS_URL, redis_url(name, spec, login, celery=False)
        yield CELERY_URL, redis_url(name, spec, login, celery=True)
    if spec.transcription.enabled:
        yield TENANTS, _merge(_tenants(name, spec))


def _key_map(name: str, livekit: LivekitKeys) -> Iterator[str | Ref]:
    """LiveKit's `keys` as a JSON object, which is YAML too: quoted, since a key of digits would be read as a number."""
    yield "{"
    for index, pair in enumerate(livekit.accepted):
        key, secret = pair_fields(name, pair)
        yield from (", " if index else "", *_json(Ref(key, pair)), ": ", *_json(Ref(secret, pair)))
    yield "}"


def _json(ref: Ref) -> tuple[str | Ref, ...]:
    return ('"', Ref(ref.key, ref.secret, "json"), '"')


def _redis_login(name: str, spec: VisioDeploymentSpec) -> tuple[str | Ref, ...]:
    if spec.redis.embedded is not None:
        return (":", Ref("password", f"{name}-redis", "url"), "@")
    ref = spec.redis.secret_ref
    if ref is None:
        return ()
    return (f"{quote(spec.redis.user or '', safe='')}:", Ref(ref.key or "password", ref.name, "url"), "@")


def redis_url(
    name: str, spec: VisioDeploymentSpec, login: tuple[str | Ref, ...], *, celery: bool
) -> tuple[str | Ref, ...]:
    """The URL of Visio's logical database, in pieces around the password.

    Celery refuses a TLS URL that does not say how certificates are checked; other clients check them by default.
    """
    redis = spec.redis
    host, port = (f"{name}-redis", 6379) if redis.host is None else (redis.host, redis.port)
    scheme, query = ("rediss", "?ssl_cert_reqs=required") if redis.tls else ("redis", "")
    return _merge(iter((f"{scheme}://", *login, f"{host}:{port}/{REDIS_DB}{query if celery else ''}")))


def _tenants(name: str, spec: VisioDeploymentSpec) -> Iterator[str | Ref]:
    """The summary service's one tenant, Visio itself, in its JSON form (facts/visio.md 3)."""
    source = keys_secret(name, spec)
    # The public URL: in the cluster Visio answers plain HTTP with a redirect.
    hook = json.dumps(f"https://{spec.host}{EXTERNAL_PROCESS_PATH}")
    yield '[{"id":"meet","api_key":'
    yield from _json(Ref("summaryApiToken", source))
    yield f',"webhook_url":{hook},"webhook_api_key":'
    yield from _json(Ref("summaryWebhookToken", source))
    # Visio asks for delivery to Docs with every recording, and a tenant without the right is refused with its
    # transcript; whether anything is delivered is decided by the switch of the Docs integration.
    yield ',"allowed_push_to_docs":true}]'


def captions_config_secret(name: str, spec: VisioDeploymentSpec) -> str:
    """The name of the Secret with Kyutai's configuration.

    A Secret is written once, so a changed configuration needs another one: the name carries a digest of the text
    (without the key, which is not known here).
    """
    return _config_secret(name, captions_config(name, spec))


def _config_secret(name: str, config: Sequence[str | Ref]) -> str:
    text = "".join(part if isinstance(part, str) else f"<{part.key}>" for part in config)
    return f"{name}-captions-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def captions_config(name: str, spec: VisioDeploymentSpec) -> tuple[str | Ref, ...]:
    """Kyutai's `config.toml` for `moshi-server` 0.6.4, in pieces around the key that clients must show.

    The batch size is the number of slots of one GPU. Field names and values: facts/visio.md 5.
    """
    document: dict[str, TomlValue] = {
        "static_dir": "/tmp/static",  # noqa: S108 - a path inside the container, on its own volume
        "log_dir": "/tmp/logs",  # noqa: S108
        "instance_name": f"{name}-captions",
        "authorized_ids": (Ref("kyutaiApiKey", secret=keys_secret(name, spec), form="json"),),
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
    for is_ref, run in groupby(parts, key=lambda part: isinstance(part, Ref)):
        if is_ref:
            merged.extend(run)
        else:
            merged.append("".join(map(str, run)))
    return tuple(merged)
