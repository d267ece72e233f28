"""Whom the operator trusts when it asks a server over TLS itself: the same as the pods do."""

from __future__ import annotations

import hashlib
import ssl
from functools import cache

from .memory import Memory


@cache
def system() -> ssl.SSLContext:
    """The authorities of this image, read once: that takes tens of milliseconds, in which nothing else runs."""
    return ssl.create_default_context()


def only(text: str, memory: Memory) -> ssl.SSLContext:
    """The authorities of `spec.caBundle` (PEM) and no others. Raises ValueError when it holds no certificates."""
    mark = hashlib.sha256(text.encode()).hexdigest()
    if memory.trust is None or memory.trust[0] != mark:
        if not text.strip():
            # Nothing would make Python trust the authorities of this image instead.
            raise ValueError("no certificates")
        try:
            memory.trust = mark, ssl.create_default_context(cadata=text)
        except ssl.SSLError:
            raise ValueError("no certificates") from None
    return memory.trust[1]
