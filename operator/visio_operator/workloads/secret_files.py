"""Secrets of the API's image as files: what stands in an environment is read by every process of the container.

Its settings take `<NAME>_FILE` for a file that holds the value (django-lasuite, `SecretFileValue`). Not all do.
"""

from __future__ import annotations

from .common import Manifest, env
from .containers import mount

NOT_BY_FILE = frozenset(
    {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "DJANGO_SENTRY_DSN", "DJANGO_SUPERUSER_PASSWORD"}
)
"""Variables that the image reads itself (facts/visio.md 0); the last one is read by the command of our own Job."""
FOLDER = "/etc/visio-secrets"
_VOLUME = "secrets"
_GROUP_MAY_READ = 0o440


def as_files(variables: list[Manifest]) -> tuple[list[Manifest], list[Manifest], list[Manifest]]:
    """The environment with files in place of secrets where that is possible, and the volume and mount for them."""
    sources: dict[str, list[Manifest]] = {}
    changed: list[Manifest] = []
    for variable in variables:
        name, reference = variable["name"], variable.get("valueFrom", {}).get("secretKeyRef")
        if reference is None or name in NOT_BY_FILE:
            changed.append(variable)
            continue
        sources.setdefault(reference["name"], []).append({"key": reference["key"], "path": name})
        changed += env({f"{name}_FILE": f"{FOLDER}/{name}"})
    if not sources:
        return changed, [], []
    projected = [{"secret": {"name": name, "items": items}} for name, items in sources.items()]
    volume = {"name": _VOLUME, "projected": {"defaultMode": _GROUP_MAY_READ, "sources": projected}}
    return changed, [volume], [mount(_VOLUME, FOLDER, read_only=True)]
