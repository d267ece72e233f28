"""Reading the files that users name."""

from __future__ import annotations

import sys
from pathlib import Path


class UnreadableError(Exception):
    """A file cannot be read; the message says which and why."""


def read(path: str) -> str:
    """The text of a file, or of standard input for `-`. Raises UnreadableError."""
    try:
        return sys.stdin.read() if path == "-" else Path(path).read_text("utf-8")
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror or error}; name a file that can be read") from None
    except UnicodeDecodeError:
        raise UnreadableError(f"{path}: this is no UTF-8 text; save it as UTF-8") from None
