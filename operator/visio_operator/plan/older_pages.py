"""Pages that are open go on after an upgrade: the scripts that they may still load stay within reach."""

from __future__ import annotations

from .observed import Observed
from .plan import Release

KEPT = 3
"""Releases whose scripts are kept beside the newest ones: a page loads most of them at once, and few on demand."""


def older_pages(observed: Observed, release: Release) -> tuple[str, ...]:
    """Images of the front end that ran before `release`, the newest first.

    Its files carry digests of their content in their names (facts/visio.md 2), so those of several releases lie side
    by side.
    """
    workload = observed.workloads.get("frontend")
    if workload is None or not workload.images:
        return ()
    *kept, running = workload.images
    return tuple(image for image in dict.fromkeys((running, *kept)) if image != release.images["frontend"])[:KEPT]
