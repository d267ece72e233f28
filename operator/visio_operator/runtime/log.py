"""The operator's log: one line for each thing worth knowing, on standard error. No values of Secrets come here."""

from __future__ import annotations

import logging
import sys
import traceback
from pathlib import Path

_LOGGER = logging.getLogger("visio_operator")


def configure() -> None:
    """Send our lines and kopf's warnings to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    _LOGGER.setLevel(logging.INFO)


def info(message: str, **fields: object) -> None:
    """Something happened."""
    _LOGGER.info(_line(message, fields))


def warning(message: str, **fields: object) -> None:
    """Something that a person should look at."""
    _LOGGER.warning(_line(message, fields))


def failure(message: str, error: BaseException, **fields: object) -> None:
    """An unexpected error in one line: what, and where in the code it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"
    _LOGGER.error(_line(message, {**fields, "error": f"{type(error).__name__}: {error}", "where": where}))


def _line(message: str, fields: dict[str, object]) -> str:
    return " ".join([message, *(f"{key}={value}" for key, value in fields.items())])
