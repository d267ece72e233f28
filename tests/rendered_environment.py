"""The environment of a container as the operator renders it and the kubelet resolves it, with known secrets."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from builders import a_deployment
from visio_lab.container_env import expand
from visio_operator.plan.secrets import secret_needs

KEY_ID, SECRET = "GK" + "0a" * 12, "5e" * 32
SECRETS = {
    "djangoSecretKey": "django-secret-key-of-the-contract-suite",
    "livekitApiKey": "contract-key",
    "livekitApiSecret": "contract-secret-of-more-than-32-characters",
    "summaryApiToken": "5a" * 16,
    "summaryWebhookToken": "7e" * 16,
    "whisperxApiKey": "whisper-key",
    "kyutaiApiKey": "kyutai-key",
    "accessKeyId": KEY_ID,
    "secretAccessKey": SECRET,
    "password": "contract-password",
    "clientSecret": "contract-client-secret",
    "apiKey": "docs-and-llm-key",
    "token": "hugging-face-token",
    "rpcSecret": "9c" * 32,
}
"""A value for every key of a Secret that a rendered pod names."""
EVERYTHING = (
    a_deployment()
    .with_captions()
    .with_transcription()
    .with_docs()
    .with_llm()
    .with_superuser()
    .having(recording={"enabled": True})
)
"""Every part, with embedded services."""


@cache
def everything() -> tuple[dict[str, Any], ...]:
    """The manifests of EVERYTHING."""
    return EVERYTHING.manifests()


def rendered_environment(container: str, folder: Path) -> dict[str, str]:
    """The environment that the operator renders for the container of that name, as the kubelet resolves it.

    Secrets that are mounted as files lie in `folder`.
    """

    values = SECRETS | {
        key: "".join(piece if isinstance(piece, str) else SECRETS[piece.key] for piece in pieces)
        for need in secret_needs(EVERYTHING.name, EVERYTHING.spec())
        for key, pieces in need.composed.items()
        if key not in SECRETS
    }
    for manifest in everything():
        spec = manifest.get("spec", {})
        pod = spec.get("jobTemplate", {}).get("spec", spec).get("template", {}).get("spec", {})
        for each in [*pod.get("initContainers", []), *pod.get("containers", [])]:
            if each["name"] == container:
                return resolved(each["env"], values) | secret_files(pod, values, folder / "secrets")
    raise AssertionError(f"no container {container} is rendered")


def resolved(variables: list[dict[str, Any]], values: Mapping[str, str]) -> dict[str, str]:
    """Variables with the Secrets' values in them."""
    environment: dict[str, str] = {}
    for each in variables:
        source = each.get("valueFrom", {}).get("secretKeyRef")
        environment[each["name"]] = values[source["key"]] if source else expand(each.get("value", ""), environment)
    return environment


def secret_files(pod: dict[str, Any], values: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The variables that name a mounted Secret's file, which is written here."""
    folder.mkdir(exist_ok=True)
    variables = {}
    for volume in pod.get("volumes", []):
        for source in volume.get("projected", {}).get("sources", []):
            for item in source.get("secret", {}).get("items", []):
                (folder / item["path"]).write_text(values[item["key"]])
                variables[f"{item['path']}_FILE"] = str(folder / item["path"])
    return variables
