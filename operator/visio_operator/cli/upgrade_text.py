"""What commands print of an upgrade: the way, where it is, what it waits for and when it goes on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

Body = Mapping[str, Any]


def way(upgrade: Body) -> str:
    """The releases of an upgrade from the one that runs to the one that is asked for."""
    path = upgrade.get("path") or [upgrade.get("to", "")]
    rungs = f"{len(path)} rung{'s' if len(path) > 1 else ''}"
    return f"{' -> '.join([upgrade.get('from') or '-', *path])} ({rungs})"


def restore_lines(offer: Body, title: str) -> list[str]:
    """What restoring a backup would mean: from when it is, what stands still, and how long."""
    stops = ", ".join(offer.get("stops") or ())
    meanwhile = f"{stops} stand still; calls that run go on" if stops else "nothing stands still"
    return [
        f"{title}: restore {offer['digest']}",
        f"  the backup {offer.get('backup', '')} by {offer.get('by', '')}: all that was written since"
        f" {offer.get('savedAt', '')} is lost",
        f"  meanwhile {meanwhile}; about {offer.get('minutes', 0)} minutes",
    ]


def upgrade_lines(upgrade: Body | None, name: str, namespace: str) -> Iterator[str]:
    """What `visio-operator status` says of an upgrade; nothing where none is wanted."""
    if not upgrade or not (upgrade.get("path") or upgrade.get("rung") or upgrade.get("held")):
        return
    yield f"  upgrade              {way(upgrade)}"
    since = f" since {upgrade['since']}" if upgrade.get("since") else ""
    if rung := upgrade.get("rung"):
        yield f"       rung {rung}, step {upgrade.get('step') or '-'}{since}"
    if held := upgrade.get("held"):
        yield f"       held{'' if upgrade.get('rung') else since}: {held}"
    if start := upgrade.get("nextStart"):
        yield f"       next start: {start}"
    for blocker in upgrade.get("blockers") or ():
        yield f"       waits for {blocker}"
    if message := upgrade.get("message"):
        yield f"       {message}"
    if digest := upgrade.get("approvalDigest"):
        yield f"       approve: visio-operator approve {name} -n {namespace} --digest {digest}"
