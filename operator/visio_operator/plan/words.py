"""Times and lengths as messages write them."""

from __future__ import annotations

from datetime import UTC, datetime


def in_hours(length: float) -> str:
    """A length in seconds, rounded up, in the form of the API: 1h30m, 45m, 20s."""
    whole = int(length) + (length > int(length))
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [f"{count}{unit}" for count, unit in ((hours, "h"), (minutes, "m"), (rest, "s")) if count]
    return "".join(parts) or "0s"


def at(moment: float) -> str:
    """Unix seconds as a reader of status finds them in its other fields, to the minute."""
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")
