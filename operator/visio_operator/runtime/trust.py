"""Whom the operator trusts when it asks a server over TLS itself: the same as the pods do."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Mapping
from functools import cache

from visio_operator.api.routes import CaBundle

from .memory import Memory


@cache
def system() -> ssl.SSLContext:
    """The authorities of this image, read once: that takes tens of milliseconds, in which nothing else runs."""
    return ssl.create_default_context()


def only(bundle: CaBundle, held: Mapping[str, str], memory: Memory) -> ssl.SSLContext:
    """The authorities of `spec.caBundle` and no others, from what its ConfigMap holds. Raises ValueError, in words for
    the user, when these are no certificates.
    """
    text = held.get(bundle.key, "")
    mark = hashlib.sha256(text.encode()).hexdigest()
    problem = f"the key {bundle.key} of ConfigMap {bundle.config_map} holds no certificates"
    if memory.trust is None or memory.trust[0] != mark:
        if not text.strip():
            # Nothing would make Python trust the authorities of this image instead.
            raise ValueError(problem)
        try:
            memory.trust = mark, ssl.create_default_context(cadata=text)
        except ssl.SSLError:
            raise ValueError(problem) from None
    return memory.trust[1]
