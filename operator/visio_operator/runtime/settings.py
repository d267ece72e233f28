"""What the process is told by its environment; read once at start."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import nan
from pathlib import Path

from visio_operator.plan.pace import Pace

PREFIX = "VISIO_OPERATOR_"
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class SettingError(ValueError):
    """A variable has a value that cannot be used; the message names it."""


@dataclass(frozen=True)
class Settings:
    """How this process runs."""

    namespaces: tuple[str, ...] = ()
    """Namespaces to look after; empty means all."""
    lease_namespace: str = "default"
    identity: str = ""
    port: int = 8080
    """Port of /healthz, /readyz and /metrics; 0 takes a free one."""
    lease_seconds: float = 15.0
    """How long a lease lasts that its holder no longer renews."""
    pace: Pace = field(default_factory=Pace)


def read_settings(
    environ: Mapping[str, str] = os.environ, namespaces: tuple[str, ...] = (), lease_namespace: str | None = None
) -> Settings:
    """The settings from flags and from variables: `VISIO_OPERATOR_METRICS_PORT`, `VISIO_OPERATOR_LEASE_SECONDS`, and
    `VISIO_OPERATOR_HOLD_SECONDS`, `VISIO_OPERATOR_RECHECK_SECONDS`, `VISIO_OPERATOR_SETTLE_SECONDS`,
    `VISIO_OPERATOR_CLOCK_SPEED` and `VISIO_OPERATOR_CLOCK_AHEAD` for `Pace`: what a laboratory shortens.

    Raises SettingError.
    """
    default = Pace()
    return Settings(
        namespaces=tuple(dict.fromkeys(namespaces)),
        lease_namespace=lease_namespace or _own_namespace(),
        identity=f"{socket.gethostname()}-{os.getpid()}",
        port=int(_number(environ, "METRICS_PORT", 8080, 65535)),
        lease_seconds=max(3.0, _number(environ, "LEASE_SECONDS", 15.0, 600)),
        pace=Pace(
            hold=_number(environ, "HOLD_SECONDS", default.hold, 86400),
            recheck=_number(environ, "RECHECK_SECONDS", default.recheck, 3600),
            settle=_number(environ, "SETTLE_SECONDS", default.settle, 3600),
            speed=_number(environ, "CLOCK_SPEED", default.speed, 600) or 1.0,
            ahead=_number(environ, "CLOCK_AHEAD", default.ahead, 1e12, least=-1e12),
        ),
    )


def _own_namespace() -> str:
    try:
        return _NAMESPACE_FILE.read_text().strip() or "default"
    except OSError:
        return "default"


def _number(environ: Mapping[str, str], name: str, default: float, most: float, least: float = 0.0) -> float:
    text = environ.get(PREFIX + name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = nan
    if not least <= value <= most:
        raise SettingError(f"{PREFIX}{name}={text}: a number from {least:g} to {most:g} is needed")
    return value
