"""Approval of upgrades: what a digest names, how long an approval stands, and which ones never count."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from plan_world import LADDER, a_spec, an_empty_world

from visio_operator.plan.images import as_release
from visio_operator.plan.observed import Observed
from visio_operator.plan.plan import Release
from visio_operator.plan.upgrade_approval import UpgradeApproval, approve_upgrade

APPROVE = a_spec(version="1.27.0", upgrade={"mode": "Approve"})
RELEASES = {entry.version: as_release(entry, []) for entry in LADDER}
WAY = (RELEASES["1.25.0"], RELEASES["1.26.0"], RELEASES["1.27.0"])


def judged(
    way: tuple[Release, ...] = WAY, *, spec: Any = APPROVE, approved: str = "", memory: Any = None, uid: str = "u"
) -> UpgradeApproval:
    world: Observed = replace(an_empty_world(spec), approved_upgrade=approved, memory=memory or {}, uid=uid)
    return approve_upgrade(spec, world, way)


def test_nothing_waits_in_mode_auto_or_without_an_upgrade() -> None:
    auto = judged(spec=a_spec(version="1.27.0"))
    assert (auto.digest, auto.granted) == ("", {"1.25.0", "1.26.0", "1.27.0"})
    assert judged(()) == UpgradeApproval()


def test_a_digest_names_the_way_and_its_images_and_the_deployment() -> None:
    digest = judged().digest
    assert judged().digest == digest
    other = replace(WAY[1], images={**WAY[1].images, "livekit": "docker.io/livekit/livekit-server:v9"})
    digests = {
        digest,
        judged(WAY[1:]).digest,
        judged((WAY[0], other, WAY[2])).digest,
        judged(spec=a_spec(version="1.26.0", upgrade={"mode": "Approve"})).digest,
        judged(uid="v").digest,
    }
    assert len(digests) == 5


def test_an_approval_stands_for_every_rung_of_its_way() -> None:
    digest = judged().digest
    taken = judged(approved=digest)
    assert (taken.taken, taken.digest, taken.digest_for("1.25.0"), taken.ignored) == (digest, "", "", "")
    # The write to status was lost: it is taken up again.
    assert judged(approved=digest) == taken
    for left in (WAY, WAY[1:], WAY[2:]):
        later = judged(left, approved=digest, memory=taken.memory)
        assert (later.digest, later.taken) == ("", "")
        assert later.granted == {release.version for release in left}
    # It is forgotten when the way is done, and never fits again.
    done = judged((), approved=digest, memory=taken.memory)
    assert not [key for key in done.memory if key.startswith("upgrade.approved.")]
    again = judged(approved=digest, memory=done.memory)
    assert again.digest not in ("", digest)
    assert (again.granted, again.ignored) == (frozenset(), "")


def test_another_way_waits_anew() -> None:
    taken = judged(approved=judged().digest)
    other = replace(WAY[2], images={**WAY[2].images, "backend": "docker.io/lasuite/meet-backend:other"})
    changed = judged((*WAY[:2], other), memory=taken.memory)
    assert changed.granted == {"1.25.0", "1.26.0"}, "rungs that are as they were approved may go on"
    assert changed.digest_for("1.26.0") == ""
    assert changed.digest_for("1.27.0") == changed.digest != ""
    further = judged(spec=a_spec(version="1.26.0", upgrade={"mode": "Approve"}), way=WAY[:2], memory=taken.memory)
    assert further.granted == frozenset(), "another version is asked for by now"


def test_a_stale_approval_is_ignored_named_and_never_fits_later() -> None:
    stale = judged().digest
    late = judged(WAY[1:], approved=stale)
    assert (late.granted, late.taken, late.ignored) == (frozenset(), "", stale)
    same = judged(approved=stale, memory=late.memory)
    assert (same.granted, same.ignored) == (frozenset(), stale), "not even for the plan that it was given to"
    assert same.digest != stale
    assert judged(approved=stale, memory=same.memory) == same, "it is counted once"
    assert judged(approved=same.digest, memory=same.memory).granted == {"1.25.0", "1.26.0", "1.27.0"}


def test_what_anybody_wrote_into_the_annotation_is_not_shown_as_it_is() -> None:
    assert judged(approved="\x1b[31m" + "a" * 300).ignored == "31m" + "a" * 19
