"""Marks of Secrets: digests that change with a value and tell nothing of it, since they are keyed with a key of ours.

Without the key a short password could be found by trying; annotations are read by more people than Secrets are.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

from visio_operator.plan.secrets import RANDOM_KEYS
from visio_operator.workloads.common import Site

from .memory import Memory
from .secret_values import decode, hexadecimal

Body = Mapping[str, Any]

MARKS_KEY = "marksKey"
_LENGTH = 16


def own_secret(site: Site) -> str:
    """The generated Secret that holds the key of the marks; always ours, whatever the user provides."""
    return f"{site.name}-keys"


def marks_key(site: Site, live: Mapping[tuple[str, str], Body], memory: Memory) -> str:
    """The key: from the generated Secret, or drawn now to be written there with the others."""
    stored = decode(live.get(("Secret", own_secret(site)), {}).get("data")).get(MARKS_KEY)
    if not stored and not memory.marks_key:
        memory.marks_key = hexadecimal(RANDOM_KEYS[MARKS_KEY])
    return stored or memory.marks_key


def marks(key: str, data: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """The mark of each value; `data` is what Secrets hold, by name and key, in base64."""
    return {
        name: {field: _mark(key, name, field, value) for field, value in values.items()}
        for name, values in data.items()
    }


def _mark(key: str, *texts: str) -> str:
    return hmac.new(key.encode(), "\0".join(texts).encode(), sha256).hexdigest()[:_LENGTH]
