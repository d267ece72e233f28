"""Reading and writing the files that users name."""

from __future__ import annotations

import os
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


class UnwritableError(Exception):
    """A file cannot be written; the message says which and why."""


def check_writable(path: str) -> None:
    """Find out before long work that its result would have no place. Raises UnwritableError."""
    wanted = Path(path)
    if wanted.exists() and not wanted.is_file():
        raise UnwritableError(f"{path}: this is no file; name one that may be replaced")
    if not wanted.parent.is_dir():
        raise UnwritableError(f"{path}: the folder {wanted.parent} does not exist; make it first")
    if not os.access(wanted.parent, os.W_OK):
        raise UnwritableError(f"{path}: nothing may be written into {wanted.parent}; name a file somewhere else")


def write_whole(path: str, text: str) -> None:
    """Write a file that is there whole or not at all: beside it first, then renamed. Raises UnwritableError."""
    part = Path(f"{path}.{os.getpid()}.part")
    try:
        try:
            with part.open("x", encoding="utf-8") as file:
                file.write(text)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UnwritableError(f"{path}: {error.strerror or error}; name a file that can be written") from None
